"""A model of transformers as a GGUF file, the format of llama.cpp and the programs around it.

Models of the kinds in `KINDS` are written, in 32- or 16-bit floats or quantised. Tensor by tensor is read, converted
and written, so that no second copy of the model comes to be in memory. Needs neither torch nor transformers itself.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gistchat.errors import UserError, shown
from gistchat.models.gguf_vocabulary import Vocabulary, vocabulary_of

QUANTS = ("f32", "f16", "q8_0", "q4_k_m")
FORMAT, RECIPE, WEIGHTS = "gistchat.format", "gistchat.recipe", "gistchat.weights"  # keys of gistchat's own
NORMALIZER = "gistchat.normalizer"  # "NFC" where texts are to be brought into that form before they are tokenized

SMOOTH_GELU = ("gelu_new", "gelu_pytorch_tanh")
# What the configuration of a model must say, if it says anything, for llama.cpp to compute the same.
GPT2_RULES = {
    "activation_function": SMOOTH_GELU,
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
LLAMA_RULES = {"hidden_act": ("silu", "swish")}
QWEN_RULES = {**LLAMA_RULES, "use_sliding_window": (False,), "attention_bias": (False,)}


@dataclass(frozen=True)
class Kind:
    """A family of models that llama.cpp computes as transformers does.

    Attributes:
        interleaved: whether llama.cpp rotates neighbouring rows of query and key; transformers has them in halves.
        transposed: names of modules whose weights are stored input by output.
        rope_tensor: whether llama.cpp reads factors of the rotary frequencies from a tensor.
    """

    arch: str
    rules: dict[str, tuple[Any, ...]]
    interleaved: bool = False
    transposed: tuple[str, ...] = ()
    rope_tensor: bool = False


KINDS = {
    "llama": Kind("llama", LLAMA_RULES, interleaved=True, rope_tensor=True),
    "qwen2": Kind("qwen2", QWEN_RULES),
    "qwen3": Kind("qwen3", QWEN_RULES),
    "gpt2": Kind("gpt2", GPT2_RULES, transposed=("c_attn", "c_proj", "c_fc")),
}


@dataclass(frozen=True)
class Tensor:
    """One of a file: its name and shape there, and how to get it as 32-bit floats."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def write_gguf(path: Path, model: Any, tokenizer: Any, quant: str, details: dict[str, Any]) -> None:
    """Write a model of transformers and its tokenizer.

    Args:
        quant: one of QUANTS.
        details: `name`, `chat_template` (may be empty), `end_of_turn` (a token id, or None), and gistchat's own keys
            with the texts that they get.

    Raises:
        UserError: package gguf is missing, or llama.cpp would compute something else.
    """
    import gguf  # takes a fifth of a second, which a chat need not wait for

    kind = _kind_of(model.config)
    vocabulary = vocabulary_of(tokenizer, model.get_input_embeddings().weight.shape[0])
    tensors = list(_tensors(model, kind, gguf))
    writer = gguf.GGUFWriter(path, kind.arch)
    try:
        _add_details(writer, quant, details, gguf)
        _add_architecture(writer, model.config)
        _add_vocabulary(writer, vocabulary, tokenizer, details)
        _write_tensors(writer, tensors, quant, gguf)
    finally:
        writer.close()


def kind_fault(model_type: str) -> str:
    """Why models of a type cannot be written, as far as the type alone tells; empty where they can."""
    if model_type in KINDS:
        return ""
    return f"a model of type {shown(model_type)} cannot be written as GGUF, only {', '.join(KINDS)}"


def _kind_of(config: Any) -> Kind:
    """Raises UserError where llama.cpp would compute something else than transformers."""
    if fault := kind_fault(config.model_type):
        raise UserError(f"{fault}; export to a folder instead")
    kind = KINDS[config.model_type]
    for name, allowed in kind.rules.items():
        if (value := getattr(config, name, allowed[0])) not in allowed:
            raise _refused(f"{name} is {value!r}")
    if any(layer != "full_attention" for layer in getattr(config, "layer_types", None) or []):
        raise _refused("some of its layers attend to a sliding window only")
    return kind


