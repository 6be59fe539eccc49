"""From settings to a summarizer, and to memories with it: the one place where they are put together."""

from collections.abc import Callable, Sequence

from gistchat.dialogue.turns import Turn
from gistchat.memory.rolling import GistHistory, RollingMemory, Window, roll_dialogues, turn_cost
from gistchat.memory.summarizer import Summarizer
from gistchat.memory.summarizers.extractive import METHODS, Extractor
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.token_count import Count, token_counter
from gistchat.recipe.schema import ContextConfig, SummaryConfig

PAPERS_MODEL = "philschmid/bart-large-cnn-samsum"
PACKAGED_MODEL = "smollm2"


class MemoryFactory:
    """Makes rolling memories that share a summarizer: a model that writes is loaded once."""

    def __init__(
        self, summary: SummaryConfig, context: ContextConfig, count: Count, cost: Callable[[Turn], int]
    ) -> None:
        """`cost`: tokens of a turn in the prompt. Raises UserError as `make_summarizer` does."""
        self.summarizer = make_summarizer(summary, gist_budget(context), count)
        self.window = Window.of_budget(context.budget, context.summary_share)
        self.cost, self.method = cost, summary.method

    @classmethod
    def of(cls, summary: SummaryConfig, context: ContextConfig, prompt_format: PromptFormat) -> "MemoryFactory":
        """Of a recipe's sections; the format's tokenizer counts, and it says what a turn costs."""
        return cls(summary, context, token_counter(prompt_format.tokenizer), turn_cost(prompt_format))

    def new_memory(self) -> RollingMemory:
        """A memory in which nothing was said."""
        return RollingMemory(self.window, self.cost, self.method)

    def roll(self, dialogues: Sequence[Sequence[Turn]]) -> tuple[list[GistHistory], list[str]]:
        """The gists that each dialogue's memory goes through; see `roll_dialogues`."""
        return roll_dialogues(dialogues, self.new_memory, self.summarizer)


def gist_budget(context: ContextConfig) -> int:
    """Tokens of a gist that stands beside verbatim turns."""
    return int(context.budget * context.summary_share)


def make_summarizer(config: SummaryConfig, budget: int, count: Count) -> Summarizer:
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
