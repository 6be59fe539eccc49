"""What a model's own files say of where it ends what it writes."""

from collections.abc import Sequence

from transformers import AutoConfig, GenerationConfig

from gistchat.models.base import Base
from gistchat.models.hub import fetched


def end_ids(base: Base) -> list[int]:
    """The end tokens that generation_config.json names, or, as models without that file do, config.json."""
    source = fetched(base.source, base.commit, weights=False)
    for configuration in (GenerationConfig, AutoConfig):
        try:
            ends = configuration.from_pretrained(source, trust_remote_code=False).eos_token_id
        except Exception:  # no such file, or one that is damaged: what is needed of it is asked for elsewhere
            continue
        if ids := as_ids(ends):
            return ids
    return []


def as_ids(ends: int | Sequence[int] | None) -> list[int]:
    """End tokens as configurations have them: none, one or a list."""
    if ends is None:
        return []
    return [ends] if isinstance(ends, int) else list(ends)
