"""Conversations with a model: the session, its files, and replies to a file of dialogues."""
