"""What training sees and does: order, losses, accumulation, whole dialogues in one pass, divergence, Ctrl-C."""

import dataclasses
import json
import math
import os
import signal

import pytest
import torch
from conftest import make_dialogue, train_tiny
from transformers import AutoModelForCausalLM, Trainer, get_scheduler

from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import Target, sample_targets
from gistchat.memory.summary_store import SummaryStore
from gistchat.models import cpu_speedups
from gistchat.models.base import fit_embeddings, load_model, load_tokenizer
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.cpu_speedups import BitDropout, add_embedding_gradients_in_place, draw_attention_dropout_from_bits
from gistchat.models.likelihood import IGNORED, collate, label_losses
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, ModelConfig, SummaryConfig, TrainConfig
from gistchat.train import loop
from gistchat.train.accelerator import split_batch
from gistchat.train.optimizer import make_optimizer, make_schedule
from gistchat.train.rows import TrainingRow, build_rows, dialogue_rows, order_rows
from gistchat.train.states import last_state
from gistchat.train.train import prepare_model


@pytest.fixture(scope="module", params=["speaker-tokens", "paper"])
def parts(request, tiny_base, tmp_path_factory):
    """(model without dropout, format, builder, dialogues), in both ways of telling speakers."""
    tokenizer = load_tokenizer(tiny_base)
    prompt_format = make_format(request.param, tokenizer)
    model = load_model(tiny_base)
    fit_embeddings(model, prompt_format)
    dialogues = [make_dialogue(i) for i in range(8)]
    context = ContextConfig(budget=48)
    store = SummaryStore(tmp_path_factory.mktemp("s"), SummaryConfig("textrank"), context, prompt_format, "t")
    store.add(dialogues)
    return model, prompt_format, ExampleBuilder(prompt_format, context, store, 512), dialogues


def make_rows(parts, strategies=("summary", "hybrid", "recent", "last"), count=12):
    _, _, builder, dialogues = parts
    targets = sample_targets(dialogues, count, 0)
    return build_rows(targets, TrainConfig(strategies=list(strategies)), [builder], 0)[0]


def plain_loop(model, prompt_format, rows):
    """The textbook batch: padded on the right, a mask, logits everywhere, every position's loss; (rows, longest)."""
    longest = max(map(len, rows))
    pad = prompt_format.stop_ids[0]
    ids = torch.tensor([[*row.ids, *[pad] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([[*row.labels, *[IGNORED] * (longest - len(row))] for row in rows])
    extra = {}
    if prompt_format.has_types:
        extra["token_type_ids"] = torch.tensor([[*row.types, *[pad] * (longest - len(row))] for row in rows])
    logits = model(input_ids=ids, attention_mask=mask, **extra).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )


def test_losses_and_gradients_are_those_of_the_plain_loop(parts, tiny_base):
    model, prompt_format, _, _ = parts
    rows = make_rows(parts)
    library = AutoModelForCausalLM.from_pretrained(tiny_base.source, attn_implementation="eager")
    fit_embeddings(library, prompt_format)
    plain = plain_loop(library.eval(), prompt_format, rows)
    plain.sum().backward()
    expected = {name: tensor.grad.clone() for name, tensor in library.named_parameters()}
    model.zero_grad()
    add_embedding_gradients_in_place(model)
    losses = label_losses(model, collate(rows, prompt_format))
    losses.sum().backward()
    assert len(losses) == sum(label != IGNORED for row in rows for label in row.labels)
    torch.testing.assert_close(losses.detach(), plain[plain != 0].detach(), rtol=1e-5, atol=1e-5)
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(tensor.grad, expected[name], rtol=1e-3, atol=1e-5)
    model.zero_grad()


def test_dropout_drops_its_share_scales_the_rest_and_repeats_with_the_seed():
    dropout, ones = BitDropout(0.1), torch.ones(101, 997, requires_grad=True)

    def draw():
        torch.manual_seed(5)
        return dropout(ones)

    dropped = draw()
    kept = dropped != 0
    assert float(kept.float().mean()) == pytest.approx(0.9, abs=0.005)
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.9), rtol=1e-4, atol=0)
    assert torch.equal(dropped, draw())
    assert not torch.equal(dropped, dropout(ones))
    dropped.sum().backward()
    assert torch.equal(ones.grad, dropped.detach())
    assert torch.equal(dropout.eval()(ones), ones)


