"""What a recipe may say: a dataclass for each section, with default, bounds, choices and help beside each field.

`gistchat fields` prints it. pydantic checks a section whenever one is made, so `dataclasses.replace` checks, too.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from gistchat.context.strategies import STRATEGIES
from gistchat.corpora import CORPORA
from gistchat.errors import UserError

STRICT = ConfigDict(extra="forbid", strict=True)
EXTRACTIVE = ("textrank", "lexrank", "lsa", "mmr", "lead", "recent")
ABSTRACTIVE = ("seq2seq", "llm", "endpoint")
DEFAULT_CORPUS = "chitchat"
DEFAULT_SIZE = "small"


class OneOf:
    """The values that a text may have; a function where they are known only when a recipe is checked."""

    def __init__(self, *values: str, of: Callable[[], Sequence[str]] | None = None) -> None:
        self.allowed: Callable[[], Sequence[str]] = of or (lambda: values)

    def __call__(self, value: str) -> str:
        if value not in self.allowed():
            raise PydanticCustomError("one_of", "not one of them", {"allowed": list(self.allowed())})
        return value


def _choice(*values: str, of: Callable[[], Sequence[str]] | None = None) -> Any:
    return Annotated[str, AfterValidator(OneOf(*values, of=of))]


def _problem(text: str) -> PydanticCustomError:
    """A value that does not go with others. The text begins with the field's name."""
    return PydanticCustomError("mismatch", "{text}", {"text": text})


AnyStrategy = _choice(of=lambda: list(STRATEGIES))
ChatStrategy = _choice(of=lambda: [name for name, strategy in STRATEGIES.items() if strategy.in_chat])


def default_strategies() -> list[str]:
    """What an evaluation scores unless the recipe says otherwise."""
    return [name for name, strategy in STRATEGIES.items() if strategy.evaluated_by_default]


def _check_plain_name(field: str, name: str, hint: str = "") -> None:
    if Path(name).name != name:
        raise _problem(f"{field}: {name!r} must be a plain name{hint}")


@dataclass(frozen=True, config=STRICT)
class MixConfig:
    """One corpus of a mix."""

    corpus: str = Field(default="", description="one that gistchat corpora lists")
    source: str = Field(default="", description="file, folder or hub, as data.source")
    name: str = Field(default="", description="what its dialogues are marked with; default: the corpus")
    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="2: its replies are drawn twice as often, 0.5: half as often",
    )

    @model_validator(mode="after")
    def _check(self) -> "MixConfig":
        _check_plain_name("data.mix[].name", self.name)
        return self


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """Which dialogues, and how they are cleaned and split."""

    corpus: str = Field(default=DEFAULT_CORPUS, description=f"one of: {', '.join(CORPORA)}")
    source: str = Field(
        default="", description="file or folder to read, hub, or hub:ID@REVISION; empty: the installed package"
    )
    mix: list[MixConfig] = Field(
        default_factory=list, description="several corpora instead of one, each a table [[data.mix]]"
    )
    folder: str = Field(default="", description="where prepared data goes; empty: data/CORPUS-KEY")
    seed: int = Field(default=0, ge=0, description="seed of the split: who is held out")
    min_turns: int = Field(default=0, ge=0, description="drop shorter dialogues; 0: the corpus's default")
    max_turn_chars: int = Field(
        default=0, ge=0, description="drop dialogues with a longer turn, in characters; 0: the corpus's default"
    )
    scrub: _choice("auto", "yes", "no") = Field(
        default="auto", description="replace phone numbers, e-mail and web addresses: auto | yes | no"
    )
    split_by: _choice("auto", "speaker", "dialogue") = Field(
        default="auto", description="what may not straddle splits: auto | speaker | dialogue"
    )
    test_share: float = Field(
        default=0.10, ge=0, le=0.9, allow_inf_nan=False, description="share of speakers or dialogues held out for test"
    )
    validation_share: float = Field(
        default=0.05, ge=0, le=0.9, allow_inf_nan=False, description="the same, for validation"
    )
    audit: _choice("no", "report", "drop") = Field(
        default="no", description="near duplicates across splits: no | report | drop (from train)"
    )
    on_error: _choice("stop", "skip") = Field(
        default="stop", description="at malformed input: stop | skip (skipped ones are listed)"
    )

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.test_share + self.validation_share >= 1:
            raise _problem("data.test_share + data.validation_share must be below 1")
        return self


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """The base model."""

    name: str = Field(
        default="smollm2",
        description="smollm2 (packaged, needs no network), gpt2, gpt2-medium|-large|-xl, DialoGPT-small|-medium|-large "
        "(from the hub), any other causal model by hub id or folder",
    )
    init: _choice("pretrained", "scratch") = Field(
        default="pretrained", description="pretrained | scratch (random weights, GPT-2 only)"
    )
    size: str = Field(
        default=DEFAULT_SIZE,
        description="of a scratch gpt2: tiny | mini | small (124 M parameters) | medium | large | xl; gpt2-medium, "
        "-large and -xl imply theirs",
    )
    format: _choice("auto", "speaker-tokens", "chat-template", "paper", "paper-turns") = Field(
        default="auto",
        description="prompt format: auto | speaker-tokens | chat-template | paper | paper-turns (GPT-2 only); auto: "
        "the model's template where it marks roles, else speaker-tokens",
    )


