"""Whether an exported file answers as the model that it was made of: greedy replies of both, compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.llama_server import LlamaServer
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.models.checkpoint import Checkpoint
from gistchat.prompts.prompt import Prompt

TOKENS = 24
LEAST_CONTEXT = 512
NEAR_TIE = 0.05  # nats between the two likeliest tokens: below, rounding may choose the other
ASKED = (
    "Hi!",
    "Did you sleep well?",
    "What do you do for a living?",
    "I'm thinking of getting a dog.",
    "How was your trip to the mountains?",
    "Have you seen any good films lately?",
    "My train is late again.",
    "Can you cook?",
    "I failed my driving test.",
    "Where are you from?",
    "It's my birthday today!",
    "Do you like your new flat?",
    "What should I read next?",
    "It has been raining for 12 days.",
    "Why is the sky blue?",
    "Tell me a joke.",
    "I can't find my keys anywhere…",
    "Which do you prefer: tea, or coffee?",
    "My sister is moving to Zürich in 2027.",
    "Thanks, see you tomorrow 🙂",
)


@dataclass(frozen=True)
class Parting:
    """Where two replies part: what was asked, and both texts from the first token on that differs."""

    asked: str
    torch: str
    other: str
    margin: float  # between torch's two likeliest tokens there, nats


@dataclass(frozen=True)
class Agreement:
    """How many replies are equal, and where the first part that are not."""

    equal: int
    count: int
    parting: Parting | None

    def sentences(self, exact: bool) -> list[str]:
        """What a person is told. `exact`: whether replies ought to be equal, as the weights are not rounded much."""
        line = f"self-test: {self.equal} of {self.count} greedy replies equal torch's"
        if self.parting is None:
            return [line]
        first = self.parting
        lines = [
            line if exact else f"{line}; weights are rounded, so some part",
            f"the first that parts, to {first.asked!r}: "
            f"torch {_goes_on(first.torch)}, the file {_goes_on(first.other)}",
        ]
        if exact:
            tie = first.margin < NEAR_TIE
            lines[0] = f"warning: {lines[0]}"
            lines[1] += f"; torch's two likeliest tokens there are {first.margin:.4f} nats apart" + (
                ", so near that rounding decides" if tie else ", which is no near tie: do not rely on this file"
            )
        return lines


def _goes_on(text: str) -> str:
    return f"goes on with {text!r}" if text else "ends"


def compare_with_torch(
    checkpoint: Checkpoint, gguf: Path, adapter: Path | None = None, asked: Sequence[str] = ASKED
) -> Agreement:
    """Ask both for greedy replies to some turns, each in a conversation of its own.

    Raises:
        UserError: package xllamacpp is missing, or llama.cpp cannot open the file.
    """
    contexts = [Context((), (), RoleTurn(USER, text, 0), 0, 0) for text in asked]
    prompts = [checkpoint.format.encode(context) for context in contexts]
    sampling = Sampling(TOKENS)
    engine = TorchEngine(checkpoint.model, checkpoint.format)
    expected = engine.generate_prompts(prompts, sampling, range(len(prompts)))
    length = max(map(len, prompts)) + TOKENS
    server = LlamaServer(gguf, max(LEAST_CONTEXT, length), adapter)
    replies = [_reply(server.greedy(prompt.ids, TOKENS), checkpoint, sampling) for prompt in prompts]
    pairs = list(zip(asked, prompts, expected, replies, strict=True))
    parted = [pair for pair in pairs if _all_ids(pair[2]) != _all_ids(pair[3])]
    parting = _parting(checkpoint, *parted[0]) if parted else None
    return Agreement(len(pairs) - len(parted), len(pairs), parting)


def _reply(ids: Sequence[int], checkpoint: Checkpoint, sampling: Sampling) -> PartialReply:
    reply = PartialReply(checkpoint.format, sampling)
    for token in ids:
        if not reply.ended:
            reply.add(token)
    if not reply.ended:
        reply.end("end")
    return reply


def _all_ids(reply: PartialReply) -> list[Any]:
    return [*reply.ids, reply.ended]


def _parting(
    checkpoint: Checkpoint, asked: str, prompt: Prompt, expected: PartialReply, reply: PartialReply
) -> Parting:
    pairs = zip(_all_ids(expected), _all_ids(reply), strict=False)
    place = next(number for number, (one, other) in enumerate(pairs) if one != other)
    ids = torch.tensor([[*prompt.ids, *expected.ids[:place]]], device=checkpoint.model.device)
    with torch.inference_mode():
        logits = checkpoint.model(input_ids=ids, logits_to_keep=1).logits[0, -1].float()
    first, second = logits.topk(2).values.tolist()
    decode = checkpoint.tokenizer.decode
    return Parting(asked, decode(expected.ids[place:]), decode(reply.ids[place:]), first - second)
