import dataclasses
from pathlib import Path

import pytest

from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.limits import LARGEST_RECIPE, LONGEST_RECIPE_LINE
from gistchat.memory.summarizers.extractive import METHODS
from gistchat.recipe import load
from gistchat.recipe.load import (
    _field_infos,
    _line_of,
    fields,
    find_recipe,
    load_recipe,
    override,
    recipe_from_dict,
    shipped_recipes,
)
from gistchat.recipe.schema import EXTRACTIVE, Recipe

RECIPES = Path(__file__).parents[2] / "gistchat" / "recipes"


def write(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    return tmp_path / "r.toml"


def test_shipped_recipes_load():
    for path in RECIPES.glob("*.toml"):
        assert load_recipe(path).name == path.stem


def test_overrides_have_the_fields_type(tmp_path):
    path = write(tmp_path, "[train]\nsteps = 3\n")
    recipe = load_recipe(
        path,
        [
            "train.steps=7",
            "train.learning_rate=1",
            "model.name=./x=y",
            "evaluate.base=false",
            "train.strategies=last,recent",
        ],
    )
    assert (recipe.train.steps, recipe.train.learning_rate, recipe.model.name) == (7, 1.0, "./x=y")
    assert recipe.evaluate.base is False
    assert recipe.train.strategies == ["last", "recent"]


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "[train]\nlerning_rate = 1.0",
            [],
            r"r\.toml:2: unknown field train\.lerning_rate; did you mean train\.learning_rate",
        ),
        ("[trian]\nsteps = 1", [], r"r\.toml:1: unknown field trian; did you mean train"),
        ("steps = 1", [], r"unknown field steps; did you mean train\.steps"),
        ("[train]\nsteps = 'many'", [], r"r\.toml:2: train\.steps must be of type int, not 'many'"),
        ("[train]\nsteps = true", [], r"train\.steps must be of type int"),
        ("[train]\nstrategies = 'last'", [], r"train\.strategies must be a list of strings"),
        ("train = 5", [], r"\[train\] must be a table"),
        ("[train\n", [], r"r\.toml: not valid TOML.*line 1"),
        ("", ["train.stps=1"], r"--set: unknown field train\.stps; did you mean train\.steps"),
        ("", ["data.mix[].weight=2"], r"--set: unknown field data\.mix\[\]\.weight; did you mean data\.mix\?"),
        ("", ["train.steps"], r"expected section\.field=value"),
        ("", ["train.steps=x"], r"--set: train\.steps must be of type int, not 'x'"),
        ("", ["chat.strategy=hybird"], r"'hybird' is not one of .*did you mean hybrid"),
        ("", ["train.batch_size=0"], r"train\.batch_size must be at least 1, not 0"),
        ("", ["train.learning_rate=NaN"], r"train\.learning_rate must be at least 0"),
        ("", ["chat.top_p=2"], r"chat\.top_p must be between 0\.01 and 1"),
        ("", ["train.strategies="], r"train\.strategies must name at least one"),
        ("", ["train.schedule=liner"], r"did you mean linear"),
        ("", ["evaluate.strategies=last"], r"'recent' is not among evaluate\.strategies"),
    ],
)
def test_mistakes_are_named(tmp_path, text, overrides, message):
    with pytest.raises(UserError, match=message):
        load_recipe(write(tmp_path, text), overrides)


def test_every_field_is_explained():
    assert all(text for _, _, _, text in fields())


def test_the_summarizers_of_a_recipe_are_those_that_there_are():
    assert tuple(METHODS) == EXTRACTIVE


