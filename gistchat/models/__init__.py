"""Base models, checkpoints, their import and export, and the likelihood that they give to replies."""
