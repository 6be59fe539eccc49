"""Conversations in a database: SQLite in the user's data folder, or PostgreSQL by URL."""
