"""From settings to a summarizer."""

from collections.abc import Callable

from gistchat.memory.rolling import Summarizer
from gistchat.memory.summarizers.extractive import METHODS, Extractor
from gistchat.recipe.schema import ContextConfig, SummaryConfig

PAPERS_MODEL = "philschmid/bart-large-cnn-samsum"
PACKAGED_MODEL = "smollm2"


def gist_budget(context: ContextConfig) -> int:
    """Tokens of a gist that stands beside verbatim turns."""
    return int(context.budget * context.summary_share)


def make_summarizer(config: SummaryConfig, budget: int, count: Callable[[list[str]], list[int]]) -> Summarizer:
    """The summarizer that the settings name.

    Args:
        budget: tokens of a gist, at most; `count` counts them.
    Raises:
        UserError: a model that cannot be had, a missing package, a prompt that cannot be used.
    """
    if config.method in METHODS:
        return Extractor(config.method, budget, count, config.recency)
    # Imported here, as these load what picking sentences does not need.
    from gistchat.memory.summarizers.abstractive import Abstractive
    from gistchat.memory.summarizers.language_model import EndpointWriter, LocalWriter
    from gistchat.memory.summarizers.seq2seq import Seq2SeqWriter

    if config.method == "seq2seq":
        writer = Seq2SeqWriter(config.model or PAPERS_MODEL, budget)
    elif config.method == "llm":
        writer = LocalWriter(config.model or PACKAGED_MODEL, budget, config.prompt)
    else:
        writer = EndpointWriter(config.url, config.model, budget, config.prompt)
    return Abstractive(writer, Extractor("textrank", budget, count), budget, count)
