"""A function over chunks of dialogues with Ray Data, results in order."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from gistchat.errors import UserError


def map_in_order(work: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
    """`work` of each part, in order. A part whose worker dies is given to another.

    Args:
        work: picklable, as are its argument and result.
    Raises:
        UserError: as a worker raised it.
    """
    started = not ray.is_initialized()
    if started:
        # Without an address of a cluster (RAY_ADDRESS), one with the cores of this machine.
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        dataset = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
        for row in dataset.map(_Work(work), max_retries=-1).iter_rows():
            if row["problem"]:
                raise UserError(row["problem"])
            yield row["result"]
    finally:
        if started:
            with contextlib.suppress(Exception):
                ray.shutdown()


class _Work:
    """A row of a dataset to a row of results."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"result": self.work(row["part"]), "problem": ""}
        except UserError as error:
            return {"result": None, "problem": str(error)}
