"""A tokenizer of transformers as GGUF has it: tokens by id, their types, merges, and how text is split before those.

llama.cpp splits text by rules of its own, which a file names (`tokenizer.ggml.pre`). A tokenizer whose rules are not
known for certain to be the same is refused: its model would read other tokens than it was trained with.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gistchat.errors import UserError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {_WORDS + r"\p{N}" + _REST: "qwen2", _WORDS + r"\p{N}{1,3}" + _REST: "llama-bpe"}
WHOLE_WORDS = {"llama-bpe"}  # where llama.cpp takes a word that is a token as it is, whatever the merges say


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer.

    Attributes:
        pre: llama.cpp's name of the rules by which text is split before merges.
        normalizer: "NFC" where the tokenizer brings text into that form first, which llama.cpp does not; else empty.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    normalizer: str


def vocabulary_of(tokenizer: Any, rows: int) -> Vocabulary:
    """The vocabulary of a tokenizer of transformers.

    Args:
        rows: of the embeddings; those that no token has get a token that nothing is cut into.

    Raises:
        UserError: a kind of tokenizer that llama.cpp has otherwise, or not at all.
    """
    try:
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
    except AttributeError:
        raise _refused("no byte-level BPE (tokenizer.json)") from None
    pre = _pre_tokenizer(rules)
    _require_same_merges(rules["model"], pre)
    _require_plain_added(rules["added_tokens"])
    tokens, types = _tokens(rules, rows)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in rules["model"]["merges"]]
    return Vocabulary(tokens, types, merges, pre, _normalizer(rules, pre))


def _refused(why: str) -> UserError:
    return UserError(f"this model's tokenizer cannot be written as GGUF: {why}; export to a folder instead")


def _require_same_merges(model: dict[str, Any], pre: str) -> None:
    if model["type"] != "BPE":
        raise _refused(f"{model['type']} instead of byte-level BPE")
    others = ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if named := [name for name in others if model.get(name)]:
        raise _refused(f"its BPE has {named[0]}")
    if bool(model.get("ignore_merges")) != (pre in WHOLE_WORDS):
        raise _refused(f"ignore_merges is otherwise than llama.cpp has it for {pre}")


def _pre_tokenizer(rules: dict[str, Any]) -> str:
    """llama.cpp's name of how a text is split. Raises UserError where it has no such rules."""
    step = rules.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", []) if step.get("type") == "Sequence" else [step]
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return "gpt-2"
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ]:
            return "smollm"
        case [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ] if regex in SPLITS:
            return SPLITS[regex]
    raise _refused(f"it splits text by rules that are not known ({', '.join(str(part.get('type')) for part in steps)})")


def _normalizer(rules: dict[str, Any], pre: str) -> str:
    """llama.cpp has none; gistchat does NFC itself where the file says so, and almost all text is in that form."""
    match rules.get("normalizer"):
        case None:
            return ""
        case {"type": "NFC"} if pre == "qwen2":
            return "NFC"
        case {"type": kind}:
            raise _refused(f"it normalizes text ({kind})")
    raise _refused("it normalizes text")


def _require_plain_added(added: Sequence[dict[str, Any]]) -> None:
    """Raises UserError for added tokens that swallow white space, or are found in whole words only."""
    for token in added:
        if flags := [name for name in ("lstrip", "rstrip", "single_word") if token.get(name)]:
            raise _refused(f"the token {token['content'][:40]!r} has {flags[0]}")


def _tokens(rules: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Spelling and type of each id."""
    spelled = {number: token for token, number in rules["model"]["vocab"].items()}
    kinds = dict.fromkeys(spelled, NORMAL)
    for token in rules["added_tokens"]:
        if token["special"] and token["id"] >= rows:
            spelled.pop(token["id"], None)  # no text becomes it
            continue
        spelled[token["id"]] = token["content"]
        kinds[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    if (most := max(spelled) + 1) > rows:
        raise UserError(f"the tokenizer has {most:,} tokens, the model knows {rows:,}: not a pair")
    taken = set(spelled.values())
    for number in range(rows):
        if number not in spelled:
            name = f"[PAD{number}]"
            while name in taken:  # two tokens alike would end llama.cpp
                name += "_"
            spelled[number], kinds[number] = name, UNUSED
    return [spelled[number] for number in range(rows)], [kinds[number] for number in range(rows)]
