"""Replies from a model: many at once for evaluation, token by token for chat."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from gistchat.likelihood import length_batches
from gistchat.prompt import PromptFormat


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest; a seed makes draws repeatable."""

    max_tokens: int = 60
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Reply:
    """A generated reply, its length in tokens, and its share of the batch's wall time in seconds."""

    text: str
    tokens: int
    seconds: float


def generate_replies(
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Reply]:
    """One reply for each prompt (a list of token ids), in left-padded batches of similar length."""
    replies: list[Reply] = [Reply("", 0, 0.0)] * len(prompts)
    for batch in length_batches([len(prompt) + sampling.max_tokens for prompt in prompts], batch_tokens):
        start = time.perf_counter()
        rows = _generate(model, prompt_format, [prompts[i] for i in batch], sampling)
        seconds = (time.perf_counter() - start) / len(batch)
        for i, ids in zip(batch, rows, strict=True):
            replies[i] = Reply(prompt_format.decode_reply(ids), len(ids), seconds)
        advance(len(batch))
    return replies


def _generate(
    model: PreTrainedModel, prompt_format: PromptFormat, prompts: Sequence[list[int]], sampling: Sampling
) -> list[list[int]]:
    choose: dict[str, Any] = {}
    if sampling.temperature > 0:
        choose = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    types = [prompt_format.token_types(prompt) for prompt in prompts]
    return generate_ids(
        model,
        prompts,
        prompt_format.stop_ids,
        sampling.max_tokens,
        types=None if types[0] is None else types,
        **choose,
    )


@torch.inference_mode()
def generate_ids(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    stop_ids: Sequence[int],
    max_tokens: int,
    types: Sequence[list[int]] | None = None,
    **choose: Any,
) -> list[list[int]]:
    """What the model adds to each prompt of a batch, up to a stop id; greedy unless `choose` says otherwise.

    Args:
        types: token types of the prompts; a reply goes on with the last one of its prompt.
    """
    longest = max(len(prompt) for prompt in prompts)
    pad = stop_ids[0]

    def padded(rows: Sequence[list[int]], filler: int) -> torch.Tensor:
        return torch.tensor([[filler] * (longest - len(row)) + row for row in rows], device=model.device)

    ids, mask = padded(prompts, pad), padded([[1] * len(prompt) for prompt in prompts], 0)
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        eos_token_id=list(stop_ids),
        pad_token_id=pad,
        **{"do_sample": False, **choose},
    )
    inputs = {} if types is None else {"token_type_ids": padded(types, pad)}
    output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **inputs)
    return [_until_stop(row, stop_ids) for row in output[:, longest:].tolist()]


def _until_stop(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[:end]


@torch.inference_mode()
def stream_reply(
    model: PreTrainedModel, prompt_format: PromptFormat, prompt: list[int], sampling: Sampling
) -> Iterator[str]:
    """Yield a reply piece by piece. A piece ends at a whole character, never inside one."""
    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)
    cache = None
    ids = torch.tensor([prompt], device=model.device)
    types = prompt_format.token_types(prompt)
    reply: list[int] = []
    shown = ""
    for _ in range(sampling.max_tokens):
        inputs = {} if types is None else {"token_type_ids": torch.tensor([types], device=model.device)}
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **inputs)
        cache = output.past_key_values
        token = _choose(output.logits[0, -1].float(), sampling)
        if token in prompt_format.stop_ids:
            break
        reply.append(token)
        text = prompt_format.decode_reply(reply)
        # An unfinished character decodes to the replacement character; wait for its other bytes.
        if len(text) > len(shown) and not text.endswith("\ufffd"):
            yield text[len(shown) :]
            shown = text
        ids = torch.tensor([[token]], device=model.device)
        types = types and types[-1:]  # the reply has the type of the token before it


def _choose(logits: torch.Tensor, sampling: Sampling) -> int:
    """Nucleus sampling (Holtzman et al. 2020), or the likeliest token at temperature 0."""
    if sampling.temperature <= 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits / sampling.temperature, -1).sort(descending=True)
    outside = probabilities.cumsum(-1) - probabilities >= sampling.top_p
    probabilities[outside] = 0.0
    return int(order[torch.multinomial(probabilities, 1)])
