"""What an answer costs besides its prompt: the memory of a model's cache, the time of a summary."""

import statistics
import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from gistchat.dialogue.turns import is_group
from gistchat.examples.targets import Target
from gistchat.memory.factory import MemoryFactory
from gistchat.models.architecture import cache_argument
from gistchat.models.key_values import empty_cache
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import Recipe

TIMED = 8  # summaries; one that a model writes takes seconds
LENGTHS = (4, 8)  # tokens, whose caches are compared


@torch.inference_mode()
def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """Bytes of keys and values that a model keeps for each token it has read, in 32-bit floats; no state of fixed size.

    Measured, as models share them among heads or layers in many ways.
    """
    kept = []
    for length in LENGTHS:
        cache = empty_cache(model)
        ids = torch.zeros((1, length), dtype=torch.long, device=model.device)
        model(input_ids=ids, **{cache_argument(model.config): cache}, use_cache=True, logits_to_keep=1)
        tensors = (getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
        kept.append(sum(tensor.numel() for tensor in tensors if tensor is not None))
    return 4 * (kept[1] - kept[0]) // (LENGTHS[1] - LENGTHS[0])


def seconds_per_summary(items: Sequence[Target], recipe: Recipe, prompt_format: PromptFormat) -> float:
    """Median time to summarise all that was said before the answered turn, of some items; nothing is reused."""
    factory = MemoryFactory.of(recipe.summary, recipe.context, prompt_format)
    seconds = []
    for item in items[:TIMED]:
        job = factory.job(item.dialogue.turns[: item.turn - 1], group=is_group(item.dialogue.turns))
        start = time.perf_counter()
        factory.summarizer.update([job])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