def test_rows_that_begin_late_in_a_group_still_name_who_speaks(parts):
    """The last turns are of two speakers, but a third is in the room."""
    names = ["Anna", "Ben", "Cleo", *["Anna", "Cleo"] * 20]
    turns = tuple(Turn(name, turn.text) for name, turn in zip(names, make_dialogue(0, turns=43).turns, strict=True))
    _, prompt_format, builder, _ = parts
    tight = ExampleBuilder(prompt_format, builder.config, builder.store, 200)
    rows, _ = dialogue_rows(Target(Dialogue("g", turns), 42), tight)
    assert len(rows) > 2
    assert all(prompt_format.tokenizer.decode(row.ids).count("Anna: ") > 1 for row in rows)


def test_every_reply_of_a_dialogue_in_one_pass_costs_what_it_costs_alone(parts):
    model, prompt_format, builder, _ = parts
    dialogue = make_dialogue(3, turns=15)
    [row], left_out = dialogue_rows(Target(dialogue, 14), builder)
    together = label_losses(model, collate([row], prompt_format)).tolist()
    alone = []
    for turn in range(2, 15, 2):
        example = builder.build(Target(dialogue, turn), "full")
        assert example.context.boundary == 0
        alone += label_losses(model, collate([example], prompt_format)).tolist()
    assert left_out == 0
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_dialogue_over_the_limit_is_learned_in_rows_that_overlap(parts):
    _, prompt_format, builder, _ = parts
    dialogue = make_dialogue(4, turns=60)
    tight = ExampleBuilder(prompt_format, builder.config, builder.store, 300)
    rows, left_out = dialogue_rows(Target(dialogue, 59), tight)
    assert left_out == 0
    assert 3 < len(rows) < 20
    assert all(100 < len(row) <= 300 for row in rows)
    end = prompt_format.stop_ids[0]
    assert sum(label == end for row in rows for label in row.labels) == 30  # every reply of that speaker, once
    first_label = [next(i for i, label in enumerate(row.labels) if label != IGNORED) for row in rows[1:]]
    assert min(first_label) > 75  # none without a history
    # A reply that fits no row is counted.
    turns = list(dialogue.turns)
    turns[9] = Turn(turns[9].speaker, "word " * 400)
    _, left_out = dialogue_rows(Target(dataclasses.replace(dialogue, turns=tuple(turns)), 59), tight)
    assert left_out == 1


def test_order_is_a_permutation_in_full_batches_of_like_length(parts):
    rows = make_rows(parts, count=42)
    assert len(rows) == 42
    ordered = order_rows(rows, 4, seed=1)
    assert len(ordered) == 44
    assert {id(row) for row in ordered} == {id(row) for row in rows}
    assert ordered == order_rows(rows, 4, seed=1) != order_rows(rows, 4, seed=2)

    def padding(rows):
        return sum(max(map(len, rows[i : i + 4])) * 4 - sum(map(len, rows[i : i + 4])) for i in range(0, 40, 4))

    assert padding(ordered) < padding(rows) / 2


def test_strategies_take_turns_and_later_passes_have_an_order_of_their_own(parts):
    _, _, builder, dialogues = parts
    targets = sample_targets(dialogues, 10, 0)
    config = TrainConfig(strategies=["last", "recent"], epochs=3)
    rows, left_out = build_rows(targets, config, [builder], 0)
    assert left_out == 0
    passes = [[row.id for row in rows[i : i + 10]] for i in (0, 10, 20)]
    assert passes[0] == [target.id for target in targets]
    assert sorted(passes[0]) == sorted(passes[1]) == sorted(passes[2])
    assert len(set(map(tuple, passes))) == 3
    lengths = {target.id: len(builder.build(target, "last")) for target in targets}
    assert all(len(row) == lengths[row.id] for row in rows[::2])
    stopped, _ = build_rows(targets, dataclasses.replace(config, steps=3, batch_size=4), [builder], 0)
    assert [row.id for row in stopped] == [row.id for row in rows[:12]]


