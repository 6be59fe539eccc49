"""Rows of predictions.jsonl and probe.jsonl, and metrics.json beside them: written, and read as they were written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.evaluate.metrics import Row
from gistchat.files import atomic_text, read_json, read_json_lines
from gistchat.stages import require_unchanged

MARKER = "evaluated.json"
FIELDS = ("id", "dialogue", "model", "strategy")  # whatever reads rows needs these


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    with atomic_text(path) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_rows(path: Path) -> list[Row]:
    """Raises UserError where the file is missing, or not as the evaluation left it."""
    rows = read_json_lines(path)
    require_unchanged(path.with_name(MARKER), path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(name in row for name in FIELDS):
            raise UserError(
                f"{path}:{number}: not a row of an evaluation; gistchat evaluate {path.parent} makes it again"
            )
    return rows


def read_metrics(folder: Path) -> dict[str, Any]:
    """metrics.json of a run. Raises UserError where it is missing, or not as the evaluation left it."""
    path = folder / "metrics.json"
    metrics = read_json(path)
    require_unchanged(folder / MARKER, path)
    if not isinstance(metrics, dict) or not isinstance(metrics.get("resamples"), int):
        raise UserError(f"{path}: not the metrics of an evaluation; gistchat evaluate {folder} makes them again")
    return metrics
