"""Score the paper's published replies again where its multi-turn parent answered the same turn as the others.

.venv/bin/python docs/paper_scores.py FOLDER    # with the paper's bart_11e.json, multiturn_11e.json, gt.json and so on
"""

import argparse
import re
from pathlib import Path

from gistchat import metrics
from gistchat.analysis import reply_metrics
from gistchat.metrics import Sampled
from gistchat.storage import read_json

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
    weights = metrics.resample_weights(len(same), RESAMPLES, 0)
    found = {}
    for name in SYSTEMS:
        replies = [files[name]["ans"][i] for i in same]
        for metric in reply_metrics(replies, [golds[i] for i in same]):
            if metric.name in SHOWN:
                found[name, metric.name] = Sampled.of(metric, len(same), weights)
    print(f"| replies | {' | '.join(SHOWN.values())} |\n|---|{'---:|' * len(SHOWN)}")
    for name, title in SYSTEMS.items():
        print(f"| {title} | {' | '.join(shown(found[name, metric].interval()) for metric in SHOWN)} |")
    for name in list(SYSTEMS)[:-1]:
        differences = [metrics.compared(found[name, metric], found["multiturn", metric]) for metric in SHOWN]
        cells = [f"{one['value']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]" for one in differences]
        print(f"| {SYSTEMS[name]} minus multi-turn | {' | '.join(cells)} |")


def shown(interval: metrics.Interval) -> str:
    return f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the paper's outputs")
    main(parser.parse_args().folder)