@dataclass(frozen=True, config=STRICT)
class ContextConfig:
    """What the model sees before the last turn."""

    budget: int = Field(default=96, ge=0, description="tokens for everything before the last turn")
    summary_share: float = Field(
        default=0.34,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of the budget that the summary gets beside verbatim turns (hybrid, rolling)",
    )
    full_limit: int = Field(default=0, ge=0, description="tokens at which `full` is cut; 0: the model's limit")
    max_turns: int = Field(
        default=0, ge=0, description="turns that `recent` and `full` show, the last included; 0: as many as fit"
    )


@dataclass(frozen=True, config=STRICT)
class SummaryConfig:
    """How older turns are summarised."""

    method: _choice(*EXTRACTIVE, *ABSTRACTIVE) = Field(
        default="textrank",
        description=f"picks sentences: {' | '.join(EXTRACTIVE)}; a model writes: {' | '.join(ABSTRACTIVE)}",
    )
    recency: float = Field(
        default=1.0,
        ge=0.5,
        le=1,
        allow_inf_nan=False,
        description="decay of a sentence's score for each turn that it lies back; 1: none",
    )
    model: str = Field(
        default="",
        description="the model that writes: hub id or folder (seq2seq: philschmid/bart-large-cnn-samsum, llm: "
        "smollm2), or its name at the endpoint",
    )
    url: str = Field(
        default="", description="address of an OpenAI-compatible endpoint, such as http://localhost:8000/v1"
    )
    prompt: str = Field(default="", description="a file with your own prompt, for llm and endpoint")

    @model_validator(mode="after")
    def _check(self) -> "SummaryConfig":
        if self.method == "endpoint" and not (self.url and self.model):
            raise _problem("summary.method 'endpoint' needs summary.url and summary.model (--url and --with)")
        return self


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """Fine-tuning; the loss is on the reply only."""

    method: _choice("auto", "lora", "full") = Field(
        default="auto", description="lora | full | auto: full for scratch models, else lora"
    )
    strategies: list[AnyStrategy] = Field(
        default_factory=lambda: ["summary", "hybrid", "recent", "last"],
        min_length=1,
        description="context strategies of the training rows, in equal parts",
    )
    budgets: list[int] = Field(
        default_factory=list, description="token budgets of the training rows, in turn; []: context.budget"
    )
    targets: _choice("one", "all") = Field(
        default="one",
        description="one: a reply per row | all: every reply of a dialogue in one pass (strategy full only)",
    )
    steps: int = Field(default=0, ge=0, description="optimizer steps; 0: as many as `epochs` need")
    epochs: int = Field(default=1, ge=1, description="passes over all replies, where steps is 0")
    batch_size: int = Field(default=8, ge=1, description="rows per optimizer step, over all processes together")
    micro_batch: int = Field(
        default=0, ge=0, description="rows per forward pass of a process, at most; 0: all of its share of batch_size"
    )
    learning_rate: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="peak learning rate; 0: 1e-3 for lora, 5e-5 for full, 5e-4 from scratch",
    )
    schedule: _choice("linear", "cosine", "constant", "constant_with_warmup", "polynomial") = Field(
        default="linear",
        description="learning-rate schedule: linear | cosine | constant | constant_with_warmup | polynomial",
    )
    schedule_power: float = Field(
        default=2.0, ge=0.1, allow_inf_nan=False, description="exponent of the polynomial schedule"
    )
    warmup_steps: int = Field(default=2, ge=0, description="steps in which the learning rate rises to its peak")
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False, description="weight decay of AdamW")
    max_grad_norm: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="clip gradients to this norm; 0 disables"
    )
    max_tokens: int = Field(default=512, ge=1, description="longest row in tokens; context is trimmed to fit")
    precision: _choice("auto", "float32", "bfloat16") = Field(
        default="auto",
        description="float32 | bfloat16 (mixed) | auto: bfloat16 on GPUs that compute in it, else float32",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: less memory, slower"
    )
    lora_rank: int = Field(default=16, ge=1, description="rank of the LoRA matrices")
    lora_alpha: int = Field(default=32, ge=1, description="scale of the LoRA matrices")
    lora_dropout: float = Field(
        default=0.0, ge=0, le=0.99, allow_inf_nan=False, description="dropout before the LoRA matrices"
    )
    validation_items: int = Field(
        default=24, ge=1, description="validation replies whose loss chooses the best checkpoint"
    )
    evaluate_every: int = Field(default=10, ge=1, description="steps between validations")
    patience: int = Field(default=0, ge=0, description="early-stopping patience, in validations; 0 disables")
    samples: int = Field(
        default=1, ge=0, description="validation replies that are generated and shown at each validation"
    )
    save_every: int = Field(default=5, ge=1, description="steps between saved states, from which a stopped run resumes")
    keep_states: int = Field(default=2, ge=1, description="latest states kept, besides the best checkpoint")
    report_to: list[_choice("tensorboard", "trackio", "wandb", "mlflow", "none")] = Field(
        default_factory=lambda: ["tensorboard"],
        min_length=1,
        description="experiment trackers, each if it is installed: tensorboard | trackio | wandb | mlflow | none",
    )
    fsdp: str = Field(
        default="", description='shard over GPUs, as in transformers: "full_shard auto_wrap" (see docs/training.md)'
    )
    deepspeed: str = Field(default="", description="a DeepSpeed configuration file (docs/training.md)")

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.targets == "all" and self.strategies != ["full"]:
            raise _problem(
                "train.targets 'all' learns every reply with its full history; set train.strategies = [\"full\"]"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class EvaluateConfig:
    """What is measured, on how many replies."""

    strategies: list[AnyStrategy] = Field(
        default_factory=default_strategies, min_length=1, description="context strategies that are scored: {strategies}"
    )
    budgets: list[int] = Field(
        default_factory=list,
        description="token budgets that each strategy is scored at; []: context.budget, the most there can be",
    )
    baseline: AnyStrategy = Field(default="recent", description="strategy that the others are compared with")
    items: int = Field(default=200, ge=1, description="test replies whose likelihood is scored, at most")
    turns: _choice("one", "last", "all") = Field(
        default="one",
        description="which replies: one of each dialogue, drawn | last: of each dialogue, the last | all: any",
    )
    reply_items: int = Field(default=100, ge=0, description="for how many of these a reply is generated")
    rank_items: int = Field(
        default=0,
        ge=0,
        description="for how many of these the gold reply is ranked among 20 candidates by likelihood",
    )
    probe_items: int = Field(
        default=0, ge=0, description="generated dialogues in which a fact told early is asked for late"
    )
    min_history: int = Field(default=6, ge=1, description="turns before the reply, at least")
    max_reply_tokens: int = Field(default=40, ge=1, description="tokens per generated reply, at most")
    base: bool = Field(default=True, description="also score the base model without fine-tuning")
    base_items: int = Field(default=0, ge=0, description="on how many of the items the base model is scored; 0: on all")
    bertscore_model: str = Field(
        default="", description="encoder for BERTScore, by hub id or folder, such as roberta-large (extra judges)"
    )
    mauve_model: str = Field(
        default="",
        description="language model for MAUVE, by hub id or folder, such as gpt2-large; 100 replies or more (extra "
        "judges)",
    )
    batch_tokens: int = Field(default=4096, ge=1, description="tokens per forward pass")
    resamples: int = Field(default=10_000, ge=1, description="bootstrap resamples, by dialogue")

    @model_validator(mode="after")
    def _check(self) -> "EvaluateConfig":
        if self.baseline not in self.strategies:
            raise _problem(f"evaluate.baseline: {self.baseline!r} is not among evaluate.strategies")
        return self


@dataclass(frozen=True, config=STRICT)
class ChatConfig:
    """How the finished model talks."""

    strategy: ChatStrategy = Field(default="rolling", description="context strategy: {chat_strategies}")
    max_reply_tokens: int = Field(default=60, ge=1, description="tokens per reply, at most")
    temperature: float = Field(default=0.8, ge=0, allow_inf_nan=False, description="sampling temperature; 0: greedy")
    top_p: float = Field(
        default=0.9, ge=0.01, le=1, allow_inf_nan=False, description="nucleus sampling: probability mass kept"
    )
    top_k: int = Field(default=0, ge=0, description="sample from the k most likely tokens; 0 disables")
    repetition_penalty: float = Field(
        default=1.0,
        ge=0.1,
        le=10,
        allow_inf_nan=False,
        description="penalty for tokens that the reply already holds; 1 disables, 1.2 is strong",
    )
    no_repeat_ngram: int = Field(
        default=0, ge=0, description="n-grams of this many tokens never come twice in a reply; 0 disables"
    )
    stop: list[str] = Field(
        default_factory=lambda: ["\nUser:", "\nYou:"], description="texts that end a reply; [] for none"
    )
    n_best: int = Field(
        default=1, ge=1, le=64, description="draw this many replies and take the one that is most likely per token"
    )
    engine: _choice("torch", "ctranslate2", "ctranslate2-int8") = Field(
        default="torch",
        description="torch | ctranslate2 (extra fast: quicker, not for formats with token types) | ctranslate2-int8 "
        "(quickest; used only where perplexity rises by less than 2 %)",
    )
    end_command: str = Field(default="Abort!", description="what ends the conversation, besides /quit")


@dataclass(frozen=True, config=STRICT)
class VariantConfig:
    """One of the models that an experiment compares."""

    name: str = Field(default="", description="as tables show it")
    set: list[str] = Field(default_factory=list, description="its own settings, each section.field=value")
    specialists: bool = Field(
        default=False, description="a model for each of train.strategies, tested with that strategy only"
    )
    needs_hub: bool = Field(default=False, description="left out with --offline")


@dataclass(frozen=True, config=STRICT)
class ExperimentConfig:
    """Several runs and their comparison, in one recipe."""

    seeds: list[int] = Field(default_factory=list, description="each variant is run with each; []: the recipe's")
    offline: list[str] = Field(
        default_factory=list, description="settings that --offline makes, each section.field=value"
    )
    variants: list[VariantConfig] = Field(
        default_factory=list, description="the models that are compared; none: the recipe is a single run"
    )


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """The whole way, from corpus to report."""

    name: str = Field(default="run", description="the run's folder is runs/NAME")
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="seed of sampling examples, initial weights and data order"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    context: ContextConfig = Field(default_factory=ContextConfig)
    summary: SummaryConfig = Field(default_factory=SummaryConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    chat: ChatConfig = Field(default_factory=ChatConfig)
    experiment: ExperimentConfig = Field(default_factory=ExperimentConfig)

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        _check_plain_name("name", self.name, "; --out takes a folder")
        for section in ("train", "evaluate"):
            config = getattr(self, section)
            self._check_budgets(f"{section}.budgets", config.budgets)
            # The layout of the paper's parent has no place for a summary; better said before training than after.
            gists = [name for name in config.strategies if STRATEGIES[name].has_gist]
            if self.model.format == "paper-turns" and gists:
                raise _problem(
                    f"{section}.strategies: model.format 'paper-turns' has no place for the summary of {min(gists)!r}"
                )
        return self

    def _check_budgets(self, name: str, budgets: Sequence[int]) -> None:
        most = self.context.budget
        for budget in budgets:
            if not 0 <= budget <= most:
                raise _problem(
                    f"{name}: {budget} is not between 0 and context.budget ({most}), which summaries are made for"
                )
        if len(set(budgets)) < len(budgets):
            raise _problem(f"{name}: a budget is there twice")

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
        UserError: both are given, or two corpora of the mix have the same name.
    """
    if not config.mix:
        return [MixConfig(config.corpus, config.source, config.corpus)]
    if config.source or config.corpus != DEFAULT_CORPUS:
        raise UserError("give the corpora in data.mix or one in data.corpus and data.source, not both")
    mix = [dataclasses.replace(part, name=part.name or part.corpus) for part in config.mix]
    names = [part.name for part in mix]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"data.mix: {', '.join(repeated)} is there twice; give each a name of its own")
    return mix
