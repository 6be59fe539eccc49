"""What a recipe may say: a dataclass for each section, with the defaults and the help that `gistchat fields` shows."""

from dataclasses import dataclass, field

from gistchat.recipe.data_section import DataConfig

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
        metadata={"help": 'shard over GPUs, as in transformers: "full_shard auto_wrap" (see docs/training.md)'},
    )
    deepspeed: str = field(default="", metadata={"help": "a DeepSpeed configuration file (docs/training.md)"})


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