def _refused(why: str) -> UserError:
    return UserError(f"this model cannot be written as GGUF: {why}; export to a folder instead")


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in llama.cpp's order: pairs that are rotated together become neighbours."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _tensors(model: Any, kind: Kind, gguf: Any) -> Iterator[Tensor]:
    """Those of the file, in the order of the model. Raises UserError for weights that llama.cpp has no place for."""
    names = gguf.get_tensor_name_map(_arch(kind, gguf), model.config.num_hidden_layers)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        raise _refused("its output layer has a bias")
    weights = model.state_dict()
    if factors := _rope_factors(model, kind):
        values = np.array(factors, dtype=np.float32)
        yield Tensor("rope_freqs.weight", values.shape, lambda: values)
    for own_name, tensor in weights.items():
        if own_name.startswith("lm_head.") and head.weight is embedding.weight:
            continue  # llama.cpp takes the embeddings, too
        name = names.get_name(own_name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise _refused(f"it has weights that llama.cpp does not know ({own_name[:80]})")
        yield _tensor(name, own_name, tensor, model.config, kind)


def _arch(kind: Kind, gguf: Any) -> Any:
    return next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == kind.arch)


def _tensor(name: str, own_name: str, tensor: Any, config: Any, kind: Kind) -> Tensor:
    module = own_name.split(".")[-2]
    shape = tuple(tensor.shape)
    if kind.interleaved and module in ("q_proj", "k_proj"):
        heads = config.num_attention_heads if module == "q_proj" else config.num_key_value_heads
        return Tensor(name, shape, lambda: permuted(as_float32(tensor), heads))
    if module in kind.transposed and len(shape) == 2:
        return Tensor(name, shape[::-1], lambda: as_float32(tensor).T)
    return Tensor(name, shape, lambda: as_float32(tensor))


