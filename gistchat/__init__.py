"""gistchat: dialogue models that answer from the gist of a conversation."""

__version__ = "0.1.0"
