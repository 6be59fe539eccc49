"""Recipes: TOML files over the stages' dataclasses. Any field can be overridden as section.field=value."""

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.prepare import DataConfig

STRATEGIES = ("last", "recent", "full", "summary", "hybrid", "shuffled")


@dataclass
class ModelConfig:
    """The base model."""

    name: str = field(
        default="smollm2",
        metadata={
            "help": "smollm2 (packaged, needs no network), gpt2, gpt2-medium|-large|-xl, DialoGPT-small|-medium|-large "
            "(from the hub), any other causal model by hub id or folder"
        },
    )
    init: str = field(default="pretrained", metadata={"help": "pretrained | scratch (random weights, GPT-2 only)"})
    size: str = field(
        default="small",
        metadata={
            "help": "of a scratch gpt2: tiny | mini | small (124 M parameters) | medium | large | xl; gpt2-medium, "
            "-large and -xl imply theirs"
        },
    )
    format: str = field(
        default="auto",
        metadata={
            "help": "auto | speaker-tokens | chat-template | paper | paper-turns (GPT-2 only); auto: the model's "
            "template where it marks roles, else speaker-tokens"
        },
    )


@dataclass
class ContextConfig:
    """What the model sees before the last turn."""

    budget: int = field(default=96, metadata={"help": "tokens for everything before the last turn"})
    summary_share: float = field(
        default=0.34, metadata={"help": "share of the budget that `hybrid` and `rolling` give the summary"}
    )
    full_limit: int = field(default=0, metadata={"help": "tokens at which `full` is cut; 0: the model's limit"})
    max_turns: int = field(
        default=0, metadata={"help": "turns that `recent` and `full` show, the last included; 0: as many as fit"}
    )


@dataclass
class SummaryConfig:
    """How older turns are summarised."""

    method: str = field(
        default="textrank",
        metadata={
            "help": "picks sentences: textrank | lexrank | lsa | mmr | lead | recent; a model writes: seq2seq | llm | "
            "endpoint"
        },
    )
    recency: float = field(
        default=1.0, metadata={"help": "scores are multiplied by this for each turn that a sentence lies back"}
    )
    model: str = field(
        default="",
        metadata={
            "help": "what writes: hub id or folder (seq2seq: philschmid/bart-large-cnn-samsum, llm: smollm2), or the "
            "endpoint's name of it"
        },
    )
    url: str = field(
        default="", metadata={"help": "of an OpenAI-compatible endpoint, such as http://localhost:8000/v1"}
    )
    prompt: str = field(default="", metadata={"help": "a file with a prompt of your own, for llm and endpoint"})


