"""Dialogues in gistchat's own JSONL: one file, or a folder with train.jsonl, validation.jsonl and test.jsonl."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gistchat.dialogue import SPLITS, Dialogue, Malformed, read_jsonl
from gistchat.errors import UserError


def files(source: Path | None) -> list[Path]:
    if source is None:
        raise UserError("say where the dialogues are: gistchat prepare jsonl --from FILE_OR_FOLDER")
    if not source.is_dir():
        if not source.is_file():
            raise UserError(f"{source}: no such file or folder")
        return [source]
    found = [source / f"{split}.jsonl" for split in SPLITS if (source / f"{split}.jsonl").is_file()]
    found = found or sorted(source.glob("*.jsonl"))
    if not found:
        raise UserError(f"{source}: no .jsonl file in this folder")
    return found


def read(source: Path | None) -> Iterator[Dialogue | Malformed]:
    for path in files(source):
        for item in read_jsonl(path):
            if isinstance(item, Dialogue):
                split = item.split or (path.stem if path.stem in SPLITS else "")
                item = dataclasses.replace(item, corpus=item.corpus or path.stem, split=split)
            yield item
