"""The same computations in less time on a CPU, by ways round what torch and transformers do.

They rest on how these libraries work inside, so they are used with the versions in `TESTED` only; with any other, a
model computes as the library has it: slower, and with other random numbers in dropout.
"""

from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

TESTED = {"torch": "2.13", "transformers": "5.23"}  # when raising one, run tests/train and make bench
ATTENTION = "gistchat"  # its name among the library's implementations


def supported() -> bool:
    """Whether the installed libraries are of the versions that the speed-ups were tested with."""
    return all(version(package).split(".")[:2] == tested.split(".") for package, tested in TESTED.items())


def fuse_activations(model: PreTrainedModel) -> None:
    """Compute GPT-2's GELU in one pass instead of eight: the same formula, as torch has it."""
    if supported():
        from transformers.activations import GELUTanh, NewGELUActivation

        _replace(model, NewGELUActivation, lambda activation: GELUTanh())


def speed_up_training(model: PreTrainedModel, processes: int) -> None:
    """Faster dropout, and embedding gradients without a copy; nothing with other versions than the tested."""
    if not supported():
        return
    if next(model.parameters()).device.type == "cpu":
        # Here torch draws a number for every element, one after another.
        _replace(model, torch.nn.Dropout, lambda dropout: BitDropout(dropout.p))
        if model.config.model_type == "gpt2":
            draw_attention_dropout_from_bits(model)
    if processes == 1:
        add_embedding_gradients_in_place(model)


def draw_attention_dropout_from_bits(model: PreTrainedModel) -> None:
    """Draw the dropout of attention weights from random bits, too; on a CPU torch has no fused kernel that drops."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(ATTENTION)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention over whole sequences with dropout; anything else is left to torch.

    Query, key and value have shape (rows, heads, positions, width); the result (rows, positions, heads, width).
    """
    if dropout == 0 or attention_mask is not None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    rows, heads, length, width = query.shape
    query, key, value = (part.reshape(rows * heads, length, width) for part in (query, key, value))
    future = torch.full((length, length), -torch.inf).triu(1)
    weights = torch.baddbmm(future, query, key.transpose(1, 2), alpha=scaling or width**-0.5).softmax(-1)
    attended = torch.bmm(drop(weights, dropout), value)
    return attended.view(rows, heads, length, width).transpose(1, 2), None


def add_embedding_gradients_in_place(model: PreTrainedModel) -> None:
    """Add the gradients of input embeddings to those of the output layer that they are tied to, row by row.

    Otherwise a matrix of the size of the vocabulary is zeroed, filled and added for each of them in every pass. For
    one process only: DDP has sent the gradient away by then.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if type(embedding) is not torch.nn.Embedding or head is None or head.weight is not embedding.weight:
        return
    if "forward" not in vars(embedding):
        embedding.forward = partial(_look_up, embedding.weight)


def _look_up(weight: torch.nn.Parameter, ids: torch.Tensor) -> torch.Tensor:
    vectors = torch.nn.functional.embedding(ids, weight.detach())
    if weight.requires_grad and torch.is_grad_enabled():

        def add(gradient: torch.Tensor) -> None:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad.index_add_(0, ids.flatten(), gradient.flatten(0, -2).to(weight.dtype))

        vectors.requires_grad_().register_hook(add)
    return vectors


class BitDropout(torch.nn.Dropout):
    """Dropout by `drop`; p is rounded to a multiple of 1/65,536."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return drop(hidden, self.p) if self.training else hidden


def drop(hidden: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout that decides by 16 random bits an element."""
    if p == 0:
        return hidden
    dropped = round(p * 65536)
    bits = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[: hidden.numel()].view(hidden.shape) >= dropped - 32768
    # The operation that masks and scales; dropout's own backward pass is the same one.
    return torch.ops.aten.native_dropout_backward(hidden, kept, 65536 / (65536 - dropped))


def _replace(model: torch.nn.Module, kind: type, make: object) -> None:
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is kind:
                setattr(module, name, make(child))
