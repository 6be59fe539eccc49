"""What a recipe may say: a dataclass for each section, with default, bounds, choices and help beside each field.

`gistchat fields` prints it. pydantic checks a section whenever one is made, so `dataclasses.replace` checks, too.
"""

import dataclasses
from collections.abc import Callable, Iterable
from datetime import date
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from gistchat.context.strategies import STRATEGIES
from gistchat.corpora.readers import CORPORA
from gistchat.errors import UserError, shown
from gistchat.limits import (
    LONGEST_LINE,
    MOST_GENERATED,
    MOST_ITEMS,
    MOST_REPLY_TOKENS,
    MOST_RESAMPLES,
    MOST_ROWS,
    MOST_RUNS,
    MOST_SEED,
    MOST_STEPS,
    MOST_TOKENS,
)
from gistchat.names import MOST_BYTES, fault_of_name, repeated

NO_OTHERS = ConfigDict(extra="forbid")
# The keys of METHODS in memory/summarizers/extractive.py, which is built on recipes and so cannot be imported here.
EXTRACTIVE = ("textrank", "lexrank", "lsa", "mmr", "lead", "recent")
ABSTRACTIVE = ("seq2seq", "llm", "endpoint")
DEFAULT_CORPUS = "chitchat"
DEFAULT_SIZE = "small"
NO_NUL = r"\A[^\x00]*\z"  # no path may hold this character, nor may any other text


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A field that takes no other type than its own, and no float that is infinite or not a number.

    Args:
        default: a list is copied for each section that is made; a function is called.
        bounds: as `pydantic.Field` takes them.
    """
    if isinstance(default, float):
        bounds["allow_inf_nan"] = False
    if isinstance(default, str):
        bounds["pattern"] = NO_NUL
    if isinstance(default, list):
        default = default.copy
    kind = "default_factory" if callable(default) else "default"
    return Field(**{kind: default}, description=description, strict=True, **bounds)


class OneOf(NamedTuple):
    """The check that a text is one of some values; a function gives them, as strategies may be added later."""

    allowed: Callable[[], Iterable[str]]

    def __call__(self, value: str) -> str:
        allowed = list(self.allowed())
        if value not in allowed:
            raise PydanticCustomError("one_of", "not one of them", {"allowed": allowed})
        return value


def _choice(*values: str) -> Any:
    return Annotated[StrictStr, AfterValidator(OneOf(lambda: values))]


def _problem(text: str) -> PydanticCustomError:
    """A value that does not go with others. The text begins with the field's name."""
    return PydanticCustomError("mismatch", "{text}", {"text": text})


AnyStrategy = Annotated[StrictStr, AfterValidator(OneOf(lambda: STRATEGIES))]
ChatStrategy = Annotated[
    StrictStr, AfterValidator(OneOf(lambda: (name for name, strategy in STRATEGIES.items() if strategy.in_chat)))
]


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def default_strategies() -> list[str]:
    """What an evaluation scores unless the recipe says otherwise."""
    return [name for name, strategy in STRATEGIES.items() if strategy.evaluated_by_default]


def _check_plain_name(field: str, name: str, hint: str = "", most_bytes: int = MOST_BYTES) -> None:
    if fault := fault_of_name(name, most_bytes):
        raise _problem(f"{field}: {shown(name)} must be a plain name{hint} (it {fault})")