def history_of(folder):
    return json.loads((folder / "train" / "history.json").read_text())


def losses_of(folder):
    return [entry["loss"] for entry in history_of(folder)["log"] if "loss" in entry]


def test_training_learns_and_keeps_the_best_by_token_weighted_loss(tiny_recipe, tmp_path):
    tiny_recipe = changed(tiny_recipe, steps=30, evaluate_every=10)
    workspace = train_tiny(tiny_recipe, tmp_path / "run")
    history = history_of(tmp_path / "run")
    losses = [entry["eval_loss"] for entry in history["log"] if "eval_loss" in entry]
    assert len(losses) == 3
    assert history["best_validation_loss"] == min(losses) < 10
    # The kept weights have that loss, counted token by token.
    checkpoint = load_checkpoint(tmp_path / "run")
    builder = ExampleBuilder(workspace.format, tiny_recipe.context, workspace.store, tiny_recipe.train.max_tokens)
    targets = sample_targets(workspace.split("validation"), 3, 0, turns="one")
    strategies = tiny_recipe.train.strategies
    rows = [
        TrainingRow.from_example(builder.build(target, strategies[i % len(strategies)]))
        for i, target in enumerate(targets)
    ]
    with torch.no_grad():
        each = plain_loop(checkpoint.model, checkpoint.format, rows)
    assert float(each.sum() / (each != 0).sum()) == pytest.approx(min(losses), rel=1e-4)
    assert list((tmp_path / "run" / "train").rglob("events.out.tfevents*"))


@pytest.fixture
def without_dropout(tiny_base, tiny_recipe, tmp_path):
    """The tiny recipe on a base without dropout: else every forward pass draws its own."""
    model = load_model(tiny_base)
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop"):
        setattr(model.config, name, 0.0)
    model.save_pretrained(tmp_path / "base")
    load_tokenizer(tiny_base).save_pretrained(tmp_path / "base")
    recipe = dataclasses.replace(tiny_recipe, model=ModelConfig(name=str(tmp_path / "base")))
    return changed(recipe, steps=3, method="full", learning_rate=1e-2, batch_size=8)


def changed(recipe, **changes):
    return recipe.change(train=changes)


def test_attention_that_drops_next_to_nothing_is_the_librarys(tiny_base):
    names = {"attn_pdrop": 1e-6, "resid_pdrop": 0.0, "embd_pdrop": 0.0}  # so little that no weight is dropped
    library = AutoModelForCausalLM.from_pretrained(tiny_base.source, attn_implementation="eager", **names).eval()
    ours = AutoModelForCausalLM.from_pretrained(tiny_base.source, **names).train()
    draw_attention_dropout_from_bits(ours)
    ids = torch.randint(0, 50_000, (3, 70), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(input_ids=ids).logits, library(input_ids=ids).logits, atol=1e-5)


def test_accumulation_weighs_tokens(without_dropout, tmp_path):
    """One batch of eight and eight of one take the same steps, though their replies differ in length."""
    train_tiny(without_dropout, tmp_path / "a")
    train_tiny(changed(without_dropout, micro_batch=1), tmp_path / "b")
    assert len(losses_of(tmp_path / "a")) == 3
    assert losses_of(tmp_path / "a") == pytest.approx(losses_of(tmp_path / "b"), abs=1e-5)


def test_gradient_checkpointing_changes_no_loss(without_dropout, tmp_path):
    train_tiny(without_dropout, tmp_path / "a")
    train_tiny(changed(without_dropout, gradient_checkpointing=True), tmp_path / "b")
    assert losses_of(tmp_path / "a") == pytest.approx(losses_of(tmp_path / "b"), abs=1e-6)


def test_whole_dialogues_are_learned(without_dropout, tmp_path):
    recipe = changed(without_dropout, targets="all", strategies=["full"], batch_size=2, steps=12, learning_rate=1e-3)
    train_tiny(recipe, tmp_path / "run")
    losses = losses_of(tmp_path / "run")
    assert losses[-1] < losses[0] - 0.5