def as_float32(tensor: Any) -> np.ndarray:
    """A torch tensor, wherever it is, or an array, as an array of 32-bit floats; the same memory where it can be."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu().numpy()
    return np.asarray(tensor, dtype=np.float32)


def _rope_factors(model: Any, kind: Kind) -> list[float]:
    """By what llama.cpp is to divide the rotary frequencies; empty where they are the plain ones.

    Raises:
        UserError: a scaling that depends on the text's length, scales attention, or has no place in such a file.
    """
    rope = getattr(model.config, "rope_parameters", None)
    if not rope:
        return []
    rotary = model.get_decoder().rotary_emb
    frequencies = rotary.inv_freq.double()
    width = 2 * len(frequencies)
    plain = float(rope["rope_theta"]) ** (-np.arange(0, width, 2) / width)
    factors = plain / frequencies.cpu().numpy()
    kinds = ("default", "linear", "llama3")
    if rope.get("rope_type", "default") not in kinds or rotary.attention_scaling != 1 or width != _head_width(model):
        raise _refused(f"its rotary embeddings are of type {rope.get('rope_type')!r}")
    if np.allclose(factors, 1, rtol=1e-5):
        return []
    if not kind.rope_tensor:
        raise _refused(f"its rotary embeddings are of type {rope['rope_type']!r}")
    return factors.tolist()


def _head_width(model: Any) -> int:
    config = model.config
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add_details(writer: Any, quant: str, details: dict[str, Any], gguf: Any) -> None:
    types = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_k_m": "MOSTLY_Q4_K_M"}
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(details["name"])
    writer.add_file_type(gguf.LlamaFileType[types[quant]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_own_keys(writer, details)


def add_own_keys(writer: Any, details: dict[str, Any]) -> None:
    """Say how the model was trained, for gistchat."""
    for key in (FORMAT, RECIPE, WEIGHTS):
        if key in details:
            value = details[key]
            writer.add_string(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _add_architecture(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)


def _add_vocabulary(writer: Any, vocabulary: Vocabulary, tokenizer: Any, details: dict[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")  # llama.cpp's name of byte-level BPE
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    ids = {
        writer.add_bos_token_id: tokenizer.bos_token_id,
        writer.add_eos_token_id: tokenizer.eos_token_id,
        writer.add_pad_token_id: tokenizer.pad_token_id,
        writer.add_eot_token_id: details["end_of_turn"],
    }
    for add, number in ids.items():
        if number is not None and number < len(vocabulary.tokens):
            add(number)
    writer.add_add_bos_token(False)  # prompts say themselves what they begin with
    if details["chat_template"]:
        writer.add_chat_template(details["chat_template"])
    if vocabulary.normalizer:
        writer.add_string(NORMALIZER, vocabulary.normalizer)


def _write_tensors(writer: Any, tensors: list[Tensor], quant: str, gguf: Any) -> None:
    choose = _Mix(quant, tensors, gguf)
    kinds = [choose(tensor) for tensor in tensors]
    for tensor, kind in zip(tensors, kinds, strict=True):
        shape = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
        # For bytes the writer takes the shape of the bytes, for floats that of the tensor.
        floats = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}
        kept, dtype = (tensor.shape, floats[kind]) if kind in floats else (shape, np.uint8)
        writer.add_tensor_info(tensor.name, kept, np.dtype(dtype), int(np.prod(shape)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, kind in zip(tensors, kinds, strict=True):
        writer.write_tensor_data(_encoded(tensor.read(), kind, quant, gguf))


def _encoded(values: np.ndarray, kind: Any, quant: str, gguf: Any) -> np.ndarray:
    types = gguf.GGMLQuantizationType
    if kind == types.F32:
        return np.ascontiguousarray(values)
    if kind == types.F16:
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise UserError("--quant: some weights are too large for 16-bit floats, or no numbers; use f32")
        return np.ascontiguousarray(halves)
    if quant == "q8_0":
        return gguf.quants.quantize(np.ascontiguousarray(values), kind)
    from gistchat.models.ggml_quantize import quantize

    return quantize(values, kind)


class _Mix:
    """Which kind each tensor gets. For q4_k_m: llama.cpp's own mix, without its exceptions for very large models."""

    def __init__(self, quant: str, tensors: list[Tensor], gguf: Any) -> None:
        self.quant, self.types, self.gguf = quant, gguf.GGMLQuantizationType, gguf
        names = [tensor.name for tensor in tensors]
        self.layers = len({name.split(".")[1] for name in names if name.startswith("blk.")})
        # The matrix that makes logits loses most.
        self.output = "output.weight" if "output.weight" in names else "token_embd.weight"

    def __call__(self, tensor: Tensor) -> Any:
        if self.quant == "f32" or len(tensor.shape) < 2 or tensor.name.startswith("position_embd"):
            return self.types.F32
        if self.quant == "f16":
            return self.types.F16
        wanted = self.types.Q8_0 if self.quant == "q8_0" else self._mixed(tensor.name)
        return self._fitting(wanted, tensor.shape[-1])

    def _mixed(self, name: str) -> Any:
        if name == self.output:
            return self.types.Q6_K
        if ".attn_qkv." in name:
            return self.types.Q5_K
        if (".attn_v." in name or ".ffn_down." in name) and self._is_delicate(int(name.split(".")[1])):
            return self.types.Q6_K
        return self.types.Q4_K

    def _is_delicate(self, layer: int) -> bool:
        """The first and last eighth of the layers, and every third between."""
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2

    def _fitting(self, kind: Any, width: int) -> Any:
        """The kind, or the one that llama.cpp takes in its place where rows are no whole number of its blocks."""
        types = self.types
        smaller = {types.Q4_K: types.Q5_0, types.Q5_K: types.Q5_1, types.Q6_K: types.Q8_0}
        for candidate in (kind, smaller.get(kind, kind)):
            if width % self.gguf.GGML_QUANT_SIZES[candidate][0] == 0:
                return candidate
        return types.F16
