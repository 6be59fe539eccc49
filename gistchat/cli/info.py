"""Commands that describe this installation: recipes, fields, env."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option


def recipes(
    show: Annotated[str, Option(metavar="NAME", help="Print this one instead, to copy into a file.")] = "",
) -> None:
    """List the recipes that ship with gistchat; gistchat run NAME runs one."""
    from gistchat.recipe.load import find_recipe, shipped_recipes

    if show:
        print(find_recipe(show).read_text(encoding="utf-8"), end="")
        return
    for name, purpose in shipped_recipes().items():
        print(f"{name:10} {purpose}")


def fields() -> None:
    """List every recipe field with its type, default and meaning."""
    from gistchat.recipe.load import fields as recipe_fields

    for name, kind, default, text in recipe_fields():
        print(f"{name} ({kind}, default {default!r})\n    {text}")


def env() -> None:
    """Print versions, threads, devices and cache folders."""
    import platform

    import torch

    from gistchat.models.base import cache_dir
    from gistchat.models.checkpoint import versions

    for name, value in versions().items():
        print(f"{name:14} {value}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"{'platform':14} {platform.platform()}, {os.cpu_count()} cores")
    print(f"{'threads':14} {torch.get_num_threads()} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')})")
    print(f"{'cpu features':14} {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'devices':14} {', '.join(devices) or 'cpu'}")
    print(f"{'model cache':14} {cache_dir() / 'models'}")
    print(f"{'hub cache':14} {os.environ.get('HF_HOME', Path.home() / '.cache' / 'huggingface')}")
