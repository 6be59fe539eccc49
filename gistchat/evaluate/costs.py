"""What an answer costs besides its prompt: the memory of a model's cache, the time of a summary."""

import statistics
import time
from collections.abc import Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from gistchat.examples.targets import Target
from gistchat.memory.factory import gist_budget, make_summarizer
from gistchat.memory.summarizer import Job
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import Recipe

TIMED = 8  # summaries; one that a model writes takes seconds


def cache_bytes_per_token(config: PretrainedConfig) -> int:
    """Bytes of keys and values that a model keeps for each token it has read, in 32-bit floats."""
    heads = config.num_attention_heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 2 * config.num_hidden_layers * kept * width * 4


def seconds_per_summary(items: Sequence[Target], recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> float:
    """Median time to summarise all that was said before the answered turn, of some items; nothing is reused."""
    summarizer = make_summarizer(recipe.summary, gist_budget(recipe.context), token_counter(tokenizer))
    seconds = []
    for item in items[:TIMED]:
        start = time.perf_counter()
        summarizer.update([Job((), item.dialogue.turns[: item.turn - 1], 0)])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
