"""What an answer costs besides its prompt: the memory of a model's cache, the time of a summary."""

import statistics
import time
from collections.abc import Sequence

from transformers import PretrainedConfig

from gistchat.dialogue.turns import is_group
from gistchat.examples.targets import Target
from gistchat.memory.factory import MemoryFactory
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import Recipe

TIMED = 8  # summaries; one that a model writes takes seconds


def cache_bytes_per_token(config: PretrainedConfig) -> int:
    """Bytes of keys and values that a model keeps for each token it has read, in 32-bit floats."""
    heads = config.num_attention_heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * kept * width * 4


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
