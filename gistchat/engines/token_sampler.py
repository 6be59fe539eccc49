"""Draws the next token with torch, each row with its own generator."""

from collections.abc import Sequence

import torch
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gistchat.engines.sampling import Sampling, not_a_number


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
