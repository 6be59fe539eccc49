"""The same computations, in less time: what a model is changed to before it trains, or runs."""

import torch
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation


def fuse_activations(model: PreTrainedModel) -> None:
    """Compute GPT-2's GELU in one pass instead of eight: the same formula, as torch has it."""
    _replace(model, NewGELUActivation, lambda activation: GELUTanh())


def quicken_dropout(model: PreTrainedModel) -> None:
    """Draw dropout from random bits on a CPU, where torch draws a number for every element, one after another."""
    if next(model.parameters()).device.type == "cpu":
        _replace(model, torch.nn.Dropout, lambda dropout: BitDropout(dropout.p))


def sparse_embedding_gradients(model: PreTrainedModel) -> None:
    """Add the gradients of input embeddings into those of the output layer that they are tied to, row by row.

    Otherwise a matrix of the size of the vocabulary is zeroed and added for them in every pass. Not for several
    processes: DDP would take the sum for sparse.
    """
    embedding = model.get_input_embeddings()
    head = model.get_output_embeddings()
    if isinstance(embedding, torch.nn.Embedding) and head is not None and head.weight is embedding.weight:
        embedding.sparse = True


class BitDropout(torch.nn.Dropout):
    """Dropout that decides by 16 random bits an element: p is a multiple of 1/65,536."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return super().forward(hidden)
        dropped = round(self.p * 65536)
        bits = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: hidden.numel()].view(hidden.shape) >= dropped - 32768
        # The operation that masks and scales; dropout's own backward pass is the same one.
        return torch.ops.aten.native_dropout_backward(hidden, kept, 65536 / (65536 - dropped))


def _replace(model: torch.nn.Module, kind: type, make: object) -> None:
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is kind:
                setattr(module, name, make(child))
