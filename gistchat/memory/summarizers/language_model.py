"""Summaries by a language model: one that runs here, or any OpenAI-compatible endpoint."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
import torch
from jinja2.sandbox import SandboxedEnvironment
from transformers import GenerationConfig

from gistchat.engines.openai_client import ChatClient
from gistchat.errors import UserError, first_line
from gistchat.memory.summarizers.abstractive import LEAST_ROOM, Request
from gistchat.models.base import load_model, load_tokenizer, model_limit
from gistchat.models.resolve import resolve_base
from gistchat.processes import length_batches
from gistchat.progress import say
from gistchat.prompts.rendering import fault_of, line_of, render_bounded
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ModelConfig

KNOWN = "{{ dialogue }}, {{ summary }} and {{ words }}"
MARK = "a line of dialogue"
DEFAULT_PROMPT = Path(__file__).with_name("prompt.txt")
LONGEST_PROMPT = 20_000  # characters, without dialogue and summary
WORDS_PER_TOKEN = 0.7  # English; what a model is asked for in words, so that it stays within its tokens
BATCH_TOKENS = 4096
REPETITION_PENALTY = 1.1  # small models repeat themselves without it

ENDPOINT_ROOM = 3000  # tokens of a request, as about every hosted model takes
CHARACTERS_PER_TOKEN = 3  # a careful guess, as an endpoint does not tell how it counts
AT_ONCE = 4  # requests


class SummaryPrompt:
    """A Jinja template with `dialogue` in it, and `summary` (so far, perhaps empty) and `words` where wanted."""

    def __init__(self, path: str, budget: int) -> None:
        """Raises UserError: no such file, not a template, or no {{ dialogue }} in it."""
        self.words = max(int(budget * WORDS_PER_TOKEN), 5)
        self.file = Path(path).expanduser() if path else DEFAULT_PROMPT
        try:
            with self.file.open(encoding="utf-8-sig") as file:
                text = file.read(LONGEST_PROMPT + 1)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", "not UTF-8")
            raise UserError(f"{self.file}: cannot be read as a prompt ({problem})") from None
        with self._one_line_of_blame():
            self.template = SandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(text)
        # As the first and as later requests are, so that it fails here rather than hours later.
        first, later = (self.fill(Request(summary, MARK)) for summary in ("", "What was said before."))
        if MARK not in first or MARK not in later:
            raise UserError(
                f"{self.file}: the prompt does not say where the dialogue goes; write {{{{ dialogue }}}} there"
            )
        if (length := max(len(text), len(first), len(later))) > LONGEST_PROMPT:
            raise UserError(f"{self.file}: a prompt has {LONGEST_PROMPT:,} characters at most; this one has {length:,}")

    def fill(self, request: Request) -> str:
        """The text that asks for a summary. Raises UserError where the template fails."""
        values = {"summary": request.summary, "dialogue": request.dialogue, "words": self.words}
        with self._one_line_of_blame():
            return render_bounded(lambda: self.template.render(values)).strip()

    @contextlib.contextmanager
    def _one_line_of_blame(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a template is a program of its own, so it may fail in any way
            line = line_of(error)
            raise UserError(
                f"{self.file}{f':{line}' if line else ''}: {first_line(error)}; a prompt knows {KNOWN}"
            ) from None


class LocalWriter:
    """Greedy summaries by a causal model with a chat template: the packaged one, a hub id or a folder."""

    def __init__(self, source: str, budget: int, prompt: str) -> None:
        """Raises UserError: no such model, one without a chat template, or a prompt that cannot be used."""
        base = resolve_base(ModelConfig(name=source), 0)
        self.tokenizer = load_tokenizer(base)
        if not self.tokenizer.chat_template:
            raise UserError(f"{source}: no chat template, so it takes no instructions; give a chat model")
        self.model = load_model(base)
        self.count = token_counter(self.tokenizer)
        self.budget, self.prompt = budget, SummaryPrompt(prompt, budget)
        limit, own = model_limit(self.model.config), len(self._ids(Request("", "")))
        self.room = limit - budget - own
        if self.room < LEAST_ROOM:
            raise UserError(f"{source}: reads {limit:,} tokens, too few for a prompt of {own:,}, lines and a summary")

    def write(self, requests: Sequence[Request]) -> list[str]:
        prompts = [self._ids(request) for request in requests]
        written = [""] * len(prompts)
        for batch in length_batches([len(ids) + self.budget for ids in prompts], BATCH_TOKENS):
            for i, ids in zip(batch, self._continue([prompts[i] for i in batch]), strict=True):
                written[i] = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return written

    @torch.inference_mode()
    def _continue(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """What the model adds to each prompt of a batch."""
        longest, end = max(map(len, prompts)), self.tokenizer.eos_token_id
        empty = [longest - len(prompt) for prompt in prompts]
        ids = torch.tensor([[end] * count + prompt for count, prompt in zip(empty, prompts, strict=True)])
        mask = (torch.arange(longest) >= torch.tensor(empty)[:, None]).long()
        config = GenerationConfig(
            max_new_tokens=self.budget,
            do_sample=False,
            repetition_penalty=REPETITION_PENALTY,
            eos_token_id=end,
            pad_token_id=end,
        )
        device = self.model.device
        output = self.model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config)
        return output[:, longest:].tolist()  # the end tokens at their ends are not decoded

    def _ids(self, request: Request) -> list[int]:
        messages = [{"role": "user", "content": self.prompt.fill(request)}]
        try:
            return render_bounded(
                lambda: self.tokenizer.apply_chat_template(
                    messages, add_generation_prompt=True, sanitize_control_tokens=True, return_dict=False
                )
            )
        except Exception as error:  # the template may fail in any way
            name = self.tokenizer.name_or_path
            raise UserError(f"{name}: the chat template takes no user message alone ({fault_of(error)})") from None


class EndpointWriter:
    """Summaries by an OpenAI-compatible endpoint."""

    def __init__(self, url: str, model: str, budget: int, prompt: str) -> None:
        """Raises UserError: no address, a server that nobody trusts, or package openai is missing."""
        self.budget, self.prompt = budget, SummaryPrompt(prompt, budget)
        self.endpoint = ChatClient(url, model, "summaries")
        self.room = ENDPOINT_ROOM
        _say_once(f"summaries are written by {self.endpoint.server.origin}")

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) // CHARACTERS_PER_TOKEN + 1 for text in texts]

    def write(self, requests: Sequence[Request]) -> list[str]:
        chats = [[{"role": "user", "content": self.prompt.fill(request)}] for request in requests]
        return self.endpoint.ask_all(chats, self.budget, AT_ONCE)


_say_once = functools.cache(say)