def test_training_stops_early_without_improvement(without_dropout, tmp_path):
    recipe = changed(without_dropout, learning_rate=0.1, steps=40, evaluate_every=2, patience=2, schedule="constant")
    train_tiny(recipe, tmp_path / "run")
    history = history_of(tmp_path / "run")
    losses = [entry["eval_loss"] for entry in history["log"] if "eval_loss" in entry]
    assert losses.index(min(losses)) == len(losses) - 3
    assert history["steps"] < 40


def test_the_schedule_and_its_power_are_the_recipes(without_dropout, tmp_path):
    recipe = changed(without_dropout, schedule="polynomial", warmup_steps=0, steps=4, learning_rate=1e-3)
    train_tiny(recipe, tmp_path / "run")
    rates = [entry["learning_rate"] for entry in history_of(tmp_path / "run")["log"] if "learning_rate" in entry]
    assert rates == pytest.approx([1e-3 * (1 - i / 4) ** 2 for i in range(4)], abs=1e-6)


def test_samples_are_shown_during_training(tiny_recipe, tmp_path, capsys):
    train_tiny(changed(tiny_recipe, samples=2), tmp_path / "run")
    said = capsys.readouterr().err
    assert "step 3: validation loss" in said
    assert said.count("-> ") >= 4


@pytest.mark.parametrize("longest_gradient", [1.0, 0.0])
def test_a_diverging_run_stops_and_names_step_and_batch(tiny_recipe, tmp_path, longest_gradient):
    rates = {"learning_rate": 1e30, "max_grad_norm": longest_gradient}
    tiny_recipe = changed(tiny_recipe, **rates, evaluate_every=1, save_every=1)
    message = r"(loss|gradient) is not a number at step \d+ \(batch: d\d+#\d+, d\d+#\d+\); lower train.learning_rate"
    with pytest.raises(UserError, match=message):
        train_tiny(tiny_recipe, tmp_path / "run")
    assert list((tmp_path / "run" / "train").glob("state-*/manifest.json"))


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tiny_recipe, tmp_path, monkeypatch):
    def broken(self, *args):
        loss = backward(self, *args)
        if self.step == 2:
            next(self.model.parameters()).grad[0] = math.nan
        return loss

    backward = loop.TrainingLoop._backward
    monkeypatch.setattr(loop.TrainingLoop, "_backward", broken)
    tiny_recipe = changed(tiny_recipe, max_grad_norm=0.0, method="full", save_every=1)
    with pytest.raises(UserError, match="the gradient is not a number at step 3 "):
        train_tiny(tiny_recipe, tmp_path / "run")
    assert last_state(tmp_path / "run" / "train").step == 2


def test_a_validation_loss_that_is_no_number_names_the_step(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "score_replies", lambda model, prompt_format, rows: [math.nan] * len(rows))
    with pytest.raises(UserError, match=r"the validation loss is not a number at step 3 \(batch: d\d+#\d+, d\d+#\d+\)"):
        train_tiny(tiny_recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_batch_without_a_label_is_named(tiny_recipe, tmp_path, monkeypatch):
    def without_labels(rows, prompt_format):
        batch = collate(rows, prompt_format)
        return {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}

    monkeypatch.setattr(loop, "collate", without_labels)
    with pytest.raises(UserError, match=r"no label in a batch of step 1 \(d\d+#\d+, d\d+#\d+\)"):
        train_tiny(tiny_recipe, tmp_path / "run")


def interrupt_in_step(step, times, monkeypatch):
    def interrupted(self, *args):
        if self.step == step - 1:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return backward(self, *args)

    backward = loop.TrainingLoop._backward
    monkeypatch.setattr(loop.TrainingLoop, "_backward", interrupted)


def test_ctrl_c_saves_a_state_and_the_run_ends_as_if_undisturbed(tiny_recipe, tmp_path, monkeypatch):
    train_tiny(tiny_recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(3, 1, patch)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tiny_recipe, tmp_path / "run")
    assert (tmp_path / "run" / "train" / "state-3" / "manifest.json").exists()
    train_tiny(tiny_recipe, tmp_path / "run")
    assert losses_of(tmp_path / "run") == losses_of(tmp_path / "whole")


def test_a_second_ctrl_c_stops_at_once(tiny_recipe, tmp_path, monkeypatch):
    interrupt_in_step(3, 2, monkeypatch)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tiny_recipe, tmp_path / "run")
    assert last_state(tmp_path / "run" / "train").step == 2
    assert signal.getsignal(signal.SIGINT) is handler


