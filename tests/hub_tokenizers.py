"""Small real tokenizers of the kinds that the families use, with their special tokens."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

THINGS = "dog cat river garden violin bicycle teacher mountain kitchen library engine lighthouse harbour sister"
DEEDS = "bought painted lost repaired visited remembered sold cleaned described summarised answered"
SENTENCES = [
    *(f"I {deed} a {thing} near the {thing} yesterday." for deed in DEEDS.split() for thing in THINGS.split()),
    *(f"Did you see the {thing} number {i}? That sounds great, thanks!" for i, thing in enumerate(THINGS.split())),
    "You are a helpful assistant. Today Date: 26 Jul 2024. Cutting Knowledge Date: December 2023",
    " ".join(map(chr, range(33, 127))),
    "system user assistant model: what was said before in this conversation, in short. Hello, how are you? I am fine.",
]
BYTES = [f"<0x{i:02X}>" for i in range(256)]
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # kinds of SentencePiece's pieces


@dataclass
class Words:
    """A tokenizer and the files that it comes in.

    Attributes:
        tokenizer: None where the repository has no tokenizer.json.
        config: of tokenizer_config.json.
        files: others, by name.
    """

    vocabulary: dict[str, int]
    tokenizer: Tokenizer | None
    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)

    def add_template(self, template: str) -> "Words":
        self.config["chat_template"] = template
        return self


def as_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _special(content: str) -> AddedToken:
    return AddedToken(content, special=True, normalized=False)


def _config(kind: str, specials: Sequence[str], vocabulary: dict[str, int], **roles: Any) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(vocabulary[token]): {"content": token, **flags} for token in specials}
    return {"added_tokens_decoder": added, "clean_up_tokenization_spaces": False, "tokenizer_class": kind, **roles}


@functools.cache
def _byte_level_model() -> dict[str, Any]:
    """Vocabulary and merges of GPT-2's kind, without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_level(
    kind: str,
    last: Sequence[str],
    first: Sequence[str] = (),
    prefix: str = "",
    files: Sequence[str] = ("vocab.json", "merges.txt"),
    has_json: bool = True,
    **roles: Any,
) -> Words:
    """Byte-level BPE: GPT-2, Qwen, Llama 3, OPT, BLOOM and others.

    Args:
        kind: the tokenizer's class in transformers.
        first, last: special tokens before and after all others.
        prefix: a special token that stands before every text.
        roles: of tokenizer_config.json: eos_token and others.
    """
    trained = _byte_level_model()
    words = [*first, *sorted(trained["vocab"], key=trained["vocab"].get), *last]
    vocabulary = {word: i for i, word in enumerate(words)}
    merges = [tuple(pair) for pair in trained["merges"]]
    # As in the true files, special tokens are not part of vocab.json, but for those that come first or end a text.
    inside = {word: i for word, i in vocabulary.items() if word not in last or kind == "GPT2Tokenizer"}
    tokenizer = Tokenizer(models.BPE(vocab=inside, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_special(token) for token in (*first, *last)])
    if prefix:
        tokenizer.post_processor = processors.TemplateProcessing(
            f"{prefix} $A", f"{prefix} $A {prefix} $B", [(prefix, vocabulary[prefix])]
        )
    made = {"vocab.json": as_json(inside)}
    made["merges.txt"] = "\n".join(["#version: 0.2", *map(" ".join, merges), ""]).encode()
    config = _config(kind, (*first, *last), vocabulary, **roles)
    return Words(vocabulary, tokenizer if has_json else None, config, {name: made[name] for name in files})


@functools.cache
def _pieces_model() -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=220, show_progress=False))
    return json.loads(tokenizer.to_str())["model"]


def pieces(
    kind: str,
    controls: Sequence[str],
    added: Sequence[str] = (),
    unknown: str = "<unk>",
    prepend: bool = True,
    model_file: str = "tokenizer.model",
    bos: str = "",
    **roles: Any,
) -> Words:
    """BPE on text whose spaces are "▁", with a piece for each byte, as SentencePiece makes it: Llama 2, Gemma, Phi-3.

    Args:
        controls: special tokens at the beginning.
        added: those at the end, which are not in SentencePiece's own file.
        prepend: whether a text gets a space before it.
        bos: the special token that stands before every text.
    """
    trained = _pieces_model()
    learned = sorted(trained["vocab"], key=trained["vocab"].get)
    merges = [tuple(pair) for pair in trained["merges"]]
    inside = {word: i for i, word in enumerate([*controls, *BYTES, *learned])}
    vocabulary = {**inside, **{word: len(inside) + i for i, word in enumerate(added)}}
    tokenizer = Tokenizer(models.BPE(inside, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] if prepend else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([_special(token) for token in (*controls, *added)])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            f"{bos} $A", f"{bos} $A {bos}:1 $B:1", [(bos, vocabulary[bos])]
        )
    scores = {word: -float(i) for i, word in enumerate(learned)}
    files = {model_file: _proto(inside, controls, unknown, scores, 2)} if model_file else {}
    return Words(vocabulary, tokenizer, _config(kind, (*controls, *added), vocabulary, **roles), files)


def _proto(
    vocabulary: dict[str, int], controls: Sequence[str], unknown: str, scores: dict[str, float], model_type: int
) -> bytes:
    """SentencePiece's own file. Model types: 1 Unigram, 2 BPE."""
    proto = ModelProto()
    proto.trainer_spec.model_type = model_type
    proto.trainer_spec.byte_fallback = model_type == 2
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.trainer_spec.unk_id = vocabulary[unknown]
    for word in vocabulary:
        piece = proto.pieces.add()
        piece.piece, piece.score = word, scores.get(word, 0.0)
        piece.type = UNKNOWN if word == unknown else CONTROL if word in controls else NORMAL
        if word in BYTES and model_type == 2:
            piece.type = BYTE
    return proto.SerializeToString()


@functools.cache
def _unigram_scores() -> dict[str, float]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=260, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return dict(json.loads(tokenizer.to_str())["model"]["vocab"][1:])


def unigram(
    kind: str, controls: Sequence[str], added: Sequence[str] = (), has_json: bool = True, **roles: Any
) -> Words:
    """SentencePiece's Unigram: T5 and PEGASUS, the latter without tokenizer.json."""
    scores = _unigram_scores()
    inside = {word: i for i, word in enumerate([*controls, *scores])}
    vocabulary = {**inside, **{word: len(inside) + i for i, word in enumerate(added)}}
    unknown = inside["<unk>"]
    tokenizer = Tokenizer(models.Unigram([(word, scores.get(word, 0.0)) for word in inside], unk_id=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([_special(token) for token in (*controls, *added)])
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", inside["</s>"])])
    files = {"spiece.model": _proto(inside, controls, "<unk>", scores, 1)}
    config = _config(kind, (*controls, *added), vocabulary, **roles)
    return Words(vocabulary, tokenizer if has_json else None, config, files)


def word_pieces() -> Words:
    """BERT's."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    vocabulary = tokenizer.get_vocab()
    pairs = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", pairs)
    ordered = sorted(vocabulary, key=vocabulary.get)
    roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
    config = _config("BertTokenizer", specials, vocabulary, do_lower_case=True, unk_token="[UNK]", **roles)
    return Words(vocabulary, tokenizer, config, {"vocab.txt": "".join(f"{word}\n" for word in ordered).encode()})
