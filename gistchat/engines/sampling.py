"""How replies are drawn: the settings, the same for every engine."""

import secrets
from dataclasses import dataclass

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


def not_a_number() -> UserError:
    """The error for a model whose scores are not numbers."""
    return UserError("the model's output is not a number; its weights are damaged or diverged in training")
