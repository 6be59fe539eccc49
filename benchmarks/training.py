"""Training GPT-2 124M on replies: the plain loop against ours, the ceiling, memory, and whole dialogues in one pass."""

import functools
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from gistchat.checkpoint import fit_embeddings
from gistchat.dialogue import load_dialogues
from gistchat.examples import ExampleBuilder, sample_targets
from gistchat.lessons import Lesson, choose_targets, dialogue_lessons, order_lessons
from gistchat.likelihood import IGNORED
from gistchat.models import gpt2_tokenizer, load_model, resolve_base
from gistchat.prepare import DataConfig, prepare
from gistchat.prompt import make_format
from gistchat.recipe import ContextConfig, ModelConfig, SummaryConfig, TrainConfig
from gistchat.summarize.store import SummaryStore
from gistchat.trainer import ReplyTrainer, arguments

BATCH = 8
STEPS = 12
LEARNING_RATE = 2e-5


class Setting:
    """A model with random weights, and chitchat triples (summary, last turn, reply) in the paper's format."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.format = make_format("paper", gpt2_tokenizer())
        base = resolve_base(ModelConfig("gpt2", "scratch", "small"), 0)
        self.model = load_model(base)
        self.plain = AutoModelForCausalLM.from_pretrained(base.source)  # as the library loads it
        for model in (self.model, self.plain):
            fit_embeddings(model, len(self.format.tokenizer))
        context = ContextConfig(budget=64)
        with tempfile.TemporaryDirectory() as folder:
            prepare(DataConfig(), Path(folder))
            dialogues = load_dialogues(Path(folder) / "train.jsonl")
            store = SummaryStore(Path(folder) / "s", SummaryConfig("textrank"), context, self.format, "t")
            targets = sample_targets(dialogues, BATCH * STEPS, 0, 2, one_per_dialogue=True)
            store.add([target.dialogue for target in targets])
            self.builder = ExampleBuilder(self.format, context, store, 256)
            self.lessons = [Lesson.of(self.builder.build(target, "summary")) for target in targets]
            last = choose_targets(TrainConfig(targets="all", strategies=["full"]), dialogues, dialogues[:1], 0, {})
            self.dialogues = last.train[:12]
        run_ours(self, self.lessons[:BATCH])  # warm up

    @property
    def tokens(self) -> int:
        return sum(map(len, self.lessons))


def run_plain(setting: Setting, lessons: list[Lesson]) -> None:
    """The paper's loop: batches as they come, padded to the longest, logits for every position."""
    model, pad = setting.plain, setting.format.stop_ids[0]
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for first in range(0, len(lessons), BATCH):
        batch = lessons[first : first + BATCH]
        longest = max(map(len, batch))

        def padded(rows, filler, longest=longest):
            return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])

        loss = model(
            input_ids=padded([lesson.ids for lesson in batch], pad),
            attention_mask=padded([[1] * len(lesson) for lesson in batch], 0),
            token_type_ids=padded([setting.format.token_types(lesson.ids) for lesson in batch], pad),
            labels=padded([lesson.labels for lesson in batch], IGNORED),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def run_ours(setting: Setting, lessons: list[Lesson], batch_size: int = BATCH) -> None:
    """What `gistchat train` runs, without validation and saved states."""
    config = TrainConfig(batch_size=batch_size, max_grad_norm=0.0, report_to=["none"])
    ordered = order_lessons(lessons, batch_size, 0)
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(config, 0, LEARNING_RATE, Path(folder), len(ordered))
        settings.save_strategy = settings.eval_strategy = "no"
        ReplyTrainer(setting.model, settings, config, setting.format, ordered, [], {}, lambda loss, step: None).train()


@functools.cache
def setting() -> Setting:
    return Setting()


def plain_tokens(state: Setting) -> int:
    run_plain(state, state.lessons)
    return state.tokens


def our_tokens(state: Setting) -> int:
    run_ours(state, state.lessons)
    return state.tokens


def one_reply_at_a_time(state: Setting) -> int:
    """Every reply a row of its own, with the history that it has in the rows of `ours`."""
    rows = [row for target in state.dialogues for row in dialogue_lessons(target, state.builder)[0]]
    replies = 0
    lessons = []
    for row in rows:
        ends = [i for i, label in enumerate(row.labels) if label == state.format.stop_ids[0]]
        start = 0
        for end in ends:
            reply = [IGNORED if i < start else label for i, label in enumerate(row.labels[: end + 1])]
            lessons.append(Lesson(f"{row.id} {end}", row.ids[: end + 1], type(row.labels)("i", reply)))
            start, replies = end + 1, replies + 1
    run_ours(state, lessons[: 6 * BATCH])
    return 6 * BATCH


def whole_dialogues(state: Setting) -> int:
    rows = [row for target in state.dialogues for row in dialogue_lessons(target, state.builder)[0]][: 3 * BATCH]
    run_ours(state, rows)
    return sum(label == state.format.stop_ids[0] for row in rows for label in row.labels)
