"""What a message is known by, and its text as it is stored and searched."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

from gistchat.dialogue.turns import Turn

FORGOTTEN = "…"  # what stands for a text that was forgotten
_KEY_BYTES = 16
# What no UTF-8 text, or no text of PostgreSQL, can hold: halves of surrogate pairs, and NUL.
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


def message_key(secret: bytes, parent: str, speaker: str, text: str, extra: dict[str, Any]) -> str:
    """The hash of a message and of all before it, in hex: equal transcripts have equal keys, in all conversations.

    The secret of the database goes into it, so that a text cannot be guessed by its key alone.

    Args:
        parent: key of the message before; empty for the first.
        extra: what there is beside the text, as plain JSON; the order of its names does not count.
    """
    content = json.dumps([parent, speaker, text, extra], sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(content.encode(), key=secret, digest_size=_KEY_BYTES).hexdigest()


def with_extras(turns: Sequence[Turn], extras: Sequence[dict[str, Any]]) -> Iterator[tuple[Turn, dict[str, Any]]]:
    """Each turn with what belongs to it besides; turns beyond the extras have nothing."""
    return zip(turns, chain(extras, repeat({})), strict=False)


def message_keys(secret: bytes, parent: str, turns: Sequence[Turn], extras: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Of turns that follow one another, the first of them after `parent`."""
    keys = []
    for turn, extra in with_extras(turns, extras):
        parent = message_key(secret, parent, turn.speaker, turn.text, extra)
        keys.append(parent)
    return keys


def storable(text: str) -> str:
    """With U+FFFD in place of what no database can hold."""
    return _UNSTORABLE.sub("\ufffd", text)


def folded(text: str) -> str:
    """For search: without difference of case, of composed and decomposed letters, of full and half width."""
    return storable(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))
