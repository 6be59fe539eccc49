"""The table of strategies: what reads nothing that is given raises, and one new entry is everywhere."""

import json
import subprocess
import sys

import pytest
from conftest import make_dialogue

from gistchat.context.strategies import STRATEGIES, Request, build_context
from gistchat.context.types import SOURCE_NAMES, Sources
from gistchat.errors import UserError
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens

# What somebody who adds a strategy writes, in one place.
TOY = """
import json, sys
from gistchat.context.strategies import STRATEGIES, Strategy
from gistchat.context.types import Context

def opening(request):
    older, last = request.split()
    kept = tuple(older[:1])
    return Context((), kept, last, 0, sum(map(request.costs.turn_cost, kept)))

STRATEGIES["opening"] = Strategy("opening", opening, help="the first turn and the last")
from gistchat.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv = ["gistchat", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    print(chr(0))
"""


@pytest.mark.parametrize("name", [name for name, strategy in STRATEGIES.items() if strategy.reads])
def test_a_strategy_that_reads_what_nobody_gives_raises(name):
    turns = make_dialogue(0).turns
    request = Request(turns, turns[-2].speaker, 96, SpeakerTokens(gpt2_tokenizer()), Sources())
    with pytest.raises(UserError, match=f"the strategy '{name}' reads .*, which nothing gives here"):
        build_context(name, request)


def test_every_source_has_a_name_for_people():
    assert {source for strategy in STRATEGIES.values() for source in strategy.reads} <= SOURCE_NAMES.keys()
    assert Sources.__dataclass_fields__.keys() == SOURCE_NAMES.keys()


def test_an_unknown_strategy_is_named_with_those_there_are():
    with pytest.raises(UserError, match="unknown context strategy 'hybird'; there are: last, recent"):
        build_context("hybird", Request((), "a", 0, None, Sources()))


def test_a_strategy_added_in_one_place_trains_evaluates_chats_and_stands_in_report_and_help(tiny_folder):
    settings = ["--set", "train.strategies=opening,recent", "--set", "train.steps=2"]
    run = tiny_folder / "runs" / "tiny"
    commands = [
        ["run", "tiny.toml", *settings],
        ["chat", str(run), "--strategy", "opening", "--max-reply-tokens", "4"],
        ["chat", "--help"],
        ["fields"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", TOY, json.dumps(commands)],
        cwd=tiny_folder,
        input="Hello\n/strategy opening\n/help\n",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    table, said, *helps = done.stdout.split(chr(0))[:-1]
    assert "opening" in table
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    mine = [row for row in rows if row["strategy"] == "opening"]
    assert {row["model"] for row in mine} == {"base", "tuned"}
    assert all(len(row["context"]) == 2 and row["nats"] > 0 for row in mine)
    report = (run / "report.html").read_text()
    assert "opening" in report
    assert "Tuned opening" in (run / "report.md").read_text()
    assert (
        json.loads((run / "checkpoint" / "gistchat.json").read_text())["recipe"]["train"]["strategies"][0] == "opening"
    )
    assert "context strategy opening" in said
    assert "| opening" in said  # the help of /strategy
    assert len(helps) == 2
    assert all("opening" in text for text in helps)