def test_memory_that_does_not_suffice_says_what_to_lower(tiny_recipe, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:75] . DefaultCPUAllocator: can't allocate memory: 8 bytes")

    monkeypatch.setattr(loop, "label_losses", full)
    with pytest.raises(
        UserError, match=r"out of memory at step 1 .* 2 rows of up to \d+ tokens; lower train.micro_batch"
    ):
        train_tiny(tiny_recipe, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report_to": ["wandb"]}, "wandb is not installed: pip install wandb"),
        ({"precision": "bfloat16"}, "no bfloat16 units"),
        ({"deepspeed": "zero2.json"}, "deepspeed is not installed: pip install deepspeed"),
        ({"fsdp": "full_shard wrap"}, "train.fsdp: 'wrap' is not of auto_wrap, full_shard"),
    ],
)
def test_what_is_not_available_is_named(tiny_recipe, tmp_path, changes, message, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(UserError, match=message):
        train_tiny(changed(tiny_recipe, **changes), tmp_path / "run")


def test_a_batch_that_the_processes_cannot_share_is_refused():
    def split(batch_size, micro_batch):
        return split_batch(TrainConfig(batch_size=batch_size, micro_batch=micro_batch), processes=2)

    assert split(8, 0) == (4, 1)
    assert split(8, 2) == (2, 2)
    assert split(12, 4) == (3, 2)  # at most four, and no row left over
    with pytest.raises(UserError, match=r"train\.batch_size \(3\) cannot be shared by 2 processes"):
        split(3, 0)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_weights_decay_that_decay_in_the_librarys_trainer(tiny_base, tiny_recipe, method):
    tiny_recipe = changed(tiny_recipe, method=method)
    model = load_model(tiny_base)
    model = prepare_model(model, tiny_recipe, make_format("speaker-tokens", load_tokenizer(tiny_base)))
    decaying, constant = make_optimizer(model, tiny_recipe.train, 1e-3).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying, constant = ({names[id(parameter)] for parameter in group["params"]} for group in (decaying, constant))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert decaying == set(Trainer.get_decay_parameter_names(None, model)) & trained
    assert constant == trained - decaying
    assert bool(constant) == (method == "full")


@pytest.mark.parametrize("name", ["linear", "cosine", "constant", "constant_with_warmup", "polynomial"])
def test_learning_rates_are_those_of_the_librarys_schedule(name):
    config = TrainConfig(schedule=name, warmup_steps=3)
    [ours, library] = [torch.optim.AdamW([torch.zeros(1)], lr=0.5) for _ in range(2)]
    rate = make_schedule(ours, config, 8)
    options = {"power": 2.0} if name == "polynomial" else {}
    schedule = get_scheduler(name, library, 3, 8, scheduler_specific_kwargs=options)
    for step in range(8):
        assert rate(step) == schedule.get_last_lr()[0]
        library.step()
        schedule.step()


def test_untested_versions_compute_as_the_library_does(tiny_base, tiny_recipe, tmp_path, monkeypatch):
    assert cpu_speedups.supported()
    monkeypatch.setattr(cpu_speedups, "version", lambda package: "99.0.1")
    assert not cpu_speedups.supported()
    library = AutoModelForCausalLM.from_pretrained(tiny_base.source)
    model = load_model(tiny_base)
    cpu_speedups.speed_up_training(model, 1)
    assert str(model) == str(library)  # the same modules
    assert model.config._attn_implementation == library.config._attn_implementation
    assert "forward" not in vars(model.get_input_embeddings())
    train_tiny(tiny_recipe, tmp_path / "run")
    assert len(losses_of(tmp_path / "run")) == 6


def test_token_types_are_for_gpt2_only(tiny_recipe, tmp_path):
    tiny_recipe = dataclasses.replace(tiny_recipe, model=ModelConfig(format="paper"))
    with pytest.raises(UserError, match="'paper' uses token types, which only GPT-2 models"):
        train_tiny(tiny_recipe, tmp_path / "run")
