"""Recipes: every setting with its default, bounds and help; read from TOML and checked before anything starts."""
