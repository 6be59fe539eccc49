"""Turns and dialogues, their files, and the repair of their text."""
