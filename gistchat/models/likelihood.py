"""The likelihood of replies: right-padded batches, logits only where there is a label, shared beginnings read once."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.functional import cross_entropy, pad
from transformers import Cache, PreTrainedModel

from gistchat.models.key_values import empty_cache, is_divisible
from gistchat.processes import length_batches
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt, common_prefix

IGNORED = -100  # torch's label of positions without a loss
ROWS_OF_LOGITS = 32  # a few MB each
WORTH_SHARING = 8  # tokens; keeping fewer costs more than reading them again


class Labelled(Protocol):
    """Token ids, for each position the id that should follow those before it (or IGNORED), and token types or None.

    A label is mostly the id itself, but need not be: the end of a reply is learned in the middle of a dialogue, too,
    where the other's turn follows.
    """

    ids: Sequence[int]
    labels: Sequence[int]
    types: Sequence[int] | None


@dataclass(frozen=True)
class ScoredReply:
    """A prompt with a reply whose likelihood is asked for."""

    ids: list[int]
    labels: list[int]
    types: list[int] | None

    @classmethod
    def of(cls, prompt: Prompt, reply: list[int]) -> "ScoredReply":
        """`reply`: ids, the end token included."""
        whole = prompt.followed_by(reply)
        return cls(whole.ids, [IGNORED] * len(prompt) + reply, whole.types)


def collate(rows: Sequence[Labelled], prompt_format: PromptFormat) -> dict[str, torch.Tensor]:
    """A batch: input_ids, labels, and token_type_ids where the format has them, each of shape (rows, longest).

    Padding is on the right. No token looks ahead, so none sees the padding, and neither a mask nor positions are
    needed.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), prompt_format.stop_ids[0])
    labels = torch.full_like(ids, IGNORED)
    types = ids.clone() if prompt_format.has_types else None
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.as_tensor(row.ids)
        labels[i, : len(row.labels)] = torch.as_tensor(row.labels)
        if types is not None:
            types[i, : len(row.ids)] = torch.as_tensor(row.types)
    batch = {"input_ids": ids, "labels": labels}
    return batch if types is None else {**batch, "token_type_ids": types}


def label_losses(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], beginning: Cache | None = None
) -> torch.Tensor:
    """Negative log-likelihood in nats of every label of a batch, row by row; shape (labels,).

    Args:
        beginning: keys and values of the tokens that all rows begin with, for one row; these have no labels.
    """
    past: dict[str, object] = {"use_cache": False}
    if beginning is not None:
        start = beginning.get_seq_length()
        batch = {name: tensor[:, start:] for name, tensor in batch.items()}
        repeated = copy.deepcopy(beginning)
        repeated.batch_repeat_interleave(len(batch["labels"]))
        past = {"past_key_values": repeated}
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    following = pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
    labelled = following != IGNORED
    with _only_at(model, labelled):
        logits = model(**inputs, **past).logits
    # Without gradients a few rows at a time: the probabilities of all rows would be as large as the logits, and
    # allocating that memory takes longer than filling it.
    rows = max(len(logits), 1) if torch.is_grad_enabled() else ROWS_OF_LOGITS
    parts = zip(logits.split(rows), following[labelled].split(rows), strict=True)
    return torch.cat([cross_entropy(part.float(), labels, reduction="none") for part, labels in parts])


@contextlib.contextmanager
def _only_at(model: PreTrainedModel, positions: torch.Tensor) -> Iterator[None]:
    """Compute the output layer, and the last block's feed-forward layer before it, at some positions only.

    Most positions have no label, and nothing after the last block's attention looks at another position. Logits then
    have shape (positions, vocabulary); what a model does to them (scaling, capping) it does to these.
    """
    model = getattr(model, "module", model)  # DDP's wrapper
    head = model.get_output_embeddings()
    hooks = [head.register_forward_pre_hook(lambda layer, inputs: (inputs[0][positions], *inputs[1:]))]
    if (last := _last_feed_forward(model)) is not None:
        hooks.append(last.register_forward_pre_hook(lambda layer, inputs: (inputs[0][positions], *inputs[1:])))
        hooks.append(last.register_forward_hook(lambda layer, inputs, output: _put_back(output, positions)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_feed_forward(model: PreTrainedModel) -> torch.nn.Module | None:
    """The last block's feed-forward layer where the model has it under its usual name (GPT-2, Llama and their kin)."""
    if model.is_activation_checkpointing:
        return None  # it is computed again in the backward pass, after the hooks are gone
    decoder = model.get_decoder()
    blocks = getattr(decoder, "h", None) or getattr(decoder, "layers", None)
    layer = getattr(blocks[-1], "mlp", None) if blocks else None
    return layer if type(layer).__name__ in ("GPT2MLP", "LlamaMLP") else None


def _put_back(rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Scatter the rows of some positions into a tensor of all positions, zeros elsewhere."""
    everywhere = rows.new_zeros((*positions.shape, rows.shape[-1]))
    everywhere[positions] = rows
    return everywhere


def _beginning(model: PreTrainedModel, rows: Sequence[Labelled], prompt_format: PromptFormat) -> Cache | None:
    """Keys and values of what all rows begin with, before a label follows; None where that is hardly anything."""
    ends = [next(i for i, label in enumerate(row.labels) if label != IGNORED) - 1 for row in rows]
    length = min(*ends, common_prefix(*(row.ids for row in rows)))
    cache = empty_cache(model)
    if len(rows) < 2 or length < WORTH_SHARING or not is_divisible(cache):
        return None
    batch = collate(rows[:1], prompt_format)
    inputs = {name: tensor[:, :length].to(model.device) for name, tensor in batch.items() if name != "labels"}
    model(**inputs, past_key_values=cache, logits_to_keep=1)
    return cache


@torch.inference_mode()
def score_replies(
    model: PreTrainedModel,
    prompt_format: PromptFormat,
    rows: Sequence[Labelled],
    batch_tokens: int = 4096,
    advance: Callable[[int], None] = lambda count: None,
) -> list[float]:
    """Summed negative log-likelihood (nats) of each row's labels: of an example's reply, its end token included."""
    scores = [0.0] * len(rows)
    if not rows:
        return scores
    beginning = _beginning(model, rows, prompt_format)
    for batch in length_batches([len(row.ids) for row in rows], batch_tokens):
        tensors = collate([rows[i] for i in batch], prompt_format)
        losses = label_losses(model, {name: tensor.to(model.device) for name, tensor in tensors.items()}, beginning)
        counts = (tensors["labels"][:, 1:] != IGNORED).sum(1).tolist()
        for i, row_losses in zip(batch, losses.split(counts), strict=True):
            scores[i] = float(row_losses.sum())
        advance(len(batch))
    return scores
