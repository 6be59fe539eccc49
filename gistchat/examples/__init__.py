"""Replies to be learned or scored, each with the prompt that a context strategy makes of what came before it."""
