"""The next token of each row, straight through a model's weights.

The library's forward pass does for one token all that it does for a sequence: masks, copies of the cache, layers of
function calls. Here GPT-2 and Llama models do only what a token needs, with the library's own layers. Other models, and
versions of the library that were not tested (`cpu_speedups.TESTED`), go through the library.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicLayer, GPT2LMHeadModel, LlamaForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from gistchat.engines.cpu_matmul import quick_product
from gistchat.models.cpu_speedups import supported

ROOM = 64  # tokens that keys and values have room for, at least, when they are moved

Step = Callable[[Tensor, Tensor | None, Tensor, Tensor | None, Cache], Tensor]


class GrowingLayer(DynamicLayer):
    """Keys and values with room for more behind them, so that a token does not copy all before it."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values of shape (rows, heads, positions, width); returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.keys, self.values = _grown(self.keys, key_states), _grown(self.values, value_states)
        return self.keys, self.values


def new_cache() -> Cache:
    """An empty cache, for any number of layers."""
    return Cache(layer_class_to_replicate=GrowingLayer if supported() else DynamicLayer)


def _grown(held: Tensor, new: Tensor) -> Tensor:
    """`held` and then `new`, along positions; what is held stays where it is if there is room behind it."""
    rows, heads, before, width = held.shape
    length = before + new.shape[-2]
    room = held.stride(1) // width if before else 0  # where nothing is held, its memory is another's
    if length > room:
        larger = new.new_empty(rows, heads, length + max(ROOM, length // 2), width)
        larger[:, :, :before] = held
        held = larger
    grown = held.as_strided((rows, heads, length, width), held.stride())
    grown[:, :, before:] = new
    return grown


def make_step(model: PreTrainedModel, single: bool) -> Step | None:
    """A model's step, laid out for single rows or for several; None for a model that only its library knows.

    A step takes, for a token of each row, ids, token types (None where the format has none) and positions, each of
    shape (rows,); which positions, these tokens' own included, a row sees, of shape (rows, length), None for all; and
    the keys and values of what was before, to which it adds these tokens'. It returns logits of shape (rows,
    vocabulary).
    """
    make = STEPS.get(type(model)) if supported() else None
    return make and make(model, single)


def _products(blocks: torch.nn.ModuleList, single: bool, names: str) -> list[tuple]:
    """Each block with the products of its layers of these names."""
    return [(block, *(quick_product(block.get_submodule(name), single) for name in names.split())) for block in blocks]


def _gpt2_step(model: GPT2LMHeadModel, single: bool) -> Step:
    body, head = model.transformer, quick_product(model.lm_head, single)
    blocks = _products(body.h, single, "attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj")

    def step(ids, types, positions, seen, cache):  # as make_step says
        hidden = body.wte(ids) + body.wpe(positions)
        if types is not None:
            hidden = hidden + body.wte(types)
        for layer, (block, project, combine, widen, narrow) in enumerate(blocks):
            heads, width = block.attn.num_heads, block.attn.head_dim
            query, key, value = project(block.ln_1(hidden)).view(len(ids), 3, heads, 1, width).unbind(1)
            hidden = hidden + combine(_attend(query, key, value, block.attn.scaling, seen, cache, layer))
            hidden = hidden + narrow(block.mlp.act(widen(block.ln_2(hidden))))
        return head(body.ln_f(hidden))

    return step


def _llama_step(model: LlamaForCausalLM, single: bool) -> Step:
    body, head = model.model, quick_product(model.lm_head, single)
    projections = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
    blocks = _products(body.layers, single, f"{projections} mlp.gate_proj mlp.up_proj mlp.down_proj")

    def step(ids, types, positions, seen, cache):  # as make_step says
        hidden = body.embed_tokens(ids)
        rotation = body.rotary_emb(hidden, positions[:, None])
        for layer, (block, *projections, combine, gate, widen, narrow) in enumerate(blocks):
            attention, normed = block.self_attn, block.input_layernorm(hidden)
            query, key, value = (project(normed).view(len(ids), -1, 1, attention.head_dim) for project in projections)
            query, key = apply_rotary_pos_emb(query, key, *rotation)
            hidden = hidden + combine(_attend(query, key, value, attention.scaling, seen, cache, layer))
            normed = block.post_attention_layernorm(hidden)
            hidden = hidden + narrow(block.mlp.act_fn(gate(normed)) * widen(normed))
        return head(body.norm(hidden))

    return step


STEPS = {GPT2LMHeadModel: _gpt2_step, LlamaForCausalLM: _llama_step}


def _attend(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, seen: Tensor | None, cache: Cache, layer: int
) -> Tensor:
    """What a token of each row attends to, of shape (rows, width); query, key, value: (rows, heads, 1, width).

    Written out, as torch's fused kernel takes twice the time for a single position. Several heads of queries may share
    one of keys and values (grouped-query attention, Ainslie et al. 2023).
    """
    keys, values = cache.update(key, value, layer)
    rows, heads, length, width = keys.shape
    keys, values = keys.view(rows * heads, length, width), values.view(rows * heads, length, width)
    scores = torch.bmm(query.reshape(rows * heads, -1, width) * scaling, keys.mT)
    if seen is not None:
        scores.masked_fill_(~seen.repeat_interleave(heads, 0)[:, None], -torch.inf)
    return torch.bmm(scores.softmax(-1), values).view(rows, -1)
