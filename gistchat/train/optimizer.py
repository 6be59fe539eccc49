"""A recipe's settings -> AdamW and the learning rate of every step."""

from collections.abc import Callable

import torch
from transformers import get_scheduler

from gistchat.recipe.schema import TrainConfig


def make_optimizer(model: torch.nn.Module, config: TrainConfig, learning_rate: float) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained.

    Weights of matrices and embeddings decay; biases and the gains of norm layers, which are vectors, do not.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> Callable[[int], float]:
    """The learning rate as a function of the steps taken so far.

    A function of the step alone has no state: a resumed run, also one with other settings, needs nothing but its step.
    """
    schedule = get_scheduler(
        config.schedule,
        optimizer,
        num_warmup_steps=min(config.warmup_steps, steps // 2),
        num_training_steps=steps,
        scheduler_specific_kwargs={"power": config.schedule_power} if config.schedule == "polynomial" else {},
    )
    [peak, *_], [factor, *_] = schedule.base_lrs, schedule.lr_lambdas
    return lambda step: peak * factor(step)
