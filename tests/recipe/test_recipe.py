from pathlib import Path

import pytest

from gistchat.errors import UserError
from gistchat.recipe.load import RANGES, fields, load_recipe

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
            r"r\.toml: unknown field train\.lerning_rate; did you mean train\.learning_rate",
        ),
        ("[trian]\nsteps = 1", [], r"unknown field trian; did you mean train"),
        ("steps = 1", [], r"unknown field steps; did you mean train\.steps"),
        ("[train]\nsteps = 'many'", [], r"train\.steps must be of type int, not 'many'"),
        ("[train]\nsteps = true", [], r"train\.steps must be of type int"),
        ("[train]\nstrategies = 'last'", [], r"train\.strategies must be a list of strings"),
        ("train = 5", [], r"\[train\] must be a table"),
        ("[train\n", [], r"r\.toml: not valid TOML.*line 1"),
        ("", ["train.stps=1"], r"--set: unknown field train\.stps; did you mean train\.steps"),
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


def test_every_number_has_a_range():
    assert {name for name, kind, _, _ in fields() if kind in ("int", "float")} == {*RANGES, "data.mix[].weight"}
