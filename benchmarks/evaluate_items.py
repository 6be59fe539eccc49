"""What an evaluation computes: likelihood and ranks, one item at a time with logits everywhere, against ours."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from figures import Measurement, Pair
from transformers import AutoModelForCausalLM

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.evaluate import bootstrap, metrics
from gistchat.evaluate.items import Condition, build_items
from gistchat.evaluate.predict import Subject, predict
from gistchat.evaluate.ranking import draw_others, rank_gold
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import sample_targets
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import fit_embeddings, load_model, load_tokenizer
from gistchat.models.likelihood import ScoredReply, score_replies
from gistchat.models.resolve import resolve_base
from gistchat.prepare.prepare import prepare
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, DataConfig, EvaluateConfig, ModelConfig, SummaryConfig

STRATEGIES = ("last", "recent", "summary", "hybrid", "shuffled")
SCRATCH = ModelConfig(name="gpt2", init="scratch", size="mini")
SMOLLM2 = ModelConfig()
REPLIES, RESAMPLES = 5_000, 10_000


class Setting:
    """A model twice, as the library loads it and as we do, and examples of chitchat under every strategy."""

    def __init__(self, config: ModelConfig, items: int) -> None:
        base = resolve_base(config, 0)
        self.format = make_format("auto", load_tokenizer(base))
        self.plain = AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32).eval()
        self.model = load_model(base)
        for model in (self.plain, self.model):
            fit_embeddings(model, self.format)
        with tempfile.TemporaryDirectory() as folder:
            prepare(DataConfig(), Path(folder))
            dialogues = load_dialogues(Path(folder) / "test.jsonl")
            self.targets = sample_targets(dialogues, items, 0, 6, turns="one")
            donors = [target.dialogue for target in self.targets]
            store = SummaryStore(Path(folder) / "s", SummaryConfig("textrank"), ContextConfig(), self.format, "t")
            store.add(donors)
            builder = ExampleBuilder(self.format, ContextConfig(), store, 1024, donors)
            wanted = [Condition(strategy, 0) for strategy in STRATEGIES]
            self.items = build_items(self.targets, wanted, {0: builder})
            self.examples = [example for examples in self.items.examples.values() for example in examples]
        score_replies(self.model, self.format, self.examples[:4])  # warm up
        one_at_a_time(self, self.examples[:2])


@torch.inference_mode()
def one_at_a_time(setting: Setting, rows) -> int:
    for row in rows:
        setting.plain(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels]))
    return len(rows)


def plain_likelihood(setting: Setting) -> int:
    return one_at_a_time(setting, setting.examples)


def our_likelihood(setting: Setting) -> int:
    """As an evaluation does it: rows written, a prompt that two strategies share read once."""
    config, subject = EvaluateConfig(reply_items=0, rank_items=0), Subject("tuned", lambda: setting.model)
    with tempfile.TemporaryDirectory() as folder:
        return len(predict(subject, setting.format, setting.items, config, Path(folder)))


def ranked(setting: Setting):
    """Hybrid contexts and the texts that their gold replies are ranked among."""
    examples = [example for example in setting.examples if example.context.strategy == "hybrid"][:4]
    return examples, [draw_others(example.target, setting.targets) for example in examples]


def plain_ranks(setting: Setting) -> int:
    for example, texts in zip(*ranked(setting), strict=True):
        replies = [example.reply, *(setting.format.encode_reply(text) for text in texts)]
        one_at_a_time(setting, [ScoredReply.of(example.prompt, reply) for reply in replies])
    return 4


def our_ranks(setting: Setting) -> int:
    return len(rank_gold(setting.model, setting.format, *ranked(setting)))


def bootstrap_seconds() -> float:
    """Seconds to draw all resamples and take the interval of a perplexity and of a paired difference."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 40, REPLIES).tolist()
    likelihoods = ((rng.normal(3, 1, REPLIES) * tokens).tolist() for _ in range(2))
    values = [metrics.perplexity(nats, tokens) for nats in likelihoods]
    start = time.perf_counter()
    weights = bootstrap.resample_weights(REPLIES, RESAMPLES, 0)
    measured = [bootstrap.Metric("perplexity", "per token", "lower", of) for of in values]
    mine, theirs = (bootstrap.Sampled.of(metric, REPLIES, weights) for metric in measured)
    mine.interval(), bootstrap.compared(mine, theirs)
    return time.perf_counter() - start


PAIR = Pair(
    "evaluate_items",
    "items/s",
    f"likelihood of 24 chitchat replies with {len(STRATEGIES)} strategies, GPT-2 of four layers (that of "
    "the recipe findings) in 32-bit floats; baseline: one item at a time, logits at every position.",
    partial(Setting, SCRATCH, 24),
    plain_likelihood,
    our_likelihood,
    repeats=5,
    bound=3.0,
)
SMALL = Pair(
    "evaluate_items_smollm2",
    "items/s",
    f"the same for 6 replies with {len(STRATEGIES)} strategies and SmolLM2-135M, where most of the work is in the "
    "layers, not in the logits: by count of multiplications at most about 1.6 times.",
    partial(Setting, SMOLLM2, 6),
    plain_likelihood,
    our_likelihood,
    repeats=3,
)
RANKS = Pair(
    "rank_items",
    "items/s",
    "the gold reply's place among 20 candidates with SmolLM2-135M, hybrid contexts; baseline: each candidate alone, "
    "the prompt read again for each.",
    partial(Setting, SMOLLM2, 24),
    plain_ranks,
    our_ranks,
    repeats=3,
    peaks=False,
)
BOOTSTRAP = Measurement(
    "bootstrap_seconds",
    "s",
    f"{RESAMPLES:,} bootstrap resamples of {REPLIES:,} replies: drawn, and the intervals of a perplexity and of a "
    "paired difference. The bound is what it must not exceed.",
    bootstrap_seconds,
    5.0,
)
