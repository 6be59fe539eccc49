"""Summarizers, and the store that keeps what they made."""
