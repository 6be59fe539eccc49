"""Next-reply ranking: where does a model put the gold reply among others, by likelihood?"""

import math
import random
from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from gistchat.errors import UserError
from gistchat.examples.build import Example
from gistchat.examples.targets import Target
from gistchat.models.likelihood import ScoredReply, score_replies
from gistchat.prompts.format import PromptFormat

CANDIDATES = 20  # the gold one included, as ConvAI2 has it (Dinan et al. 2020)


def draw_others(item: Target, items: Sequence[Target]) -> list[str]:
    """Gold replies of other dialogues, the same for every model and strategy; fewer where there are too few."""
    others = sorted({target.gold for target in items if target.dialogue.id != item.dialogue.id} - {item.gold})
    random.Random(item.id).shuffle(others)
    return others[: CANDIDATES - 1]


def rank_gold(
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    examples: Sequence[Example],
    others: Sequence[Sequence[str]],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[int]:
    """The place of each gold reply (1: the likeliest) among the others, by mean log-likelihood per token.

    The mean, as the sum prefers short replies. Equal ones are placed before the gold one. The prompt is read once for
    all of its candidates.
    """
    ranks = []
    for example, texts in zip(examples, others, strict=True):
        replies = [example.reply, *(prompt_format.encode_reply(text) for text in texts)]
        rows = [ScoredReply.of(example.prompt, reply) for reply in replies]
        nats = score_replies(model, prompt_format, rows, batch_tokens)
        if not all(map(math.isfinite, nats)):
            raise UserError(f"{example.target.id}: a likelihood that is not a number; the weights are damaged")
        gold, *rest = (value / len(reply) for value, reply in zip(nats, replies, strict=True))
        ranks.append(1 + sum(value <= gold for value in rest))
        advance(1)
    return ranks
