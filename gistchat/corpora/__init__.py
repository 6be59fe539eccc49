"""Dialogue corpora: one reader module each, listed in `readers.py`."""
