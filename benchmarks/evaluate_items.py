"""Likelihood of replies: one item at a time, logits everywhere; against batches of like length, logits on replies."""

import tempfile
from pathlib import Path

import torch
from figures import Pair

from gistchat.dialogue import load_dialogues
from gistchat.examples import ExampleBuilder, sample_targets
from gistchat.likelihood import score_replies
from gistchat.models import load_model, load_tokenizer, resolve_base
from gistchat.prepare import DataConfig, prepare
from gistchat.prompt import make_format
from gistchat.recipe import ContextConfig, ModelConfig, SummaryConfig
from gistchat.summarize.store import SummaryStore

ITEMS = 6
STRATEGIES = ("last", "recent", "summary", "hybrid", "shuffled")


def setup():
    base = resolve_base(ModelConfig(), 0)
    tokenizer = load_tokenizer(base)
    prompt_format = make_format("auto", tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        dialogues = load_dialogues(Path(folder) / "test.jsonl")
        targets = sample_targets(dialogues, ITEMS, 0, 6, one_per_dialogue=True)
        donors = [target.dialogue for target in targets]
        store = SummaryStore(Path(folder) / "s", SummaryConfig("textrank"), ContextConfig(), prompt_format, "t")
        store.add(donors)
        builder = ExampleBuilder(prompt_format, ContextConfig(), store, 2048, donors)
        examples = [builder.build(target, strategy) for strategy in STRATEGIES for target in targets]
    model = load_model(base)
    score_replies(model, prompt_format, examples[:4])  # warm up
    return model, examples, prompt_format


@torch.inference_mode()
def baseline(state) -> int:
    model, examples, _ = state
    for example in examples:
        ids = torch.tensor([example.prompt + example.reply])
        labels = ids.clone()
        labels[:, : len(example.prompt)] = -100
        model(input_ids=ids, labels=labels)
    return len(examples)


def ours(state) -> int:
    model, examples, prompt_format = state
    score_replies(model, prompt_format, examples)
    return len(examples)


PAIR = Pair(
    "evaluate_items",
    "items/s",
    f"likelihood of {ITEMS} chitchat replies with {len(STRATEGIES)} strategies, SmolLM2-135M in 32-bit floats; "
    "baseline: one item at a time, logits at every position.",
    setup,
    baseline,
    ours,
    repeats=3,
)
