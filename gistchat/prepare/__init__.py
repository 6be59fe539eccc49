"""Stage 1: corpus files -> cleaned dialogues in three splits."""
