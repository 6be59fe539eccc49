"""Names that become files and folders, and folders to write to, are checked before anything starts."""

import os
from pathlib import Path

import pytest
from conftest import gistchat, small_recipe

from gistchat.errors import UserError
from gistchat.experiment import members, named_runs
from gistchat.names import checked_path, fault_of_name, folder_to_write, repeated
from gistchat.prepare.prepare import default_folder, prepare
from gistchat.recipe.load import load_recipe, recipe_from_dict
from gistchat.recipe.schema import DataConfig, ExperimentConfig, MixConfig, Recipe, VariantConfig

BAD = {
    "empty": "",
    "parent": "..",
    "here": ".",
    "above": "../elsewhere",
    "absolute": "/etc/gistchat",
    "backslash": "..\\elsewhere",
    "NUL": "a\0b",
    "line break": "a\nb",
    "escape": "a\x1b]52;c;ZXZpbA==\x07",
    "trailing dot": "run.",
    "trailing space": "run ",
    "leading space": " run",
    "hidden": ".run.lock",
    "own ending": "run.part",
    "device": "con.txt",
    "long": "ü" * 150,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_name_that_cannot_be_a_folder_has_a_fault(kind):
    assert fault_of_name(BAD[kind])


@pytest.mark.parametrize("name", ["demo", "GPT-2 scratch", "run.v2", "très-bien", "対話", "con-fused", "a" * 200])
def test_ordinary_names_have_none(name):
    assert not fault_of_name(name)


@pytest.mark.parametrize("kind", BAD)
def test_a_recipe_with_such_a_name_is_refused_at_its_line(kind, tmp_path):
    name = "".join(f"\\u{ord(char):04x}" for char in BAD[kind])
    tables = {"recipe": f'seed = 1\nname = "{name}"\n'}
    if BAD[kind]:  # an empty name of these stands for the default, or is refused by its experiment
        tables["mix"] = f'[[data.mix]]\nname = "{name}"\n'
        tables["variant"] = f'[[experiment.variants]]\nname = "{name}"\n'
    for about, text in tables.items():
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(UserError, match=r"r\.toml:2: .*(must be a plain name|NUL)") as error:
            load_recipe(tmp_path / "r.toml")
        assert "\n" not in str(error.value), about


def test_a_strangers_variant_writes_nothing_outside_the_folder(tiny_folder):
    before = sorted(tiny_folder.iterdir())
    inside = tiny_folder / "inside"
    inside.mkdir()
    text = (tiny_folder / "tiny.toml").read_text().replace('"talks.jsonl"', '"../talks.jsonl"')
    for name in ("../../evil", "..", "/tmp/evil/x"):
        (inside / "tiny.toml").write_text(f'{text}\n[[experiment.variants]]\nname = "{name}"\n')
        done = gistchat("run", "tiny.toml", "--out", "r", cwd=inside)
        assert done.returncode == 1
        assert done.stderr.startswith("error: tiny.toml:")
        assert len(done.stderr.splitlines()) == 1
    assert sorted(tiny_folder.iterdir()) == sorted([*before, inside])
    assert [path.name for path in inside.iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize("names", [("LoRA", "lora"), ("a b", "a-b"), ("A  b", "a B"), ("x", "x")])
def test_variants_whose_runs_would_share_a_folder_are_refused(names, tmp_path):
    recipe = Recipe(experiment=ExperimentConfig(variants=[VariantConfig(name) for name in names]))
    with pytest.raises(UserError, match="each needs a name of its own"):
        members(recipe, tmp_path)


@pytest.mark.parametrize("seeds", [[0, 0], [-1], [2**32], [1, 2, 1]])
def test_seeds_that_no_run_can_have_are_refused(seeds):
    with pytest.raises(UserError, match=r"experiment\.seeds"):
        recipe_from_dict({"experiment": {"seeds": seeds}}, "r.toml")


@pytest.mark.parametrize("names", [("a", "A"), ("é", "e\u0301"), ("a", "a")])
def test_corpora_and_runs_of_the_same_name_are_told_apart_before_they_meet(names, tmp_path):
    assert repeated(names) == names[1]
    mix = [MixConfig("jsonl", "x", name) for name in names]
    with pytest.raises(UserError, match="is there twice"):
        default_folder(DataConfig(mix=mix))
    with pytest.raises(UserError, match="two runs are called"):
        named_runs([tmp_path / str(number) / name for number, name in enumerate(names)])


@pytest.mark.parametrize(
    ("model", "folder"),
    [("./mine", "tiny-mine"), (".", "tiny-{here}"), ("org/GPT", "tiny-GPT"), ("x/..", "tiny-{here}")],
)
def test_the_runs_folder_is_named_after_the_model(model, folder, tiny_folder, monkeypatch):
    from gistchat.cli.run import load

    monkeypatch.chdir(tiny_folder)
    _, out = load("tiny.toml", model=model)
    assert out == Path("runs") / folder.format(here=tiny_folder.name)


@pytest.mark.parametrize("model", ["a\\..\\b", "x" * 300, "name ", "model.", "\x1b[2J"])
def test_a_model_whose_name_no_folder_can_have_needs_out(model, tiny_folder):
    done = gistchat("train", "tiny.toml", "--model", model, cwd=tiny_folder)
    assert done.returncode == 1
    assert "must be a plain name; give --out FOLDER" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("source", ["..", "/", ".ckpt"])
def test_an_import_goes_into_a_folder_below_runs(source, tmp_path):
    inside = tmp_path / "inside ."  # a name that no run takes
    inside.mkdir()
    work = inside / "work"
    work.mkdir()
    done = gistchat("import-ckpt", source, cwd=work)
    assert done.returncode == 1
    assert "give --out FOLDER" in done.stderr
    assert not any(work.iterdir())


PATH = {
    "empty": ("", "an empty name of a file or folder"),
    "NUL": ("a\0b", "no file has such a name"),
    "root": ("/", "is the root of the file system"),
    "also root": ("/..", "is the root of the file system"),
    "file": ("talks.jsonl", "talks.jsonl: is a file; give a folder"),
    "below a file": ("talks.jsonl/x/y", "talks.jsonl: is a file; give a folder"),
}
COMMANDS = {
    "run": ["run", "tiny.toml", "--out"],
    "train": ["train", "tiny.toml", "--out"],
    "prepare": ["prepare", "jsonl", "--from", "talks.jsonl", "--out"],
    "compare": ["compare", "a", "b", "--out"],
    "import-ckpt": ["import-ckpt", "x.ckpt", "--out"],
    "export": ["export", "a"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", PATH)
def test_an_out_that_is_none_is_refused_at_once(command, kind, tiny_folder):
    place, message = PATH[kind]
    before = {path: path.read_bytes() for path in tiny_folder.iterdir()}
    done = gistchat(*COMMANDS[command], place, cwd=tiny_folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert before == {path: path.read_bytes() for path in tiny_folder.iterdir()}


@pytest.mark.parametrize("place", ["", "a\0b"])
@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "{}"],
        ["chat", "{}"],
        ["chat", "--load", "{}"],
        ["reply", "{}", "out.jsonl"],
        ["reply", "talks.jsonl", "{}"],
        ["summarize", "{}"],
        ["compare", "{}", "b"],
        ["evaluate", "--predictions", "{}", "--references", "talks.jsonl"],
        ["judge", "{}", "--of", "a", "--against", "b", "--url", "http://localhost:1", "--model", "m"],
        ["import-ckpt", "{}"],
    ],
)
def test_an_argument_that_is_no_path_is_one_line(words, place, tiny_folder):
    done = gistchat(*(word.format(place) for word in words), cwd=tiny_folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "\0" not in done.stderr


@pytest.mark.parametrize(
    "setting",
    ["data.source", "data.folder", "model.name", "summary.prompt", "summary.model", "train.deepspeed", "data.corpus"],
)
def test_a_path_of_a_recipe_with_nul_is_named(setting, tiny_folder):
    section, _, field = setting.partition(".")
    (tiny_folder / "bad.toml").write_text(f'seed = 1\n[{section}]\n{field} = "a\\u0000b"\n')
    done = gistchat("run", "bad.toml", cwd=tiny_folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: bad.toml:3: {setting}: 'a\\x00b' holds the character NUL"]


def test_prepare_into_the_folder_one_is_in(tiny_folder):
    inside = tiny_folder / "inside"
    inside.mkdir()
    (inside / "mine.txt").write_text("kept")
    done = gistchat("prepare", "jsonl", "--from", "../talks.jsonl", "--out", ".", cwd=inside)
    assert done.returncode == 0, done.stderr
    assert {"train.jsonl", "validation.jsonl", "test.jsonl", "report.json", "mine.txt"} <= set(os.listdir(inside))
    assert (inside / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("folder", [".", "..", "x/.."])
def test_data_folders_without_a_name_of_their_own(folder, dialogue_file, tmp_path, monkeypatch):
    work = tmp_path / "one" / "two"
    (work / "x").mkdir(parents=True)
    monkeypatch.chdir(work)
    config = small_recipe(dialogue_file, Path(folder)).data
    report, new = prepare(config, default_folder(config))
    assert new
    assert report["kept"] == 20
    assert (work / folder / "train.jsonl").exists()


def test_a_run_in_the_folder_one_is_in(tiny_folder):
    inside = tiny_folder / "inside"
    inside.mkdir()
    (inside / "mine.txt").write_text("kept")
    words = ["train", "../tiny.toml", "--set", "data.source=../talks.jsonl", "--set", "train.steps=1", "--out", "."]
    done = gistchat(*words, cwd=inside)
    assert done.returncode == 0, done.stderr
    assert (inside / "checkpoint" / "gistchat.json").exists()
    assert (inside / "mine.txt").read_text() == "kept"


def test_an_export_does_not_replace_the_folder_one_is_in(run_folder, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    done = gistchat("export", str(run_folder), ".", cwd=tmp_path)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert os.listdir(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("words", [["."], [".", "--force"], ["..", "--force"]])
def test_replies_go_into_a_file(words, run_folder, tiny_folder):
    done = gistchat("reply", "talks.jsonl", words[0], str(run_folder), *words[1:], cwd=tiny_folder)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is a folder; name a file" in done.stderr


@pytest.mark.parametrize("out", ["a", ".", "sub/../a"])
def test_a_comparison_does_not_replace_a_runs_report(out, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text("{}")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "sub").mkdir()
    done = gistchat("compare", "a", "b", "--out", out, cwd=tmp_path)
    assert done.returncode == 1
    assert "holds a run, whose report would be replaced" in done.stderr
    assert (tmp_path / "a" / "metrics.json").read_text() == "{}"


def test_paths_that_are_none():
    for text in ("", "a\0b"):
        with pytest.raises(UserError):
            checked_path(text)
    with pytest.raises(UserError):
        folder_to_write("/")
    assert folder_to_write("runs/x") == Path("runs/x")
