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
    found = sorted(source.glob("*.jsonl"))
    if not found:
        raise UserError(f"{source}: no .jsonl file in this folder")
    splits = [path for path in found if path.stem in SPLITS]
    others = [path.name for path in found if path not in splits]
    if splits and others:
        raise UserError(
            f"{source}: {', '.join(others)} beside {splits[0].name}; name the files {', '.join(SPLITS)} .jsonl, "
            "or give one file"
        )
    return found


def read(source: Path | None) -> Iterator[Dialogue | Malformed]:
    by_name = source is not None and source.is_dir()
    for path in files(source):
        for item in read_jsonl(path):
            if isinstance(item, Dialogue):
                split = item.split or (path.stem if by_name and path.stem in SPLITS else "")
                item = dataclasses.replace(item, corpus=item.corpus or path.stem, split=split)
            yield item
