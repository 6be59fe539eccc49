"""A recipe's settings -> an Accelerator: processes, precision, sharding and trackers."""

import importlib.util
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DeepSpeedPlugin,
    DistributedDataParallelKwargs,
    DistributedType,
    FullyShardedDataParallelPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)

from gistchat.errors import UserError
from gistchat.models.base import device
from gistchat.recipe.schema import TrainConfig

FSDP_WORDS = {"full_shard", "shard_grad_op", "offload", "auto_wrap"}


def make_accelerator(config: TrainConfig, folder: Path) -> Accelerator:
    """The processes that torchrun started, or one; their precision, sharding and trackers.

    Args:
        folder: TensorBoard files go to `folder/runs`.
    Raises:
        UserError: a batch that the processes cannot share, or a precision, sharding or tracker that is not available.
    """
    try:
        accelerator = Accelerator(
            cpu=device() == "cpu",
            mixed_precision="bf16" if uses_bfloat16(config.precision) else "no",
            log_with=installed_trackers(config.report_to) or None,
            project_config=ProjectConfiguration(str(folder), logging_dir=str(folder / "runs")),
            kwargs_handlers=[
                # The others wait while the first process shows samples and writes files, however long that takes.
                InitProcessGroupKwargs(timeout=timedelta(days=1)),
                DistributedDataParallelKwargs(find_unused_parameters=False),
            ],
            **_sharding(config),
        )
    except ValueError as error:
        if "already been initialized" not in str(error):
            raise
        raise UserError("train.precision: an earlier run of this process had another; train in a new process") from None
    micro_rows, micro_batches = split_batch(config, accelerator.num_processes)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed clips and counts micro-batches itself.
        accelerator.gradient_accumulation_steps = micro_batches
        accelerator.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro_rows
        accelerator.deepspeed_plugin.deepspeed_config["gradient_clipping"] = config.max_grad_norm
    return accelerator


def split_batch(config: TrainConfig, processes: int) -> tuple[int, int]:
    """Rows per forward pass, and forward passes of each process per optimizer step.

    Raises:
        UserError: the batch size is no multiple of the number of processes.
    """
    share, remainder = divmod(config.batch_size, processes)
    if remainder or not share:
        raise UserError(
            f"train.batch_size ({config.batch_size}) cannot be shared by {processes} processes; the recipe states the "
            "batch of all processes together"
        )
    rows = max(rows for rows in range(1, min(share, config.micro_batch or share) + 1) if share % rows == 0)
    return rows, share // rows


def uses_bfloat16(precision: str) -> bool:
    """Mixed precision only where the hardware computes in it: emulated, it is slower than float32."""
    gpu = torch.cuda.is_available()
    if gpu:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Versions of torch before get_capabilities cannot tell.
        supported = getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False)
    if precision == "bfloat16" and not supported:
        raise UserError("train.precision: this hardware has no bfloat16 units; use float32")
    return precision == "bfloat16" or (precision == "auto" and gpu and supported)


def installed_trackers(names: Sequence[str]) -> list[str]:
    """The trackers of a recipe; tensorboard, the default, only where it is installed."""
    missing = [name for name in names if name != "none" and importlib.util.find_spec(name) is None]
    for name in missing:
        if name != "tensorboard":
            raise UserError(f"train.report_to: {name} is not installed: pip install {name}")
    return [name for name in names if name not in (*missing, "none")]


def _sharding(config: TrainConfig) -> dict[str, Any]:
    plugins: dict[str, Any] = {}
    if config.fsdp:
        words = set(config.fsdp.split())
        if unknown := words - FSDP_WORDS:
            raise UserError(f"train.fsdp: {' '.join(sorted(unknown))!r} is not of {', '.join(sorted(FSDP_WORDS))}")
        if device() == "cpu":
            raise UserError("train.fsdp needs GPUs (on a CPU accelerate would silently leave it out)")
        plugins["fsdp_plugin"] = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward="shard_grad_op" not in words,
            cpu_offload="offload" in words,
            auto_wrap_policy="transformer_based_wrap",
            state_dict_type="FULL_STATE_DICT",
        )
    if config.deepspeed:
        if importlib.util.find_spec("deepspeed") is None:
            raise UserError("train.deepspeed: deepspeed is not installed: pip install deepspeed")
        if not Path(config.deepspeed).is_file():
            raise UserError(f"train.deepspeed: {config.deepspeed}: no such file")
        plugins["deepspeed_plugin"] = DeepSpeedPlugin(hf_ds_config=config.deepspeed)
    return plugins
