"""Who computes a reply: torch, CTranslate2, an OpenAI-compatible endpoint; sampling, and when a reply ends."""
