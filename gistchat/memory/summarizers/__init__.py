"""Summarizers: those that pick sentences, and those whose model writes."""
