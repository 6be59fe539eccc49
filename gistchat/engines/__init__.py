"""Who computes a reply: torch, an OpenAI-compatible endpoint; sampling, and when a reply ends."""