def test_every_number_has_a_range():
    for name, info in _field_infos(Recipe):
        if info.annotation in (int, float):
            assert any(hasattr(bound, "ge") or hasattr(bound, "gt") for bound in info.metadata), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[data]\ntest_share = 0.6\n\nvalidation_share = 0.5",
            r"data\.test_share \+ data\.validation_share must be below",
        ),
        ("[[data.mix]]\ncorpus = 'msc'\nweight = 0", r"data\.mix\[\]\.weight must be above 0, not 0"),
        ("[[data.mix]]\ncorpus = 'msc'\nname = '../x'", r"data\.mix\[\]\.name: '\.\./x' must be a plain name"),
        ("[data]\nmix = [3]", r"r\.toml:2: data\.mix must be a list of tables, \[\[data\.mix\]\]"),
        ("[data]\nmix = 3", r"r\.toml:2: data\.mix must be a list of tables, \[\[data\.mix\]\]"),
        ("name = 'a/b'", r"r\.toml:1: name: 'a/b' must be a plain name; --out takes a folder"),
        (
            "[evaluate]\nbudgets = [1000]",
            r"r\.toml:2: evaluate\.budgets: 1000 is not between 0 and context\.budget \(96\)",
        ),
        ("[train]\nbudgets = [32, 32]", r"train\.budgets: a budget is there twice"),
        ("[train]\nbudgets = [32, 'x']", r"train\.budgets must be a list of whole numbers, not with 'x'"),
        ("[train]\ntargets = 'all'", r"r\.toml:2: train\.targets 'all' learns every reply"),
        ("[model]\nformat = 'paper-turns'", r"train\.strategies: model\.format 'paper-turns' has no place"),
        ("[summary]\nmethod = 'endpoint'", r"r\.toml:2: summary\.method 'endpoint' needs summary\.url"),
        ("[train]\n# steps = 1\nsteps = -1", r"r\.toml:3: train\.steps must be at least 0, not -1"),
        ("train.steps = -1", r"r\.toml:1: train\.steps must be at least 0, not -1"),
        ("seed = 5000000000", r"r\.toml:1: seed must be between 0 and 4\.29497e\+09"),
    ],
)
def test_values_that_no_stage_can_work_with_are_named_with_their_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load_recipe(write(tmp_path, text))


def test_an_override_leaves_the_recipe_as_it_was():
    recipe = Recipe()
    changed = override(recipe, ["evaluate.strategies=last", "evaluate.baseline=last", "seed=3"])
    assert (changed.evaluate.strategies, changed.evaluate.baseline, changed.seed) == (["last"], "last", 3)
    assert recipe == Recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 1


def test_a_recipe_survives_as_plain_values_and_keeps_the_fingerprint_of_earlier_versions():
    """Prepared data, summaries and runs are current by fingerprints of these values."""
    recipe = override(Recipe(), ["train.learning_rate=1"])
    assert recipe_from_dict(dataclasses.asdict(recipe), "x") == recipe
    before = dataclasses.asdict(override(Recipe(), ["chat.engine=torch"]))  # its default in those versions
    for name in ("url", "model", "system"):  # no stage depends on how a chat goes
        del before["chat"][name]
    del before["memory"], before["context"]["found_share"]  # `search_settings` knows of them
    del before["train"]["fact_items"]  # `describe` does
    del before["summary"]["refresh"]  # `summary_settings` does
    for name in ("gap", "answer_as", "rename", "anonymise", "speakers", "from_date", "stamp", "columns", "keep_lines"):
        del before["data"][name]  # prepared data are made again anyway
    assert fingerprint(before) == "d7880d3a7799"


@pytest.mark.parametrize("engine", ["ctranslate2", "ctranslate2-int8"])
def test_an_engine_of_earlier_versions_is_taken_as_auto_and_that_is_said_once(engine, tmp_path, capsys):
    load.say_once.cache_clear()
    stored = dataclasses.asdict(Recipe())
    stored["chat"] |= {"engine": engine, "top_k": 7}
    recipe = recipe_from_dict(stored, "gistchat.json")
    assert (recipe.chat.engine, recipe.chat.top_k) == ("auto", 7)
    path = write(tmp_path, f'[chat]\nengine = "{engine}"\n')
    assert load_recipe(path).chat.engine == "auto"
    assert load_recipe(path, [f"chat.engine={engine}"]).chat.engine == "auto"
    assert load_recipe(path, ["chat.engine=torch"]).chat.engine == "torch"
    assert capsys.readouterr().err.splitlines() == [f'chat.engine: gistchat has no {engine} any more; taken as "auto"']
    assert stored["chat"]["engine"] == engine
    with pytest.raises(UserError, match=r"'ctranslate3' is not one of auto, llamacpp, torch"):
        override(recipe, ["chat.engine=ctranslate3"])


@pytest.mark.parametrize("value", [["ctranslate2"], {"ctranslate2": 1}, 5])
def test_an_engine_that_is_no_text_is_a_mistake(value):
    with pytest.raises(UserError, match=r"chat\.engine must be of type str"):
        recipe_from_dict({"chat": {"engine": value}}, "x")


