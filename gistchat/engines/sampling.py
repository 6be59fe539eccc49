"""How the next token is chosen: the same rules for every engine, one reply or many."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gistchat.errors import UserError
from gistchat.files import fingerprint


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn.

    Attributes:
        max_tokens: of a reply, its end token not counted.
        temperature: 0 is greedy decoding; top_p, top_k and seed then have no effect.
        top_p: nucleus sampling (Holtzman et al. 2020): sample from the most likely tokens that together have this
            probability.
        top_k: sample from the k most likely tokens; 0 disables.
        seed: makes draws repeatable. Each row has its own generator, so that a reply does not depend on its batch.
        repetition_penalty: for tokens that the reply already holds (Keskar et al. 2019); 1 disables.
        no_repeat_ngram: n-grams of this many tokens never come twice in a reply; 0 disables.
        stop: texts that end a reply, and are not part of it.
        n_best: draw this many replies and take the one with the highest mean log-likelihood per token.
    """

    max_tokens: int = 60
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    stop: tuple[str, ...] = ()
    n_best: int = 1

    @property
    def draws(self) -> int:
        """Replies to draw for a prompt; greedy ones are all the same, so one is enough."""
        return self.n_best if self.temperature > 0 else 1

    def seed_of(self, row: int) -> int:
        """The seed of one row of several; another one each time where draws need not be repeatable."""
        return secrets.randbits(32) if self.seed is None else int(fingerprint([self.seed, row])[:8], 16)


class TokenSampler:
    """Draws the next token of each row of a batch."""

    def __init__(self, sampling: Sampling, rows: Sequence[int]) -> None:
        """`rows`: their numbers, which their seeds come from."""
        self.sampling = sampling
        self.generators = [torch.Generator().manual_seed(sampling.seed_of(row)) for row in rows]
        self.repetition = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self.repetition.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.no_repeat_ngram:
            self.repetition.append(NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram))
        self.warpers = LogitsProcessorList()
        if sampling.temperature > 0:
            self.warpers.append(TemperatureLogitsWarper(sampling.temperature))
            if sampling.top_k:
                self.warpers.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self.warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, logits: torch.Tensor, replies: torch.Tensor) -> tuple[list[int], list[float]]:
        """The next token of each row, and its log-likelihood by the model alone (nats).

        Args:
            logits: of shape (rows, vocabulary).
            replies: what the rows have so far, of shape (rows, tokens); all have the same number.
        Raises:
            UserError: the model gave something that is not a number.
        """
        logits, replies = logits.float(), replies.to(logits.device)
        scores = self.warpers(replies, self.repetition(replies, logits.clone() if self.repetition else logits))
        if self.sampling.temperature > 0:
            probabilities = scores.softmax(-1).cpu()
            if not torch.isfinite(probabilities).all():
                raise not_a_number()
            rows = zip(probabilities, self.generators, strict=True)
            drawn = [torch.multinomial(row, 1, generator=generator) for row, generator in rows]
            tokens = torch.cat(drawn).to(logits.device)
        else:
            tokens = scores.argmax(-1)
        chosen = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        if torch.isnan(chosen).any():
            raise not_a_number()
        return tokens.tolist(), chosen.tolist()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with the rows at these places."""
        self.generators = [self.generators[i] for i in rows]


def not_a_number() -> UserError:
    """The error for a model whose scores are not numbers."""
    return UserError("the model's output is not a number; its weights are damaged or diverged in training")
