"""Measure what faults of the paper's code come to, for the table in docs/paper.md.

.venv/bin/python tools/paper_faults.py OUTPUTS DIALOGUES [RUN]
"""

import argparse
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import get_polynomial_decay_schedule_with_warmup

from gistchat.corpora import dailydialog
from gistchat.dialogue.text_repair import clean_text, join_tokens
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.evaluate import bootstrap, metrics
from gistchat.evaluate.analysis import Row
from gistchat.evaluate.bootstrap import Metric, Sampled
from gistchat.files import read_json, read_json_lines
from gistchat.models.checkpoint import Checkpoint, load_checkpoint
from gistchat.models.scratch import gpt2_tokenizer

BATCH, LONGEST, BUDGET = 8, 256, 128  # replies of a batch, tokens of an example, tokens of our context
RESAMPLES = 10_000


def reply_lengths(outputs: Path) -> None:
    for path in sorted(outputs.glob("*_11e.json")):
        words = [len(reply.split()) for reply in read_json(path)["ans"]]
        print(f"{path.stem}: longest reply {max(words)} words, {words.count(0)} of {len(words)} empty")


def normalised(text: str) -> str:
    """As the paper's code writes training text: lower case, and capitals at the start and after punctuation."""
    return re.sub(r"(^|[.,!?]\s+)([a-z])", lambda match: match[1] + match[2].upper(), text.lower())


def repaired(turn: Turn) -> str:
    return join_tokens(clean_text(turn.text))


def joined(turns: Sequence[Turn]) -> str:
    return " ".join(map(repaired, turns))


def texts(dialogues: Sequence[Dialogue]) -> None:
    turns = [repaired(turn) for dialogue in dialogues for turn in dialogue.turns]
    changed = sum(normalised(text) != text for text in turns)
    print(f"normalisation changes the letters of {changed} of {len(turns)} turns ({100 * changed / len(turns):.0f} %)")
    tokenizer = gpt2_tokenizer()
    older = [joined(dialogue.turns[:-2]) for dialogue in dialogues if len(dialogue.turns) > 2]
    lengths = [len(ids) for ids in tokenizer(older)["input_ids"]]
    over = sum(length > BUDGET for length in lengths)
    print(
        f"a summary that keeps every sentence: {statistics.mean(lengths):.0f} tokens in the mean, "
        f"{over} of {len(lengths)} above {BUDGET}"
    )
    whole = [joined(dialogue.turns) for dialogue in dialogues]
    vanished = sum(len(ids) + 5 > LONGEST for ids in tokenizer(whole)["input_ids"])
    print(f"with every sentence kept, {vanished} of {len(whole)} last replies are over {LONGEST} tokens, so left out")


def splits() -> None:
    """Of DailyDialog, whose official splits have 11,118, 1,000 and 1,000 dialogues."""
    cut = int(0.85 * (11_118 + 2_000))
    print(f"put together, {cut} dialogues are for training: all 1,000 of the test split select checkpoints")


def resumed_rate() -> None:
    """The learning rate with which a finished schedule goes on, by that it began with."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=2e-5)
    schedule = get_polynomial_decay_schedule_with_warmup(optimizer, 0, 100, power=2)
    for _ in range(100):
        optimizer.step()
        schedule.step()
    print(f"learning rate after a finished schedule: {schedule.get_last_lr()[0]:.0e}, {2e-5:.0e} at its start")


def perplexities(rows: Sequence[Row]) -> None:
    """One figure, two ways to compute it: by tokens, and as the mean of exponentials of batches."""
    right = math.exp(sum(row["nats"] for row in rows) / sum(row["gold_tokens"] for row in rows))
    batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
    means = [math.exp(sum(r["nats"] for r in batch) / sum(r["gold_tokens"] for r in batch)) for batch in batches]
    print(f"perplexity by tokens {right:.1f}, mean of the exponentials of batches {statistics.mean(means):.1f}")


@torch.inference_mode()
def nats(checkpoint: Checkpoint, row: Row, reply_type: int | None = None) -> float:
    """Of the gold reply; `reply_type`: of all its tokens, in place of the one that was learned."""
    tokenizer, form = checkpoint.tokenizer, checkpoint.format
    prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
    reply = form.encode_reply(row["gold"])
    types = form.typed(prompt).followed_by(reply).types
    if reply_type is not None:
        types[len(prompt) :] = [reply_type] * len(reply)
    logits = checkpoint.model(input_ids=torch.tensor([prompt + reply]), token_type_ids=torch.tensor([types])).logits
    expected = torch.tensor(reply)
    return float(torch.nn.functional.cross_entropy(logits[0, len(prompt) - 1 : -1], expected, reduction="sum"))


def reply_types(checkpoint: Checkpoint, rows: Sequence[Row]) -> None:
    """The paper's code trains replies under one speaker's type and decodes them under the other's."""
    weights = bootstrap.resample_weights(len(rows), RESAMPLES, 0)
    tokens = [row["gold_tokens"] for row in rows]
    found = []
    for reply_type in (None, checkpoint.format.sp2):
        likelihoods = [nats(checkpoint, row, reply_type) for row in rows]
        if reply_type is None:  # the prompts, encoded again from their texts, are those that were scored
            assert np.allclose(likelihoods, [row["nats"] for row in rows], rtol=1e-3)
        values = metrics.perplexity(likelihoods, tokens)
        perplexity = Metric("perplexity", "per token", "lower", values)
        found.append(Sampled.of(perplexity, len(rows), weights))
    ratio: dict[str, Any] = bootstrap.compared(found[1], found[0])
    print(
        f"the other speaker's type for the reply: perplexity {found[1].value:.1f} instead of {found[0].value:.1f}, "
        f"{100 * ratio['ratio'] - 100:+.0f} % [{100 * ratio['ratio_low'] - 100:+.0f}, "
        f"{100 * ratio['ratio_high'] - 100:+.0f}], {len(rows)} replies"
    )


def main(outputs: Path, file: Path, run: Path | None) -> None:
    reply_lengths(outputs)
    texts([dialogue for dialogue in dailydialog.read(file) if isinstance(dialogue, Dialogue)])
    splits()
    resumed_rate()
    if run is None:
        return
    rows = [row for row in read_json_lines(run / "predictions.jsonl") if row["model"] == "tuned"]
    rows = [row for row in rows if row["strategy"] == "summary"]
    np.random.default_rng(0).shuffle(rows)
    perplexities(rows)
    checkpoint = load_checkpoint(run)
    if checkpoint.format.has_types:
        reply_types(checkpoint, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path, help="folder of the paper's replies")
    parser.add_argument("dialogues", type=Path, help="a file of DailyDialog in its own layout")
    parser.add_argument(
        "run", type=Path, nargs="?", help="a run with summaries; for token types, in model.format 'paper'"
    )
    arguments = parser.parse_args()
    main(arguments.outputs, arguments.dialogues, arguments.run)
