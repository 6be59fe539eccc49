"""Context -> token ids: one builder per prompt format, for training, evaluation and chat alike."""
