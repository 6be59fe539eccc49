"""The second engine: CTranslate2, in 32-bit floats or 8-bit integers, converted on first use and kept in the cache."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.engine import ConversationCache, LocalEngine
from gistchat.engines.sampling import Sampling, not_a_number
from gistchat.engines.stopping import PartialReply
from gistchat.errors import require
from gistchat.models.base import model_limit
from gistchat.models.checkpoint import Checkpoint
from gistchat.models.ctranslate2_conversion import FLOAT32, INT8, convert
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt

MOST_RISE = 0.02  # of the perplexity of SAMPLE, for 8-bit integers

# The perplexity of both is measured on these: a person's turn and an answer to it.
SAMPLE = (
    ("Did you sleep well?", "Not really, the neighbours had a party until three in the morning."),
    ("What do you do for a living?", "I teach maths at a school, and at the weekend I repair old radios."),
    ("I'm thinking of getting a dog.", "Oh nice! Just remember that they need a walk even when it rains."),
    ("How was your trip to the mountains?", "Cold, but the view from the top was worth every step."),
    ("Have you seen any good films lately?", "I watched an old western last night. The story was slow but I liked it."),
    ("My train is late again.", "That is the third time this week, isn't it? Maybe take the bus tomorrow."),
    ("Can you cook?", "A little. I make a decent soup and my sister says that my bread is good."),
    ("I failed my driving test.", "I'm sorry to hear that. I needed three tries myself, so don't give up."),
    ("Where are you from?", "A small town by the sea. Everybody knows everybody there."),
    ("It's my birthday today!", "Happy birthday! Do you have any plans for the evening?"),
    ("Do you like your new flat?", "Yes, it is bright and quiet, only the kitchen is far too small."),
    ("What should I read next?", "Try something short. I just finished a book of stories about lighthouse keepers."),
)


class CTranslate2Engine(LocalEngine):
    """A converted model. It reads prompts whole each time; draws repeat with their seed, batch by batch."""

    def __init__(self, folder: Path, prompt_format: PromptFormat, limit: int, name: str) -> None:
        """`folder`: a converted model; `limit`: tokens that it holds."""
        super().__init__(prompt_format, limit)
        self.folder, self.name = folder, name
        self._load()

    def _load(self) -> None:
        threads = torch.get_num_threads()  # left to itself, the library takes four, whatever there are
        self.generator = require("ctranslate2", "fast").Generator(str(self.folder), device="cpu", intra_threads=threads)

    def stream_prompt(
        self, prompt: Prompt, sampling: Sampling, cache: ConversationCache, reply: PartialReply
    ) -> Iterator[str]:
        """Let a reply grow to its end; yields each piece of text that can be shown."""
        cache.prefilled = len(prompt)
        if reply.ended:
            return
        options = self._options(sampling)
        tokens = self._tokens(prompt, sampling)
        with contextlib.closing(self.generator.generate_tokens(tokens, return_log_prob=True, **options)) as steps:
            for step in steps:
                piece = reply.add(step.token_id, _score(step))
                if math.isnan(reply.likelihood):
                    raise not_a_number()
                if piece:
                    yield piece
                if reply.ended:
                    break

    def generate_prompts(
        self, prompts: Sequence[Prompt], sampling: Sampling, rows: Sequence[int]
    ) -> list[PartialReply]:
        """A whole reply to each prompt of a batch."""
        replies = [PartialReply(self.format, sampling) for _ in prompts]
        if replies[0].ended:
            return replies

        def add(step: Any) -> bool:
            reply = replies[step.batch_id]
            if not reply.ended:
                reply.add(step.token_id, _score(step))
            return bool(reply.ended)

        batch = [self._tokens(prompt, sampling) for prompt in prompts]
        options = {"include_prompt_in_result": False, "return_scores": True, **self._options(sampling, rows[0])}
        self.generator.generate_batch(batch, callback=add, **options)
        if any(math.isnan(reply.likelihood) for reply in replies):
            raise not_a_number()
        return replies

    def _tokens(self, prompt: Prompt, sampling: Sampling) -> list[str]:
        self.require_room(prompt, sampling)
        return self.format.tokenizer.convert_ids_to_tokens(prompt.ids)

    def _options(self, sampling: Sampling, row: int = 0) -> dict[str, Any]:
        """The library's names for a sampling's settings; sets its seed."""
        drawn = sampling.temperature > 0
        if drawn and sampling.seed is not None:
            # The library seeds the generator of a thread once, when it is first used: a seed needs a new thread.
            require("ctranslate2", "fast").set_random_seed(sampling.seed_of(row) % 2**31)
            self._load()
        return {
            "max_length": sampling.max_tokens,
            "end_token": list(self.format.stop_ids),
            "sampling_topk": sampling.top_k if drawn else 1,
            "sampling_topp": sampling.top_p if drawn else 1,
            "sampling_temperature": sampling.temperature if drawn else 1,
            "repetition_penalty": sampling.repetition_penalty,
            "no_repeat_ngram_size": sampling.no_repeat_ngram,
        }

    def perplexity(self) -> float:
        """Of the answers of SAMPLE, given what they answer."""
        nats, count = 0.0, 0
        for prompt, reply in sample_replies(self.format):
            tokens = self.format.tokenizer.convert_ids_to_tokens(prompt.ids + reply)
            [scored] = self.generator.score_batch([tokens])
            nats -= sum(scored.log_probs[-len(reply) :])
            count += len(reply)
        return math.exp(nats / count)


def sample_replies(prompt_format: PromptFormat) -> list[tuple[Prompt, list[int]]]:
    """SAMPLE as prompts of that format, each with the ids of its answer."""
    contexts = [(Context((), (), RoleTurn(USER, asked, 0), 0, 0), answer) for asked, answer in SAMPLE]
    return [(prompt_format.encode(context), prompt_format.encode_reply(answer)) for context, answer in contexts]


def _score(step: Any) -> float:
    return 0.0 if step.log_prob is None else float(step.log_prob)


def open_ctranslate2_engine(checkpoint: Checkpoint, name: str) -> CTranslate2Engine:
    """A checkpoint's engine, converted on first use. Raises UserError: no ctranslate2, or it cannot run the model."""
    require("ctranslate2", "fast")
    exact = _open(checkpoint, FLOAT32)
    if name == FLOAT32:
        return exact
    small = _open(checkpoint, INT8)
    rise = small.perplexity() / exact.perplexity() - 1
    if rise < MOST_RISE:
        say(f"8-bit integers: perplexity of a fixed sample {100 * rise:+.1f} %, below {MOST_RISE:.0%}: used")
        return small
    say(f"8-bit integers: perplexity of a fixed sample {100 * rise:+.1f} %: not used, 32-bit floats instead")
    return exact


def _open(checkpoint: Checkpoint, name: str) -> CTranslate2Engine:
    return CTranslate2Engine(convert(checkpoint, name), checkpoint.format, model_limit(checkpoint.model.config), name)
