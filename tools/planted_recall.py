"""Write dialogues with planted facts as questions with evidence, which `gistchat recall` measures without any model.

.venv/bin/python tools/planted_recall.py planted.json    # then: gistchat recall planted.json --budgets 128

The small talk between the facts and the questions is of the corpus's test split. Every fact is asked for in two ways:
the categories say how many turns ago the last one was told, and whether the question shares a content word with it.
"""

import argparse
import random
from pathlib import Path
from typing import Any

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.evaluate.planted_questions import DISTANCES, Planted, plant
from gistchat.examples.small_talk import SmallTalk
from gistchat.files import write_json
from gistchat.prepare.prepare import default_folder, prepare
from gistchat.recipe.schema import DEFAULT_CORPUS, DataConfig

WORDING = {True: "shared word", False: "no shared word"}


def conversation(name: str, planted: Planted, distance: int) -> dict[str, Any]:
    """A dialogue in the layout of `gistchat recall`; turns are counted from 1."""
    questions = [
        {
            "question": fact.question(shared),
            "evidence": [planted.turn_of(i) + 1],
            "category": f"{distance:,} turns, {wording}",
        }
        for i, fact in enumerate(planted.facts)
        for shared, wording in WORDING.items()
    ]
    return {"id": name, "turns": [turn._asdict() for turn in planted.turns], "questions": questions}


def conversations(talk: SmallTalk, dialogues: int) -> list[dict[str, Any]]:
    """So many dialogues at each distance."""
    return [
        conversation(name, plant(random.Random(f"planted {name}"), distance, talk), distance)
        for distance in DISTANCES
        for name in (f"planted-{distance}-{i}" for i in range(dialogues))
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--dialogues", type=int, default=20, help="at each distance; each has ten questions")
    parser.add_argument("--corpus", default=DEFAULT_CORPUS, help="whose test split the small talk is of")
    parser.add_argument("--source", default="", help="its file or folder, as data.source of a recipe")
    arguments = parser.parse_args()
    config = DataConfig(corpus=arguments.corpus, source=arguments.source)
    prepare(config, folder := default_folder(config))
    talk = SmallTalk(load_dialogues(folder / "test.jsonl"))
    write_json(arguments.out, conversations(talk, arguments.dialogues))
    print(f"-> {arguments.out}")
