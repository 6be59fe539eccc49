"""Score the paper's published replies again where its multi-turn parent answered the same turn as the others.

.venv/bin/python tools/paper_scores.py FOLDER    # with the paper's bart_11e.json, multiturn_11e.json, gt.json and so on
"""

import argparse
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gistchat.evaluate import bootstrap
from gistchat.evaluate.bootstrap import Sampled
from gistchat.evaluate.external_predictions import measures
from gistchat.files import read_json

SYSTEMS = {"textrank": "TextRank", "bart": "BART", "pegasus": "PEGASUS", "multiturn": "multi-turn parent"}
SHOWN = {"rouge1": "ROUGE-1", "rougeL": "ROUGE-L", "chrf": "chrF", "f1": "F1"}
RESAMPLES = 10_000


def last_turn(context: str) -> str:
    """Without what sets the files apart: spaces, capitals and punctuation. Turns are joined by two spaces or more."""
    turns = [turn for turn in re.split(r"\s{2,}", context.strip()) if turn]
    return re.sub(r"[^a-z0-9]", "", turns[-1].lower())


def main(folder: Path) -> None:
    files = {name: read_json(folder / f"{name}_11e.json") for name in SYSTEMS}
    golds = read_json(folder / "gt.json")["ans"]
    contexts = [last_turn(context) for context in files["bart"]["context"]]
    own = [last_turn(context) for context in files["multiturn"]["context"]]
    same = [i for i in range(len(own)) if own[i] and contexts[i].endswith(own[i])]
    print(f"{len(same)} of {len(own)} replies of the multi-turn parent answer the turn that the gold reply answers\n")
    found = sampled(files, golds, same)
    print(f"| replies | {' | '.join(SHOWN.values())} |\n|---|{'---:|' * len(SHOWN)}")
    for name, title in SYSTEMS.items():
        print(f"| {title} | {' | '.join(shown(found[name, metric].interval()) for metric in SHOWN)} |")
    for name in list(SYSTEMS)[:-1]:
        differences = [bootstrap.compared(found[name, metric], found["multiturn", metric]) for metric in SHOWN]
        cells = [f"{one['value']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]" for one in differences]
        print(f"| {SYSTEMS[name]} minus multi-turn | {' | '.join(cells)} |")
    everything = sampled(files, golds, range(len(own)))
    print(f"\nOn all {len(own)}, paired differences that exclude zero:")
    for one, other in itertools.combinations(SYSTEMS, 2):
        for metric in SHOWN:
            difference = bootstrap.compared(everything[one, metric], everything[other, metric])
            if not difference["low"] <= 0 <= difference["high"]:
                print(f"{SHOWN[metric]}: {SYSTEMS[one]} minus {SYSTEMS[other]} {difference['value']:+.1f}")


def sampled(files: dict[str, Any], golds: list[str], chosen: Sequence[int]) -> dict[tuple[str, str], Sampled]:
    """Each system's metrics over some of the replies."""
    weights = bootstrap.resample_weights(len(chosen), RESAMPLES, 0)
    return {
        (name, metric.name): Sampled.of(metric, len(chosen), weights)
        for name in SYSTEMS
        for metric in measures([files[name]["ans"][i] for i in chosen], [golds[i] for i in chosen])
        if metric.name in SHOWN
    }


def shown(interval: bootstrap.Interval) -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the paper's outputs")
    main(parser.parse_args().folder)
