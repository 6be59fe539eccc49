"""Products of few rows with a matrix on a CPU: shared by all threads, with the weights lying as they are read fastest.

A chat needs products of one row with the weights, a batch of replies needs a few rows. At best they take as long as all
threads need to read the weights once. Left to itself, MKL gives one row to one thread, and copies all weights for a few
rows (docs/LOG.md has the times of each way).
"""

from collections.abc import Callable

import torch
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

FEW_ROWS = 64  # with more, the copy is no longer what counts
WORTH_SPLITTING = 2**16  # weights; a product with fewer takes less time than two threads take to meet

Product = Callable[[torch.Tensor], torch.Tensor]


@torch.inference_mode(False)
@torch.no_grad()
def quick_product(layer: torch.nn.Linear | Conv1D, single: bool) -> Product:
    """The function that a layer computes, of states of shape (rows, inputs), with its weights laid out to be read fast.

    Weights for a single row lie along outputs or inputs, whichever are more; for several rows, along inputs.

    Args:
        single: whether most products are of one row.
    """
    weight = layer.weight.data if isinstance(layer, torch.nn.Linear) else layer.weight.data.T
    outputs, inputs = weight.shape
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() < WORTH_SPLITTING:
        return layer
    along_outputs = single and outputs > inputs
    if along_outputs != (weight.stride(0) == 1):
        weight = weight.T.contiguous().T if along_outputs else weight.contiguous()
        layer.weight.data = weight if isinstance(layer, torch.nn.Linear) else weight.T
    of_one = _product_of_one(weight, layer.bias, torch.get_num_threads())

    def product(states: torch.Tensor) -> torch.Tensor:
        if len(states) == 1:
            return of_one(states)
        if len(states) > FEW_ROWS or along_outputs:
            return linear(states, weight, layer.bias)
        # The smaller factor stands second: no weight is copied.
        turned = weight @ states.T if layer.bias is None else torch.addmm(layer.bias[:, None], weight, states.T)
        return turned.T

    return product


def _product_of_one(weight: torch.Tensor, bias: torch.Tensor | None, threads: int) -> Product:
    """The product of one row, shared by threads: each computes some of the outputs."""
    outputs, inputs = weight.shape
    even = outputs // threads * threads
    parts = weight[:even].view(threads, -1, inputs).mT
    rest = weight[even:]
    added, added_to_rest = (None, None) if bias is None else (bias[:even].view(threads, 1, -1), bias[even:])

    def product(row: torch.Tensor) -> torch.Tensor:
        # The row stands first: with the matrix first, the same product takes three times as long.
        rows = row.expand(threads, 1, inputs)
        result = torch.bmm(rows, parts) if added is None else torch.baddbmm(added, rows, parts)
        result = result.view(1, even)
        return result if even == outputs else torch.cat((result, linear(row, rest, added_to_rest)), 1)

    return product
