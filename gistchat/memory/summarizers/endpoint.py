"""Summaries by a model behind an OpenAI-compatible server."""

from collections.abc import Sequence

from gistchat.engines.openai_client import ChatClient
from gistchat.memory.summarizers.abstractive import Request
from gistchat.memory.summarizers.summary_prompt import SummaryPrompt
from gistchat.progress import say_once

ROOM = 3000  # tokens of a request, as about every hosted model takes
CHARACTERS_PER_TOKEN = 3  # a careful guess, as a server does not tell how it counts
AT_ONCE = 4  # requests


class EndpointWriter:
    """Summaries by an OpenAI-compatible endpoint."""

    def __init__(self, url: str, model: str, budget: int, prompt: str) -> None:
        """Raises UserError: no address, a server that nobody trusts, or package openai is missing."""
        self.budget, self.prompt = budget, SummaryPrompt(prompt, budget)
        self.endpoint = ChatClient(url, model, "summaries")
        self.room = ROOM
        say_once(f"summaries are written by {self.endpoint.server.origin}")

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // CHARACTERS_PER_TOKEN + 1 for text in texts]

    def write(self, requests: Sequence[Request]) -> list[str]:
        chats = [[{"role": "user", "content": self.prompt.fill(request)}] for request in requests]
        return self.endpoint.ask_all(chats, self.budget, AT_ONCE)