@dataclass
class TrainConfig:
    """Fine-tuning; the loss is on the reply only."""

    method: str = field(default="auto", metadata={"help": "lora | full | auto: full for scratch models, else lora"})
    strategies: list[str] = field(
        default_factory=lambda: ["summary", "hybrid", "recent", "last"],
        metadata={"help": "context strategies of the training examples, in equal parts"},
    )
    budgets: list[int] = field(
        default_factory=list, metadata={"help": "token budgets of the training examples, in turn; []: context.budget"}
    )
    targets: str = field(
        default="one",
        metadata={"help": "one: a reply per row | all: every reply of a dialogue in one pass (strategy full only)"},
    )
    steps: int = field(default=0, metadata={"help": "optimizer steps; 0: as many as `epochs` need"})
    epochs: int = field(default=1, metadata={"help": "passes over all replies, where steps is 0"})
    batch_size: int = field(default=8, metadata={"help": "rows per optimizer step, over all processes together"})
    micro_batch: int = field(
        default=0, metadata={"help": "rows per forward pass of a process, at most; 0: all of its share of batch_size"}
    )
    learning_rate: float = field(
        default=0.0, metadata={"help": "peak; 0: 1e-3 for lora, 5e-5 for full, 5e-4 from scratch"}
    )
    schedule: str = field(
        default="linear", metadata={"help": "linear | cosine | constant | constant_with_warmup | polynomial"}
    )
    schedule_power: float = field(default=2.0, metadata={"help": "exponent of the polynomial schedule"})
    warmup_steps: int = field(default=2, metadata={"help": "steps of rising learning rate"})
    weight_decay: float = field(default=0.01, metadata={"help": "of AdamW"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "longer gradients are shortened to this; 0: never"})
    max_tokens: int = field(default=512, metadata={"help": "longest row in tokens; context is trimmed to fit"})
    precision: str = field(
        default="auto",
        metadata={"help": "float32 | bfloat16 (mixed) | auto: bfloat16 on GPUs that compute in it, else float32"},
    )
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "compute activations twice instead of keeping them: less memory, slower"}
    )
    lora_rank: int = field(default=16, metadata={"help": "rank of the LoRA matrices"})
    lora_alpha: int = field(default=32, metadata={"help": "scale of the LoRA matrices"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout before the LoRA matrices"})
    validation_items: int = field(default=24, metadata={"help": "validation replies that choose the best checkpoint"})
    evaluate_every: int = field(default=10, metadata={"help": "steps between validations"})
    patience: int = field(
        default=0, metadata={"help": "stop after so many validations without a better loss; 0: never"}
    )
    samples: int = field(default=1, metadata={"help": "validation replies that are generated and shown each time"})
    save_every: int = field(default=5, metadata={"help": "steps between saved states that a stopped run resumes from"})
    keep_states: int = field(default=2, metadata={"help": "latest states kept, besides the best checkpoint"})
    report_to: list[str] = field(
        default_factory=lambda: ["tensorboard"],
        metadata={"help": "where losses go, each if it is installed: tensorboard | trackio | wandb | mlflow | none"},
    )
    fsdp: str = field(
        default="",
        metadata={"help": 'shard over GPUs, as in transformers: "full_shard auto_wrap" (see docs/scaling.md)'},
    )
    deepspeed: str = field(default="", metadata={"help": "a DeepSpeed configuration file (docs/scaling.md)"})


@dataclass
class EvaluateConfig:
    """What is measured, on how many replies."""

    strategies: list[str] = field(
        default_factory=lambda: list(STRATEGIES), metadata={"help": f"of: {', '.join(STRATEGIES)}, rolling, gold"}
    )
    budgets: list[int] = field(
        default_factory=list,
        metadata={"help": "token budgets that each strategy is scored at; []: context.budget, the most there can be"},
    )
    baseline: str = field(default="recent", metadata={"help": "strategy that the others are compared with"})
    items: int = field(default=200, metadata={"help": "test replies whose likelihood is scored, at most"})
    turns: str = field(
        default="one",
        metadata={"help": "which replies: one of each dialogue, drawn | last: of each dialogue, the last | all: any"},
    )
    reply_items: int = field(default=100, metadata={"help": "of these, how many get a generated reply"})
    rank_items: int = field(
        default=0,
        metadata={"help": "of these, for how many the gold reply is ranked among 20 candidates by likelihood"},
    )
    probe_items: int = field(
        default=0, metadata={"help": "generated dialogues in which a fact told early is asked for late"}
    )
    min_history: int = field(default=6, metadata={"help": "turns before the reply, at least"})
    max_reply_tokens: int = field(default=40, metadata={"help": "tokens per generated reply, at most"})
    base: bool = field(default=True, metadata={"help": "also score the base model without fine-tuning"})
    base_items: int = field(default=0, metadata={"help": "on so many of the items; 0: on all"})
    bertscore_model: str = field(
        default="",
        metadata={"help": "encoder for BERTScore, by hub id or folder, such as roberta-large (extra judges)"},
    )
    mauve_model: str = field(
        default="",
        metadata={
            "help": "language model for MAUVE, by hub id or folder, such as gpt2-large; 100 replies or more (extra "
            "judges)"
        },
    )
    batch_tokens: int = field(default=4096, metadata={"help": "tokens per forward pass"})
    resamples: int = field(default=10_000, metadata={"help": "bootstrap resamples, by dialogue"})


@dataclass
class ChatConfig:
    """How the finished model talks."""

    strategy: str = field(default="rolling", metadata={"help": "last | recent | full | summary | hybrid | rolling"})
    max_reply_tokens: int = field(default=60, metadata={"help": "tokens per reply, at most"})
    temperature: float = field(default=0.8, metadata={"help": "0: greedy"})
    top_p: float = field(default=0.9, metadata={"help": "nucleus sampling: probability mass kept"})
    top_k: int = field(default=0, metadata={"help": "the likeliest so many tokens; 0: all"})
    repetition_penalty: float = field(
        default=1.0, metadata={"help": "of tokens that the reply has already; 1: none, 1.2: strong"}
    )
    no_repeat_ngram: int = field(
        default=0, metadata={"help": "so many word pieces in a row never come twice in a reply; 0: no rule"}
    )
    stop: list[str] = field(
        default_factory=lambda: ["\nUser:", "\nYou:"], metadata={"help": "texts that end a reply; [] for none"}
    )
    n_best: int = field(default=1, metadata={"help": "so many replies are drawn, and the likeliest per token is taken"})
    engine: str = field(
        default="torch",
        metadata={
            "help": "torch | ctranslate2 (extra fast: quicker, not for formats with token types) | ctranslate2-int8 "
            "(quickest; used only where perplexity rises by less than 2 %)"
        },
    )
    end_command: str = field(default="Abort!", metadata={"help": "what ends the conversation, besides /quit"})


@dataclass
class VariantConfig:
    """One of the models that an experiment compares."""

    name: str = field(default="", metadata={"help": "as tables show it"})
    set: list[str] = field(default_factory=list, metadata={"help": "settings of its own, each section.field=value"})
    specialists: bool = field(
        default=False, metadata={"help": "a model for each of train.strategies, tested with that strategy only"}
    )
    needs_hub: bool = field(default=False, metadata={"help": "left out with --offline"})


@dataclass
class ExperimentConfig:
    """Several runs and their comparison, in one recipe."""

    seeds: list[int] = field(default_factory=list, metadata={"help": "each variant is run with each; []: the recipe's"})
    offline: list[str] = field(
        default_factory=list, metadata={"help": "settings that --offline makes, each section.field=value"}
    )
    variants: list[VariantConfig] = field(
        default_factory=list, metadata={"help": "the models that are compared; none: the recipe is a single run"}
    )


@dataclass
class Recipe:
    """The whole way, from corpus to report."""

    name: str = field(default="run", metadata={"help": "the run's folder is runs/NAME"})
    seed: int = field(default=0, metadata={"help": "of sampling examples, initial weights and data order"})
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    summary: SummaryConfig = field(default_factory=SummaryConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)


CHOICES = {
    "train.schedule": ("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    "model.init": ("pretrained", "scratch"),
    "model.format": ("auto", "speaker-tokens", "chat-template", "paper", "paper-turns"),
    "summary.method": ("textrank", "lexrank", "lsa", "mmr", "lead", "recent", "seq2seq", "llm", "endpoint"),
    "train.method": ("auto", "lora", "full"),
    "train.targets": ("one", "all"),
    "train.precision": ("auto", "float32", "bfloat16"),
    "train.report_to": ("tensorboard", "trackio", "wandb", "mlflow", "none"),
    "train.strategies": (*STRATEGIES, "rolling", "gold"),
    "evaluate.strategies": (*STRATEGIES, "rolling", "gold"),
    "evaluate.baseline": (*STRATEGIES, "rolling", "gold"),
    "evaluate.turns": ("one", "last", "all"),
    "chat.strategy": (*(name for name in STRATEGIES if name != "shuffled"), "rolling"),
    "chat.engine": ("torch", "ctranslate2", "ctranslate2-int8"),
    "data.on_error": ("stop", "skip"),
    "data.audit": ("no", "report", "drop"),
    "data.scrub": ("auto", "yes", "no"),
    "data.split_by": ("auto", "speaker", "dialogue"),
}
# (least, most) of numbers; None: no bound
RANGES: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**32 - 1),
    "data.seed": (0, None),
    "data.min_turns": (0, None),
    "data.max_turn_chars": (0, None),
    "data.test_share": (0, 0.9),
    "data.validation_share": (0, 0.9),
    "context.budget": (0, None),
    "context.summary_share": (0, 1),
    "context.full_limit": (0, None),
    "context.max_turns": (0, None),
    "summary.recency": (0.5, 1),
    "train.steps": (0, None),
    "train.epochs": (1, None),
    "train.batch_size": (1, None),
    "train.micro_batch": (0, None),
    "train.learning_rate": (0, None),
    "train.warmup_steps": (0, None),
    "train.weight_decay": (0, None),
    "train.schedule_power": (0.1, None),
    "train.max_grad_norm": (0, None),
    "train.patience": (0, None),
    "train.samples": (0, None),
    "train.keep_states": (1, None),
    "train.max_tokens": (1, None),
    "train.lora_rank": (1, None),
    "train.lora_alpha": (1, None),
    "train.lora_dropout": (0, 0.99),
    "train.validation_items": (1, None),
    "train.evaluate_every": (1, None),
    "train.save_every": (1, None),
    "evaluate.items": (1, None),
    "evaluate.reply_items": (0, None),
    "evaluate.rank_items": (0, None),
    "evaluate.probe_items": (0, None),
    "evaluate.base_items": (0, None),
    "evaluate.min_history": (1, None),
    "evaluate.max_reply_tokens": (1, None),
    "evaluate.batch_tokens": (1, None),
    "evaluate.resamples": (1, None),
    "chat.max_reply_tokens": (1, None),
    "chat.temperature": (0, None),
    "chat.top_p": (0.01, 1),
    "chat.top_k": (0, None),
    "chat.repetition_penalty": (0.1, 10),
    "chat.no_repeat_ngram": (0, None),
    "chat.n_best": (1, 64),
}


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe and apply `section.field=value` overrides.

    Raises:
        UserError: no such file, not TOML, an unknown field (the nearest right one is named) or a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name the recipe file in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    values.setdefault("name", path.stem)
    recipe = apply_overrides(_fill(Recipe, values, "", str(path)), overrides or [])
    for variant in recipe.experiment.variants:  # what is asked for on the command line goes before a variant's own
        variant.set += [override for override in overrides or [] if not override.startswith("experiment.")]
    return recipe


def apply_overrides(recipe: Recipe, overrides: list[str]) -> Recipe:
    """Set `section.field=value` in place and check the result. Raises UserError as `load_recipe` does."""
    for override in overrides:
        _override(recipe, override)
    check(recipe)
    return recipe


def recipe_from_dict(values: dict[str, Any], where: str) -> Recipe:
    """A recipe from the dictionary that `dataclasses.asdict` made of one."""
    recipe = _fill(Recipe, values, "", where)
    check(recipe)
    return recipe


def fields(config: type = Recipe, prefix: str = "") -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of every recipe field, for `gistchat run --fields` and the documents."""
    rows = []
    for item in dataclasses.fields(config):
        if dataclasses.is_dataclass(item.type):
            rows += fields(item.type, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            default = item.default if item.default is not dataclasses.MISSING else item.default_factory()  # type: ignore[misc]
            kind = item.type.__name__ if isinstance(item.type, type) and item.type is not list else str(item.type)
            if isinstance(item.type, types.GenericAlias):
                [inner] = typing.get_args(item.type)
                kind = f"list of {'tables' if dataclasses.is_dataclass(inner) else inner.__name__}"
                if dataclasses.is_dataclass(inner):
                    rows += fields(inner, f"{prefix}{item.name}[].")
            rows.append((f"{prefix}{item.name}", kind, default, item.metadata.get("help", "")))
    return rows


def check(recipe: Recipe) -> None:
    """Refuse values that no stage can work with."""
    for name, allowed in CHOICES.items():
        _check_choice(name, _get(recipe, name), allowed)
    for name, (least, most) in RANGES.items():
        value = _get(recipe, name)
        if not (math.isfinite(value) and least <= value <= (math.inf if most is None else most)):
            bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
            raise UserError(f"{name} must be {bounds}, not {value}")
    if recipe.data.test_share + recipe.data.validation_share >= 1:
        raise UserError("data.test_share + data.validation_share must be below 1")
    _check_train(recipe.train)
    for name in ("train.budgets", "evaluate.budgets"):
        _check_budgets(name, _get(recipe, name), recipe.context.budget)
    _check_mix(recipe.data)
    _check_summary(recipe.summary)
    if Path(recipe.name).name != recipe.name:
        raise UserError(f"name: {recipe.name!r} must be a plain name; --out takes a folder")
    if recipe.evaluate.baseline not in recipe.evaluate.strategies:
        raise UserError(f"evaluate.baseline: {recipe.evaluate.baseline!r} is not among evaluate.strategies")


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value == []:
        raise UserError(f"{name} must name at least one of {', '.join(allowed)}")
    for item in value if isinstance(value, list) else [value]:
        if item not in allowed:
            raise UserError(f"{name}: {item!r} is not one of {', '.join(allowed)}{_nearest(item, allowed)}")


def _check_train(config: TrainConfig) -> None:
    if config.targets == "all" and config.strategies != ["full"]:
        raise UserError(
            "train.targets 'all' learns every reply with its full history; set train.strategies = [\"full\"]"
        )


def _check_budgets(name: str, budgets: list[int], most: int) -> None:
    for budget in budgets:
        if not 0 <= budget <= most:
            raise UserError(
                f"{name}: {budget} is not between 0 and context.budget ({most}), which summaries are made for"
            )
    if len(set(budgets)) < len(budgets):
        raise UserError(f"{name}: a budget is there twice")


def _check_summary(config: SummaryConfig) -> None:
    if config.method == "endpoint" and not (config.url and config.model):
        raise UserError("summary.method 'endpoint' needs summary.url and summary.model (--url and --with)")


def _check_mix(config: DataConfig) -> None:
    for part in config.mix:
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise UserError(f"data.mix[].weight must be above 0, not {part.weight}")
        if Path(part.name).name != part.name:
            raise UserError(f"data.mix[].name: {part.name!r} must be a plain name")


def _fill(config: type, values: Any, prefix: str, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"{where}: [{prefix.rstrip('.')}] must be a table")
    known = {item.name: item.type for item in dataclasses.fields(config)}
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown field {prefix}{name}{_nearest(prefix + name)}")
    filled = {}
    for name, value in values.items():
        kind = known[name]
        if dataclasses.is_dataclass(kind):
            filled[name] = _fill(kind, value, f"{prefix}{name}.", where)  # type: ignore[arg-type]
        else:
            filled[name] = _typed(kind, value, prefix + name, where)
    return config(**filled)


def _typed(kind: Any, value: Any, name: str, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    origin = typing.get_origin(kind)
    if origin is list and dataclasses.is_dataclass(inner := typing.get_args(kind)[0]):
        if not isinstance(value, list):
            raise UserError(f"{where}: {name} must be a list of tables, [[{name}]]")
        return [_fill(inner, item, f"{name}[].", where) for item in value]  # type: ignore[arg-type]
    if origin is list:
        [inner] = typing.get_args(kind)
        fits = isinstance(value, list) and all(type(item) is inner for item in value)
        expected = "a list of strings" if inner is str else "a list of whole numbers"
    else:
        fits = isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool))
        expected = f"of type {kind.__name__}"
    if not fits:
        raise UserError(f"{where}: {name} must be {expected}, not {value!r}")
    return value


def _override(recipe: Recipe, override: str) -> None:
    name, equals, text = override.partition("=")
    name = name.strip()
    types_by_name = {row[0] for row in fields()}
    if not equals:
        raise UserError(f"--set {override}: expected section.field=value")
    if name not in types_by_name:
        raise UserError(f"--set: unknown field {name}{_nearest(name)}")
    *sections, last = name.split(".")
    owner: Any = recipe
    for section in sections:
        owner = getattr(owner, section)
    kind = {item.name: item.type for item in dataclasses.fields(owner)}[last]
    setattr(owner, last, _typed(kind, _parse(kind, text.strip()), name, "--set"))


def _parse(kind: Any, text: str) -> Any:
    """Text from the command line: JSON where the type is not a string; lists also as a,b,c."""
    if kind is str:
        return text
    if typing.get_origin(kind) is list and not text.startswith("["):
        [inner] = typing.get_args(kind)
        return [item.strip() if inner is str else _parse(inner, item) for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _get(recipe: Recipe, name: str) -> Any:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _nearest(name: str, known: tuple[str, ...] | None = None) -> str:
    names = known or tuple(row[0] for row in fields())
    close = difflib.get_close_matches(name, names, 1, 0.5)
    if not close and known is None:
        # A right field in the wrong section: compare the last parts.
        close = [full for full in names if full.split(".")[-1] == name.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else ""
