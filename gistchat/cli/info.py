"""Commands that describe this installation: recipes, fields, env."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from gistchat.progress import show


def recipes(
    name: Annotated[str, Option("--show", metavar="NAME", help="Print this one instead, to copy into a file.")] = "",
) -> None:
    """List the recipes that ship with gistchat; gistchat run NAME runs one."""
    from gistchat.recipe.load import find_recipe, shipped_recipes

    if name:
        show(*find_recipe(name).read_text(encoding="utf-8").splitlines())
        return
    for shipped, purpose in shipped_recipes().items():
        show(f"{shipped:10} {purpose}")


def fields() -> None:
    """List every recipe field with its type, default and meaning."""
    from gistchat.recipe.load import fields as recipe_fields

    for name, kind, default, text in recipe_fields():
        show(f"{name} ({kind}, default {default!r})", f"    {text}")


def env() -> None:
    """Print versions, threads, devices and cache folders."""
    import platform

    from gistchat.engines.llama_server import threads
    from gistchat.models.cache import cache_dir
    from gistchat.models.checkpoint_folder import versions

    for name, value in versions().items():
        show(f"{name:14} {value}")
    show(f"{'platform':14} {platform.platform()}, {os.cpu_count()} cores")
    show(f"{'threads':14} {threads()} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')})")
    _show_torch()
    show(f"{'model cache':14} {cache_dir() / 'models'}")
    show(f"{'hub cache':14} {os.environ.get('HF_HOME', Path.home() / '.cache' / 'huggingface')}")


def _show_torch() -> None:
    """What torch says of this machine, where it is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        show(f"{'training':14} not installed: pip install 'gistchat[train]'")
        return
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    show(f"{'cpu features':14} {torch.backends.cpu.get_cpu_capability()}")
    show(f"{'devices':14} {', '.join(devices) or 'cpu'}")
