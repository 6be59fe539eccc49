"""Several runs in one recipe and their comparison; runs set side by side; what --offline leaves out."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from conftest import TINY_TOML, gistchat

from gistchat.errors import UserError
from gistchat.experiment import Member, compare, members, named_runs
from gistchat.files import read_json, write_json
from gistchat.recipe.load import load_recipe
from gistchat.stages import mark_done

RECIPES = Path(__file__).parent.parent / "gistchat" / "recipes"
EXPERIMENT = (
    TINY_TOML.replace("steps = 6", "steps = 2").replace("reply_items = 3", "reply_items = 2\nprobe_items = 2")
    + """
strategies = ["last", "recent", "summary", "shuffled"]
budgets = [16, 48]

[experiment]
seeds = [0, 1]
offline = ["evaluate.items=3"]

[[experiment.variants]]
name = "The mix"

[[experiment.variants]]
name = "own"
specialists = true
set = ["train.strategies=recent,summary", "evaluate.base=false"]

[[experiment.variants]]
name = "from the hub"
needs_hub = true
set = ["model.name=gpt2", "model.init=pretrained"]
"""
)


@pytest.fixture
def recipe_file(tiny_folder):
    (tiny_folder / "several.toml").write_text(EXPERIMENT)
    return tiny_folder / "several.toml"


def test_every_variant_comes_with_every_seed_and_specialists_for_each_strategy(recipe_file, tmp_path):
    found = members(load_recipe(recipe_file, offline=True), tmp_path)
    names = [member.folder.name for member, _ in found]
    per_seed = ["the-mix-seed{}", "own-seed{}-recent", "own-seed{}-summary"]
    assert names == [name.format(seed) for seed in (0, 1) for name in per_seed]
    by_name = {member.folder.name: own for member, own in found}
    one = by_name["own-seed1-summary"]
    assert (one.seed, one.train.strategies, one.evaluate.strategies) == (1, ["summary"], ["summary", "shuffled"])
    assert by_name["own-seed1-recent"].evaluate.strategies == ["recent"]
    assert not by_name["own-seed1-recent"].evaluate.base
    assert by_name["the-mix-seed0"].evaluate.base
    assert not by_name["the-mix-seed0"].experiment.variants
    assert {own.evaluate.items for own in by_name.values()} == {3}  # an offline setting


def test_the_command_line_goes_before_a_variants_own_settings(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file, ["train.strategies=last", "experiment.seeds=7"])
    assert {(own.seed, tuple(own.train.strategies)) for _, own in members(recipe, tmp_path)} == {(7, ("last",))}


def test_offline_settings_go_before_a_variants_own_and_the_command_line_before_both(recipe_file, tmp_path):
    text = recipe_file.read_text().replace('offline = ["', 'offline = ["train.strategies=last", "')
    recipe_file.write_text(text)
    for overrides, expected in (([], "last"), (["train.strategies=hybrid"], "hybrid")):
        found = members(load_recipe(recipe_file, overrides, offline=True), tmp_path)
        assert {tuple(own.train.strategies) for _, own in found} == {(expected,)}
    assert len({tuple(own.train.strategies) for _, own in members(load_recipe(recipe_file), tmp_path)}) > 2


def test_runs_of_other_data_are_not_set_side_by_side(run_folder, tmp_path):
    folders = []
    for name, gold in (("one", "A boat."), ("two", "A house.")):
        folders.append(tmp_path / name)
        row = {"id": "1#2", "gold": gold, "model": "tuned", "strategy": "last", "budget": None, "dialogue": "1"}
        shutil.copytree(run_folder / "checkpoint", folders[-1] / "checkpoint")
        write_json(folders[-1] / "metrics.json", {"resamples": 100})
        (folders[-1] / "predictions.jsonl").write_text(json.dumps(row) + "\n")
        (folders[-1] / "probe.jsonl").write_text("")
    with pytest.raises(UserError, match="two: the reply 1#2 is another one"):
        compare(named_runs(folders), tmp_path / "both", "t", "last")


def test_the_whole_design_as_it_ships(tmp_path):
    found = members(load_recipe(RECIPES / "design.toml"), tmp_path)
    assert len(found) == 3 * (1 + 4)
    mix = [own for member, own in found if member.variant == "mix"]
    for own in mix:
        assert own.train.budgets == own.evaluate.budgets == [32, 64, 128, 256, 512]
        assert {"last", "recent", "full", "summary", "hybrid", "shuffled"} <= set(own.evaluate.strategies)
        assert own.evaluate.base
    alone = [own.train.strategies for member, own in found if member.variant == "specialists" and member.seed == 1]
    assert alone == [["summary"], ["hybrid"], ["recent"], ["last"]]


def test_the_papers_experiment_as_it_ships_with_and_without_the_hub(tmp_path):
    with_hub = {member.variant: own for member, own in members(load_recipe(RECIPES / "paper.toml"), tmp_path)}
    assert list(with_hub) == ["multi-turn", "BART", "PEGASUS", "TextRank"]
    assert [own.model.format for own in with_hub.values()] == ["paper-turns", "paper", "paper", "paper"]
    assert {own.model.name for own in with_hub.values()} == {"gpt2"}
    for own in with_hub.values():
        assert (own.train.learning_rate, own.train.epochs, own.train.steps) == (2e-5, 10, 0)
    assert [own.summary.method for own in with_hub.values()] == ["textrank", "seq2seq", "seq2seq", "textrank"]
    without = members(load_recipe(RECIPES / "paper.toml", offline=True), tmp_path)
    assert [member.folder.name for member, _ in without] == ["multi-turn-seed0", "textrank-seed0"]
    for _, own in without:
        assert (own.model.name, own.model.format, own.train.method) == ("smollm2", "auto", "lora")
    assert [own.train.strategies for _, own in without] == [["recent"], ["summary"]]


def test_variants_need_names_of_their_own(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    first, second, *rest = recipe.experiment.variants
    variants = [first, dataclasses.replace(second, name="The mix"), *rest]
    recipe = recipe.change(experiment={"variants": variants})
    with pytest.raises(UserError, match="each needs a name of its own"):
        members(recipe, tmp_path)


def test_an_experiment_from_the_command_line(recipe_file, tiny_folder):
    done = gistchat("run", "several.toml", "--offline", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "offline: left out, as they need the hub: from the hub" in done.stderr
    folder = tiny_folder / "runs" / "several"
    values = read_json(folder / "metrics.json")
    systems = {(one["variant"], one["model"], one["strategy"], one["budget"]) for one in values["results"]}
    assert {
        ("own", "tuned", "summary", 16),
        ("own", "tuned", "recent", 48),
        ("The mix", "base", "last", None),
    } <= systems
    assert not [one for one in systems if one[:2] == ("own", "base")]
    # The specialists meet in one comparison, on the replies of both seeds.
    own = [one for one in values["comparisons"] if one["of"] == "own tuned summary 48" and one["family"] == "strategy"]
    assert [one["minus"] for one in own] == ["own tuned recent 48"]
    [pooled] = [one for one in values["results"] if one["name"] == "The mix tuned recent 48"]
    assert pooled["metrics"]["perplexity"]["items"] == 6
    for name in ("report.html", "report.md"):
        assert "own" in (folder / name).read_text()
    assert "The mix" in done.stdout
    again = gistchat("run", "several.toml", "--offline", cwd=tiny_folder)
    assert again.stderr.count("done before, skipped)") >= 12
    assert read_json(folder / "metrics.json") == values
    train = gistchat("train", "several.toml", cwd=tiny_folder)
    assert (train.returncode, train.stdout) == (1, "")
    assert "is an experiment of several runs; gistchat run several.toml" in train.stderr


def test_runs_side_by_side(tiny_folder):
    for name, steps in (("one", 2), ("two", 3)):
        words = ["--set", f"train.steps={steps}", "--set", "evaluate.strategies=last,recent", "--out", name]
        done = gistchat("run", "tiny.toml", *words, cwd=tiny_folder)
        assert done.returncode == 0, done.stderr
    done = gistchat("compare", "one", "two", "--out", "both", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    values = read_json(tiny_folder / "both" / "metrics.json")
    pairs = {(one["of"], one["minus"]) for one in values["comparisons"] if one["family"] == "variant"}
    assert ("two tuned recent", "one tuned recent") in pairs
    single = read_json(tiny_folder / "one" / "metrics.json")
    [alone] = [one for one in single["results"] if one["name"] == "tuned recent"]
    [beside] = [one for one in values["results"] if one["name"] == "one tuned recent"]
    assert beside["metrics"]["perplexity"]["value"] == pytest.approx(alone["metrics"]["perplexity"]["value"])
    for words, said in (
        (["one"], "compare takes two runs or more"),
        (["one", "none"], "none: not evaluated yet; gistchat evaluate none"),
        (["one", "./one"], "two runs are called one"),
    ):
        done = gistchat("compare", *words, cwd=tiny_folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


def made_run(folder, strategy, reply):
    """A run's files as far as comparing reads them: eight replies of one system."""
    rows = [
        {
            "id": f"d{i}#3", "dialogue": f"d{i}", "turn": 3, "model": "tuned", "strategy": strategy, "budget": 64,
            "gist": "", "boundary": 0, "context": [{"role": "user", "text": f"turn {i}"}], "prompt": "p",
            "prompt_tokens": 9, "reused_tokens": 3, "context_tokens": 5, "gold": f"gold {i} text", "gold_tokens": 4,
            "gold_bytes": 11, "nats": 8.0 + reply + i % 3, "rank": None, "candidates": None, "reply": f"reply {i}",
            "reply_tokens": 3, "seconds": 0.1, "prefill_seconds": 0.05,
        }
        for i in range(8)
    ]  # fmt: skip
    folder.mkdir()
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "probe.jsonl").write_text("")
    write_json(folder / "metrics.json", {"resamples": 200})
    (folder / "checkpoint").mkdir()
    write_json(folder / "checkpoint" / "gistchat.json", {"recipe": {"train": {"strategies": [strategy]}}})
    return folder