@dataclass(frozen=True, config=NO_OTHERS)
class MixConfig:
    """One corpus of a mix."""

    corpus: str = setting("", "one that gistchat corpora lists")
    source: str = setting("", "file, folder or hub, as data.source")
    name: str = setting("", "what its dialogues are marked with; default: the corpus")
    weight: float = setting(1.0, "2: its replies are drawn twice as often, 0.5: half as often", gt=0, le=1000)

    def __post_init__(self) -> None:
        if self.name:
            _check_plain_name("data.mix[].name", self.name, most_bytes=MOST_BYTES // 2)


@dataclass(frozen=True, config=NO_OTHERS)
class DataConfig:
    """Which dialogues, and how they are cleaned and split."""

    corpus: str = setting(DEFAULT_CORPUS, f"one of: {', '.join(CORPORA)}")
    source: str = setting("", "file or folder to read, hub, or hub:ID@REVISION; empty: the installed package")
    mix: list[MixConfig] = setting([], "several corpora instead of one, each a table [[data.mix]]")
    folder: str = setting("", "where prepared data goes; empty: data/CORPUS-KEY")
    seed: int = setting(0, "seed of the split: who is held out", ge=0, le=MOST_SEED)
    min_turns: int = setting(0, "drop shorter dialogues; 0: the corpus's default", ge=0, le=MOST_ITEMS)
    max_turn_chars: int = setting(
        0, "drop dialogues with a longer turn, in characters; 0: the corpus's default", ge=0, le=LONGEST_LINE
    )
    scrub: _choice("auto", "yes", "no") = setting(
        "auto", "replace phone numbers, e-mail and web addresses: auto | yes | no"
    )
    split_by: _choice("auto", "speaker", "dialogue", "time") = setting(
        "auto", "what may not straddle splits: auto | speaker | dialogue | time (the latest dialogues are held out)"
    )
    gap: float = setting(
        4, "hours without a message after which a messenger's chat is another dialogue; 0: never", ge=0, le=1e6
    )
    answer_as: list[StrictStr] = setting(
        [], "speakers whose replies are learned and tested (--as); []: all, of an assistant's chats the assistant's"
    )
    rename: list[StrictStr] = setting([], "names to change, each OLD=NEW; two with one new name become one person")
    anonymise: bool = setting(False, "names become Person 1, Person 2 ..., in texts, too")
    speakers: list[StrictStr] = setting([], "speakers whose turns are kept; []: all")
    from_date: str = setting("", "leave out what was said before this day, as 2024-03-05, where turns have dates")
    stamp: str = setting(
        "", "what stands before a name in an export whose stamps are of no known kind, as %d.%m.%Y %H:%M - (whatsapp)"
    )
    columns: list[StrictStr] = setting([], "columns of a table, each PART=NAME: speaker, text, dialogue, order")
    keep_lines: bool = setting(False, "messages that a speaker sends in a row stay lines of one turn")
    test_share: float = setting(0.10, "share of speakers or dialogues held out for test", ge=0, le=0.9)
    validation_share: float = setting(0.05, "the same, for validation", ge=0, le=0.9)
    audit: _choice("no", "report", "drop") = setting(
        "no", "near duplicates across splits: no | report | drop (from train)"
    )
    on_error: _choice("stop", "skip") = setting("stop", "at malformed input: stop | skip (skipped ones are listed)")

    def __post_init__(self) -> None:
        if self.test_share + self.validation_share >= 1:
            raise _problem("data.test_share + data.validation_share must be below 1")
        if wrong := [pair for pair in self.rename if not all(map(str.strip, pair.partition("=")))]:
            raise _problem(f"data.rename: {shown(wrong[0])} is not OLD=NEW")
        if wrong := [pair for pair in self.columns if not all(map(str.strip, pair.partition("=")))]:
            raise _problem(f"data.columns: {shown(wrong[0])} is not PART=NAME")
        if self.from_date and not _is_day(self.from_date):
            raise _problem(f"data.from_date: {shown(self.from_date)} is not a day, as 2024-03-05")


@dataclass(frozen=True, config=NO_OTHERS)
class ModelConfig:
    """The base model."""

    name: str = setting(
        "smollm2",
        "smollm2 (packaged, needs no network), gpt2, gpt2-medium|-large|-xl, DialoGPT-small|-medium|-large "
        "(from the hub), any other causal model by hub id or folder",
    )
    init: _choice("pretrained", "scratch") = setting("pretrained", "pretrained | scratch (random weights, GPT-2 only)")
    size: str = setting(
        DEFAULT_SIZE,
        "of a scratch gpt2: tiny | mini | small (124 M parameters) | medium | large | xl; gpt2-medium, "
        "-large and -xl imply theirs",
    )
    format: _choice("auto", "speaker-tokens", "chat-template", "paper", "paper-turns") = setting(
        "auto",
        "prompt format: auto | speaker-tokens | chat-template | paper | paper-turns (GPT-2 only); auto: "
        "the model's template where it shows all turns and who speaks, else speaker-tokens",
    )

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise _problem("model.name is empty")


@dataclass(frozen=True, config=NO_OTHERS)
class ContextConfig:
    """What the model sees before the last turn."""

    budget: int = setting(96, "tokens for everything before the last turn", ge=0, le=MOST_TOKENS)
    summary_share: float = setting(
        0.34, "share of the budget that the summary gets beside verbatim turns (hybrid, rolling)", ge=0, le=1
    )
    found_share: float = setting(
        0.4, "share of the budget that turns which are found get beside gist and latest turns (memory)", ge=0, le=1
    )
    full_limit: int = setting(0, "tokens at which `full` is cut; 0: the model's limit", ge=0, le=MOST_TOKENS)
    max_turns: int = setting(
        0, "turns that `recent` and `full` show, the last included; 0: as many as fit", ge=0, le=MOST_ITEMS
    )


@dataclass(frozen=True, config=NO_OTHERS)
class SummaryConfig:
    """How older turns are summarised."""

    method: _choice(*EXTRACTIVE, *ABSTRACTIVE) = setting(
        "textrank", f"picks sentences: {' | '.join(EXTRACTIVE)}; a model writes: {' | '.join(ABSTRACTIVE)}"
    )
    recency: float = setting(1.0, "decay of a sentence's score for each turn that it lies back; 1: none", ge=0.5, le=1)
    model: str = setting(
        "",
        "the model that writes: hub id or folder (seq2seq: philschmid/bart-large-cnn-samsum, llm: "
        "smollm2), or its name at the endpoint",
    )
    refresh: _choice("overflow", "reply") = setting(
        "overflow",
        "when a model writes: overflow (as turns no longer fit word for word, from the summary before) | reply (before "
        "each reply, from all turns before the last, as the paper; not for strategies that roll)",
    )
    url: str = setting("", "address of an OpenAI-compatible endpoint, such as http://localhost:8000/v1")
    prompt: str = setting("", "a file with your own prompt, for llm and endpoint")

    def __post_init__(self) -> None:
        if self.method == "endpoint" and not (self.url and self.model):
            raise _problem("summary.method 'endpoint' needs summary.url and summary.model (--url and --with)")

    @property
    def before_each_reply(self) -> bool:
        """Whether a model writes each summary from the turns alone. Picked ones are picked anew in any case."""
        return self.refresh == "reply" and self.method in ABSTRACTIVE


@dataclass(frozen=True, config=NO_OTHERS)
class MemoryConfig:
    """How turns are searched for what the last one asks for."""

    encoder: str = setting(
        "",
        "model by which turns are found that mean something alike: minilm (comes with the extra dense), any sentence "
        "encoder by hub id or folder; empty: only those that share words",
    )
    encoder_weight: float = setting(1.0, "weight of meaning beside shared words", ge=0, le=1000)
    reranker: str = setting(
        "", "cross-encoder that orders the 50 best turns anew, by hub id or folder (extra dense); empty: none"
    )
    keep_vectors: bool = setting(
        True, "keep vectors of turns in the cache folder, so that a long conversation is searched at once when reopened"
    )


@dataclass(frozen=True, config=NO_OTHERS)
class TrainConfig:
    """Fine-tuning; the loss is on the reply only."""

    method: _choice("auto", "lora", "full") = setting("auto", "lora | full | auto: full for scratch models, else lora")
    strategies: list[AnyStrategy] = setting(
        ["summary", "hybrid", "recent", "last"], "context strategies of the training rows, in equal parts", min_length=1
    )
    budgets: list[StrictInt] = setting([], "token budgets of the training rows, in turn; []: context.budget")
    targets: _choice("one", "all") = setting(
        "one", "one: a reply per row | all: every reply of a dialogue in one pass (strategy full only)"
    )
    fact_items: int = setting(
        0,
        "generated dialogues among the training rows whose reply answers a question for a fact told earlier",
        ge=0,
        le=MOST_GENERATED,
    )
    steps: int = setting(0, "optimizer steps; 0: as many as `epochs` need", ge=0, le=MOST_STEPS)
    epochs: int = setting(1, "passes over all replies, where steps is 0", ge=1, le=MOST_STEPS)
    batch_size: int = setting(8, "rows per optimizer step, over all processes together", ge=1, le=MOST_ROWS)
    micro_batch: int = setting(
        0, "rows per forward pass of a process, at most; 0: all of its share of batch_size", ge=0, le=MOST_ROWS
    )
    learning_rate: float = setting(
        0.0, "peak learning rate; 0: 1e-3 for lora, 5e-5 for full, 5e-4 from scratch", ge=0, le=1e30
    )
    schedule: _choice("linear", "cosine", "constant", "constant_with_warmup", "polynomial") = setting(
        "linear", "learning-rate schedule: linear | cosine | constant | constant_with_warmup | polynomial"
    )
    schedule_power: float = setting(2.0, "exponent of the polynomial schedule", ge=0.1, le=100)
    warmup_steps: int = setting(2, "steps in which the learning rate rises to its peak", ge=0, le=MOST_STEPS)
    weight_decay: float = setting(0.01, "weight decay of AdamW", ge=0, le=1000)
    max_grad_norm: float = setting(1.0, "clip gradients to this norm; 0 disables", ge=0, le=1e6)
    max_tokens: int = setting(512, "longest row in tokens; context is trimmed to fit", ge=1, le=MOST_TOKENS)
    precision: _choice("auto", "float32", "bfloat16") = setting(
        "auto", "float32 | bfloat16 (mixed) | auto: bfloat16 on GPUs that compute in it, else float32"
    )
    gradient_checkpointing: bool = setting(False, "recompute activations in the backward pass: less memory, slower")
    lora_rank: int = setting(16, "rank of the LoRA matrices", ge=1, le=MOST_ROWS)
    lora_alpha: int = setting(32, "scale of the LoRA matrices", ge=1, le=MOST_ROWS)
    lora_dropout: float = setting(0.0, "dropout before the LoRA matrices", ge=0, le=0.99)
    validation_items: int = setting(
        24, "validation replies whose loss chooses the best checkpoint", ge=1, le=MOST_ITEMS
    )
    evaluate_every: int = setting(10, "steps between validations", ge=1, le=MOST_STEPS)
    patience: int = setting(0, "early-stopping patience, in validations; 0 disables", ge=0, le=MOST_STEPS)
    samples: int = setting(1, "validation replies that are generated and shown at each validation", ge=0, le=MOST_ITEMS)
    save_every: int = setting(5, "steps between saved states, from which a stopped run resumes", ge=1, le=MOST_STEPS)
    keep_states: int = setting(2, "latest states kept, besides the best checkpoint", ge=1, le=MOST_STEPS)
    report_to: list[_choice("tensorboard", "trackio", "wandb", "mlflow", "none")] = setting(
        ["tensorboard"],
        "experiment trackers, each if it is installed: tensorboard | trackio | wandb | mlflow | none",
        min_length=1,
    )
    fsdp: str = setting("", 'shard over GPUs, as in transformers: "full_shard auto_wrap" (see docs/training.md)')
    deepspeed: str = setting("", "a DeepSpeed configuration file (docs/training.md)")

    def __post_init__(self) -> None:
        if self.targets == "all" and self.strategies != ["full"]:
            raise _problem(
                "train.targets 'all' learns every reply with its full history; set train.strategies = [\"full\"]"
            )
        if self.targets == "all" and self.fact_items:
            raise _problem('train.fact_items: one reply of each is learned, so it needs train.targets = "one"')


@dataclass(frozen=True, config=NO_OTHERS)
class EvaluateConfig:
    """What is measured, on how many replies."""

    strategies: list[AnyStrategy] = setting(
        default_strategies, "context strategies that are scored: {strategies}", min_length=1
    )
    budgets: list[StrictInt] = setting(
        [], "token budgets that each strategy is scored at; []: context.budget, the most there can be"
    )
    baseline: AnyStrategy = setting("recent", "strategy that the others are compared with")
    items: int = setting(200, "test replies whose likelihood is scored, at most", ge=1, le=MOST_ITEMS)
    turns: _choice("one", "last", "openings", "all") = setting(
        "one",
        "which replies: one of each dialogue, drawn | last: of each dialogue, the last | openings: the first of each "
        "session but the first (msc) | all: any",
    )
    reply_items: int = setting(100, "for how many of these a reply is generated", ge=0, le=MOST_ITEMS)
    rank_items: int = setting(
        0, "for how many of these the gold reply is ranked among 20 candidates by likelihood", ge=0, le=MOST_ITEMS
    )
    probe_items: int = setting(
        0, "dialogues in which a fact is told, real small talk is made, and it is asked for", ge=0, le=MOST_GENERATED
    )
    min_history: int = setting(6, "turns before the reply, at least", ge=1, le=MOST_ITEMS)
    max_reply_tokens: int = setting(40, "tokens per generated reply, at most", ge=1, le=MOST_REPLY_TOKENS)
    base: bool = setting(True, "also score the base model without fine-tuning")
    base_items: int = setting(0, "on how many of the items the base model is scored; 0: on all", ge=0, le=MOST_ITEMS)
    bertscore_model: str = setting(
        "", "encoder for BERTScore, by hub id or folder, such as roberta-large (extra judges)"
    )
    mauve_model: str = setting(
        "", "language model for MAUVE, by hub id or folder, such as gpt2-large; 100 replies or more (extra judges)"
    )
    batch_tokens: int = setting(4096, "tokens per forward pass", ge=1, le=MOST_TOKENS)
    resamples: int = setting(10_000, "bootstrap resamples, by dialogue", ge=1, le=MOST_RESAMPLES)

    def __post_init__(self) -> None:
        if self.baseline not in self.strategies:
            raise _problem(f"evaluate.baseline: {self.baseline!r} is not among evaluate.strategies")


@dataclass(frozen=True, config=NO_OTHERS)
class ChatConfig:
    """How the finished model talks."""

    strategy: ChatStrategy = setting("rolling", "context strategy: {chat_strategies}")
    max_reply_tokens: int = setting(60, "tokens per reply, at most", ge=1, le=MOST_REPLY_TOKENS)
    temperature: float = setting(0.8, "sampling temperature; 0: greedy", ge=0, le=1000)
    top_p: float = setting(0.9, "nucleus sampling: probability mass kept", ge=0.01, le=1)
    top_k: int = setting(0, "sample from the k most likely tokens; 0 disables", ge=0, le=MOST_TOKENS)
    repetition_penalty: float = setting(
        1.0, "penalty for tokens that the reply already holds; 1 disables, 1.2 is strong", ge=0.1, le=10
    )
    no_repeat_ngram: int = setting(
        0, "n-grams of this many tokens never come twice in a reply; 0 disables", ge=0, le=MOST_TOKENS
    )
    stop: list[StrictStr] = setting(["\nUser:", "\nYou:"], "texts that end a reply; [] for none")
    n_best: int = setting(1, "draw this many replies and take the one that is most likely per token", ge=1, le=64)
    engine: _choice("auto", "llamacpp", "torch") = setting(
        "auto",
        'what computes replies: "auto" is llama.cpp for chats and `reply` wherever the model can be had as GGUF, else '
        "torch; evaluation takes torch",
    )
    url: str = setting("", "OpenAI-compatible server that answers instead, such as http://localhost:11434/v1")
    model: str = setting("", "the server's model that answers; empty for its only one")
    system: str = setting("", "what a chat model is told first, in place of gistchat's own words; the gist follows")
    end_command: str = setting("Abort!", "what ends the conversation, besides /quit")


@dataclass(frozen=True, config=NO_OTHERS)
class VariantConfig:
    """One of the models that an experiment compares."""

    name: str = setting("", "as tables show it")
    set: list[StrictStr] = setting([], "its own settings, each section.field=value")
    specialists: bool = setting(False, "a model for each of train.strategies, tested with that strategy only")
    needs_hub: bool = setting(False, "left out with --offline")

    def __post_init__(self) -> None:
        if self.name:  # its runs are called NAME-seed0, or NAME-seed0-STRATEGY
            _check_plain_name("experiment.variants[].name", self.name, most_bytes=MOST_BYTES // 2)


@dataclass(frozen=True, config=NO_OTHERS)
class ExperimentConfig:
    """Several runs and their comparison, in one recipe."""

    seeds: list[StrictInt] = setting([], "each variant is run with each; []: the recipe's")
    offline: list[StrictStr] = setting([], "settings that --offline makes, each section.field=value")
    variants: list[VariantConfig] = setting([], "the models that are compared; none: the recipe is a single run")

    def __post_init__(self) -> None:
        if wrong := [seed for seed in self.seeds if not 0 <= seed <= MOST_SEED]:
            raise _problem(f"experiment.seeds: {shown(wrong[0])} is not between 0 and {MOST_SEED:,}")
        if len(set(self.seeds)) < len(self.seeds):
            twice = next(seed for seed in self.seeds if self.seeds.count(seed) > 1)
            raise _problem(f"experiment.seeds: {twice} is there twice")
        if (runs := max(1, len(self.seeds)) * max(1, len(self.variants))) > MOST_RUNS:
            raise _problem(f"experiment.variants and seeds make {runs:,} runs; at most {MOST_RUNS:,}")


@dataclass(frozen=True, config=NO_OTHERS)
class Recipe:
    """The whole way, from corpus to report."""

    name: str = setting("run", "the run's folder is runs/NAME")
    seed: int = setting(0, "seed of sampling examples, initial weights and data order", ge=0, le=MOST_SEED)
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    context: ContextConfig = Field(default_factory=ContextConfig)
    summary: SummaryConfig = Field(default_factory=SummaryConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    chat: ChatConfig = Field(default_factory=ChatConfig)
    experiment: ExperimentConfig = Field(default_factory=ExperimentConfig)

    def __post_init__(self) -> None:
        _check_plain_name("name", self.name, "; --out takes a folder")
        for section in ("train", "evaluate"):
            config = getattr(self, section)
            for budget in config.budgets:
                if not 0 <= budget <= self.context.budget:
                    raise _problem(
                        f"{section}.budgets: {shown(budget)} is not between 0 and context.budget "
                        f"({self.context.budget}), which summaries are made for"
                    )
            if len(set(config.budgets)) < len(config.budgets):
                raise _problem(f"{section}.budgets: a budget is there twice")
            rolling = [name for name in config.strategies if STRATEGIES[name].rolls]
            if self.summary.before_each_reply and rolling:
                raise _problem(
                    f"summary.refresh: 'reply' keeps no summary that {rolling[0]!r} of {section}.strategies could go "
                    "on from"
                )
            # The layout of the paper's parent has no place for a summary; better said before training than after.
            more = [name for name in config.strategies if STRATEGIES[name].reads]
            if self.model.format == "paper-turns" and more:
                raise _problem(
                    f"{section}.strategies: model.format 'paper-turns' has no place for what {min(more)!r} shows "
                    "besides turns"
                )

    def change(self, **changes: Any) -> "Recipe":
        """A recipe with other values: `recipe.change(seed=1, train={"steps": 6})`; those of a section are merged.

        Raises:
            pydantic.ValidationError: values that a recipe cannot have. For a person's values use `load.override`.
        """
        for name, value in changes.items():
            if isinstance(value, dict):
                changes[name] = dataclasses.replace(getattr(self, name), **value)
        return dataclasses.replace(self, **changes)


def mix_of(config: DataConfig) -> list[MixConfig]:
    """The corpora of a recipe: its mix, or the one that it names.

    Raises:
        UserError: both are given, one is not known, or two corpora of the mix have the same name.
    """
    for corpus in (config.corpus, *(part.corpus for part in config.mix)):
        if corpus not in CORPORA:
            raise UserError(f"unknown corpus {corpus!r}; there are: {', '.join(CORPORA)}")
    if not config.mix:
        return [MixConfig(config.corpus, config.source, config.corpus)]
    if config.source or config.corpus != DEFAULT_CORPUS:
        raise UserError("give the corpora in data.mix or one in data.corpus and data.source, not both")
    mix = [dataclasses.replace(part, name=part.name or part.corpus) for part in config.mix]
    if name := repeated([part.name for part in mix]):
        raise UserError(f"data.mix: {name} is there twice; give each a name of its own")
    return mix


def names_of(config: DataConfig) -> str:
    """What to call the data of a recipe: the name of its corpus, or those of its mix."""
    return "+".join(part.name for part in mix_of(config))
