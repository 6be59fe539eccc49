"""The HTTP server: API, page, and memory in front of another model."""