def test_variants_of_one_strategy_each_are_compared_under_their_own(tmp_path):
    runs = [
        Member("turns", 0, made_run(tmp_path / "a", "recent", 0)),
        Member("gist", 0, made_run(tmp_path / "b", "summary", 1)),
    ]
    values = compare(runs, tmp_path / "out", "two", "recent")
    [row] = [one for one in values["comparisons"] if one["family"] == "variant"]
    assert (row["of"], row["minus"], row["significant"]) == ("gist tuned summary", "turns tuned recent", True)


@pytest.mark.parametrize("name", ["predictions.jsonl", "probe.jsonl", "metrics.json"])
def test_runs_whose_files_were_changed_are_not_compared(tmp_path, name):
    runs = [made_run(tmp_path / name, strategy, 0) for name, strategy in (("a", "recent"), ("b", "summary"))]
    for run in runs:
        mark_done(run / "evaluated.json", "key", [run / "predictions.jsonl", run / "probe.jsonl", run / "metrics.json"])
    members = named_runs(runs)
    compare(members, tmp_path / "out", "two", "recent")
    with (runs[1] / name).open("a") as file:
        file.write("\n" if name == "metrics.json" else '{"id": 1, "dialogue": 1, "model": "m", "strategy": "last"}\n')
    with pytest.raises(UserError, match=rf"b/{name}: changed or damaged since it was written"):
        compare(members, tmp_path / "out", "two", "recent")


def test_names_of_compared_runs_are_their_folders(tmp_path):
    assert [run.variant for run in named_runs([tmp_path / "a", tmp_path / "b"])] == ["a", "b"]