def test_recipes_are_found_by_path_and_by_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("demo") == RECIPES / "demo.toml"
    write(tmp_path, "").rename(tmp_path / "demo.toml")
    assert find_recipe("demo.toml") == Path("demo.toml")
    assert find_recipe("demo") == RECIPES / "demo.toml"
    with pytest.raises(UserError, match="no such file; a recipe of this name ships with gistchat: gistchat run own"):
        find_recipe("recipes/own.toml")
    with pytest.raises(UserError, match=r"dmeo: no such recipe; .*demo"):
        find_recipe("dmeo")
    assert set(shipped_recipes()) == {path.stem for path in RECIPES.glob("*.toml")}
    assert all(shipped_recipes().values())


HUGE = {
    "digits": ("[train]\nsteps = " + "9" * 6000, r"r\.toml:2: 6,008 bytes long"),
    "digits on the line": ("[train]\nsteps = " + "9" * 3900, r"r\.toml:2: train\.steps must be between 0 and 1e\+09"),
    "hex digits": ("[train]\nsteps = 0x" + "f" * 3900, r"train\.steps must be .* not a number of thousands of digits"),
    "hex float": ("[chat]\ntemperature = 0x" + "f" * 3900, r"chat\.temperature must be "),
    "hex seed": ("[experiment]\nseeds = [0x" + "f" * 3900 + "]", r"experiment\.seeds: a number of thousands of digits"),
    "hex budget": ("[train]\nbudgets = [0x" + "f" * 3900 + "]", r"train\.budgets: a number of thousands of digits"),
    "deep": ("[train]\nbudgets = " + "[" * 1900 + "]" * 1900, r"not valid TOML: nested too deeply"),
    "deep in lines": ("x = " + "[\n" * 5000 + "]\n" * 5000, r"not valid TOML: nested too deeply"),
    "dotted": ("a." * 1900 + "a = 1", r"unknown field a"),
    "dotted value": ("name." + "a." * 1900 + "a = 1", r"name must be of type str"),
    "long line": ("a." * 20_000 + "a = 1", r"r\.toml:1: 40,005 bytes long"),
    "large": ("# x\n" * 30_000, r"over 65,536 bytes long, which no recipe is"),
    "long name": ("name = '" + "x/" * 1500 + "'", r"name: 'x/x/.*\.\.\. must be a plain name"),
    "NUL": ("name = 'a\0b'", r"not valid TOML"),
    "resamples": (
        "[evaluate]\nresamples = 100000000000",
        r"r\.toml:2: evaluate\.resamples must be between 1 and 100000, not",
    ),
    "negative seed": ("[experiment]\nseeds = [1, -1]", r"experiment\.seeds: -1 is not between 0 and 4,294,967,295"),
    "runs": (
        f"[experiment]\nseeds = {list(range(300))}\nvariants = [{', '.join(['{}'] * 5)}]",
        r"make 1,500 runs; at most 1,000",
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_what_is_too_large_or_deep_is_one_line(tmp_path, kind):
    text, message = HUGE[kind]
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_recipe(path)
    assert len(str(error.value)) < 2100
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["9" * 6000, "-" + "9" * 6000, "[" * 3000, "1e999", "1e11"])
@pytest.mark.parametrize(
    "field", ["train.steps", "chat.temperature", "evaluate.resamples", "train.budgets", "data.seed"]
)
def test_settings_that_are_too_large_are_one_line(tmp_path, field, value):
    (tmp_path / "r.toml").write_text("")
    with pytest.raises(UserError, match=f"--set: {field}") as error:
        load_recipe(tmp_path / "r.toml", [f"{field}={value}"])
    assert len(str(error.value)) < 500


def test_every_number_of_a_recipe_has_a_most():
    numbers = {name: info for name, info in _field_infos(Recipe) if info.annotation in (int, float)}
    assert len(numbers) > 40
    assert [name for name, info in numbers.items() if not any(hasattr(bound, "le") for bound in info.metadata)] == []


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_line_of_a_field_is_found_in_time(name):
    text = (RECIPES / f"{name}.toml").read_text()
    assert len(text) < LARGEST_RECIPE / 4
    assert max(map(len, text.splitlines())) < LONGEST_RECIPE_LINE / 4
    number = _line_of("train.steps", text)
    assert number is None or text.splitlines()[number - 1].startswith("steps")
