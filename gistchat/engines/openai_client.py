"""A client of OpenAI-compatible servers: models behind it write summaries and judge replies."""

import os
from collections.abc import Sequence
from typing import Any

from gistchat.errors import UserError, first_line, require

TIMEOUT = 60.0  # seconds
RETRIES = 4  # after no answer, too many requests (as late as the endpoint says) or a failure on its side
KEY_VARIABLE = "OPENAI_API_KEY"


class ChatClient:
    """The key comes from the environment variable OPENAI_API_KEY."""

    def __init__(self, url: str, model: str) -> None:
        """Raises UserError: no address, or package openai is missing."""
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url!r} is no server address; give one such as http://localhost:8000/v1 (--url)")
        self.openai = require("openai", "endpoint")
        self.url, self.model = url, model
        # Local servers need no key, but the client insists on one.
        key = os.environ.get(KEY_VARIABLE) or "none"
        self.client = self.openai.OpenAI(base_url=url, api_key=key, timeout=TIMEOUT, max_retries=RETRIES)

    def ask(self, messages: Sequence[dict[str, str]], max_tokens: int, seed: int | None = None) -> str:
        """The answer to a chat's messages, at temperature 0. Raises UserError: no answer, or none of a chat server."""
        openai = self.openai
        options = {} if seed is None else {"seed": seed}
        try:
            answer = self.client.chat.completions.create(
                model=self.model, messages=list(messages), max_tokens=max_tokens, temperature=0.0, **options
            )
        except openai.APITimeoutError:
            raise UserError(f"{self.url}: no answer within {TIMEOUT:.0f} s, {RETRIES + 1} times") from None
        except openai.APIConnectionError as error:
            raise UserError(f"{self.url}: cannot be reached ({error.__cause__ or error})") from None
        except openai.APIStatusError as error:
            hint = f"; is {KEY_VARIABLE} set?" if error.status_code in (401, 403) else ""
            raise UserError(f"{self.url}: answers {error.status_code} ({first_line(error.message)}){hint}") from None
        except (openai.APIError, ValueError) as error:
            raise UserError(f"{self.url}: not the answer of a chat endpoint ({first_line(str(error))})") from None
        return self._said(answer)

    def _said(self, answer: Any) -> str:
        """The text of an answer; an address that is no endpoint may answer with a web page, which arrives as text."""
        try:
            return answer.choices[0].message.content or ""
        except (AttributeError, IndexError, TypeError):
            shown = first_line(str(answer))[:80]
            raise UserError(
                f"{self.url}: not the answer of a chat endpoint ({shown}); does the address end in /v1?"
            ) from None
