"""Stage 3: training rows -> checkpoint."""
