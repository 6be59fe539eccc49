"""Training GPT-2 124M on replies: the plain loop against ours, the ceiling, memory, and whole dialogues in one pass."""

import statistics
import tempfile
import time
from array import array
from pathlib import Path

import torch
from figures import Measurement, Pair, peak_mb
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import sample_targets
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import fit_embeddings, load_model
from gistchat.models.likelihood import IGNORED
from gistchat.models.resolve import resolve_base
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prepare.prepare import prepare
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, DataConfig, ModelConfig, SummaryConfig, TrainConfig
from gistchat.train.loop import TrainingLoop
from gistchat.train.rows import TrainingRow, choose_targets, dialogue_rows, order_rows

BATCH = 8
STEPS = 16
LEARNING_RATE = 2e-5
ROW, ROWS = 1024, 6  # tokens of a whole dialogue, as many as GPT-2 takes; and how many of them


class Setting:
    """A model with random weights, and chitchat triples (summary, last turn, reply) in the paper's format."""

    def __init__(self, warm: bool = True) -> None:
        torch.manual_seed(0)
        self.format = make_format("paper", gpt2_tokenizer())
        base = resolve_base(ModelConfig("gpt2", "scratch", "small"), 0)
        self.model = load_model(base)
        self.plain = AutoModelForCausalLM.from_pretrained(base.source)  # as the library loads it
        for model in (self.model, self.plain):
            fit_embeddings(model, self.format)
        context = ContextConfig(budget=64)
        with tempfile.TemporaryDirectory() as folder:
            prepare(DataConfig(), Path(folder))
            dialogues = load_dialogues(Path(folder) / "train.jsonl")
            store = SummaryStore(Path(folder) / "s", SummaryConfig("textrank"), context, self.format, "t")
            targets = sample_targets(dialogues, BATCH * STEPS, 0, 2, turns="one")
            store.add([target.dialogue for target in targets])
            self.builder = ExampleBuilder(self.format, context, store, 256)
            self.replies = [TrainingRow.from_example(self.builder.build(target, "summary")) for target in targets]
            last = choose_targets(TrainConfig(targets="all", strategies=["full"]), dialogues, dialogues[:1], 0, {})
            whole = ExampleBuilder(self.format, context, store, ROW)
            rows = [row for target in last.train[:40] for row in dialogue_rows(target, whole)[0]]
            self.dialogues = [row for row in rows if len(row) > ROW // 2][:ROWS]  # of dialogues that are long enough
        if warm:
            run_ours(self, self.replies[:BATCH])

    @property
    def tokens(self) -> int:
        return sum(map(len, self.replies))


def run_plain(setting: Setting, rows: list[TrainingRow]) -> None:
    """The paper's loop: batches as they come, padded to the longest, logits for every position."""
    model, pad = setting.plain, setting.format.stop_ids[0]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for first in range(0, len(rows), BATCH):
        batch = rows[first : first + BATCH]
        longest = max(map(len, batch))

        def padded(lists, filler, longest=longest):
            return torch.tensor([[*values, *[filler] * (longest - len(values))] for values in lists])

        loss = model(
            input_ids=padded([row.ids for row in batch], pad),
            attention_mask=padded([[1] * len(row) for row in batch], 0),
            token_type_ids=padded([row.types for row in batch], pad),
            labels=padded([row.labels for row in batch], IGNORED),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def run_ours(setting: Setting, rows: list[TrainingRow], batch_size: int = BATCH) -> None:
    """What `gistchat train` runs, without validation and saved states."""
    config = TrainConfig(batch_size=batch_size, max_grad_norm=0.0, report_to=["none"])
    loop = TrainingLoop(
        setting.model,
        config,
        setting.format,
        order_rows(rows, batch_size, 0),
        validation=[],
        seed=0,
        learning_rate=LEARNING_RATE,
        folder=Path(),  # nothing is saved
        settings={},
        save_best=lambda loss, step, weights: None,
    )
    for _ in range(loop.steps):
        loop.optimizer_step()


def plain_tokens(state: Setting) -> int:
    run_plain(state, state.replies)
    return state.tokens


def our_tokens(state: Setting) -> int:
    run_ours(state, state.replies)
    return state.tokens


TOKENS = Pair(
    "train_tokens_per_s",
    "tokens/s",
    f"GPT-2 124M with random weights learns {BATCH * STEPS} chitchat triples (summary, last turn, reply) in the "
    f"paper's format, dropout on, batches of {BATCH}; tokens without padding. Baseline: the textbook loop: batches as "
    "they come, padded to the longest, logits at every position, torch's AdamW. The bound is what is aimed at.",
    Setting,
    plain_tokens,
    our_tokens,
    repeats=3,
    bound=2.6,
    peaks=False,
)


def multiplications(setting: Setting, rows: list[TrainingRow]) -> int:
    """Floating-point operations of all matrix products that our loop does for these rows."""
    with FlopCounterMode(display=False) as counter:
        run_ours(setting, rows)
    return counter.get_total_flops()


def ceiling(size: int = 2048) -> float:
    """Floating-point operations per second of a large matrix product."""
    one, other = torch.randn(size, size), torch.randn(size, size)
    start = time.perf_counter()
    for _ in range(10):
        one @ other
    return 10 * 2 * size**3 / (time.perf_counter() - start)


def gemm_share() -> float:
    setting = Setting()
    rows = order_rows(setting.replies, BATCH, 0)[: 3 * BATCH]
    needed = multiplications(setting, rows)
    shares = []
    for _ in range(3):
        before = ceiling()
        start = time.perf_counter()
        run_ours(setting, rows)
        rate = needed / (time.perf_counter() - start)
        shares.append(100 * rate / ((before + ceiling()) / 2))
    return statistics.median(shares)


SHARE = Measurement(
    "train_gemm_share",
    "% of ceiling",
    "the matrix products of our loop (counted by torch) by the time that everything takes, as a share of the rate of "
    "one large product measured before and after; median of 3. The bound is what it should not fall below.",
    gemm_share,
    75,
)


def memory_share() -> float:
    """Peak memory above weights, gradients and optimizer state: ours by the plain loop's, in percent."""
    pair = Pair("train_memory", "", "", _cold, _plain_some, _ours_some)
    state = 3 * 4 * sum(parameter.numel() for parameter in _cold().model.parameters()) / 2**20  # MB, 32-bit
    return 100 * (peak_mb(pair, "ours") - state) / (peak_mb(pair, "baseline") - state)


def _cold() -> Setting:
    """A setting in which nothing has run: memory that a warm-up left behind would be used again, and not counted."""
    return Setting(warm=False)


def _plain_some(state: Setting) -> int:
    run_plain(state, state.replies[: 4 * BATCH])
    return 0


def _ours_some(state: Setting) -> int:
    run_ours(state, state.replies[: 4 * BATCH])
    return 0


MEMORY = Measurement(
    "train_peak_memory",
    "% of plain",
    "peak memory of the two loops above weights, gradients and optimizer state, each in a fresh process, four batches. "
    "The bound is what it must not exceed.",
    memory_share,
    60,
)


def one_reply_at_a_time(state: Setting) -> int:
    """Replies as rows of their own, each with the history that it has in the rows of `whole_dialogues`."""
    end = state.format.stop_ids[0]
    rows = []
    for row in state.dialogues:
        start = 0
        for stop in [i for i, label in enumerate(row.labels) if label == end]:
            labels = [IGNORED if i < start else label for i, label in enumerate(row.labels[: stop + 1])]
            rows.append(TrainingRow(f"{row.id} {stop}", row.ids[: stop + 1], array("i", labels)))
            start = stop + 1
    chosen = rows[:: len(rows) // BATCH][:BATCH]
    run_ours(state, chosen, batch_size=2)
    return len(chosen)


def whole_dialogues(state: Setting) -> int:
    run_ours(state, state.dialogues, batch_size=2)
    return sum(label == state.format.stop_ids[0] for row in state.dialogues for label in row.labels)


ALL_TARGETS = Pair(
    "train_all_targets",
    "replies/s",
    f"all replies of a speaker in one pass over {ROWS} rows of {ROW // 2} to {ROW:,} tokens of chitchat, two at once; "
    "baseline: each reply in a row of its own with the same history, every so many of them, by the same loop. The "
    "bound is what is aimed at.",
    Setting,
    one_reply_at_a_time,
    whole_dialogues,
    repeats=2,
    bound=4,
    peaks=False,
)
