"""Print what runs of the recipe paper measured, for the table in docs/paper.md.

.venv/bin/python tools/paper_ours.py runs/paper
"""

import argparse
from pathlib import Path

from gistchat.evaluate import bootstrap
from gistchat.evaluate.bootstrap import Metric, Sampled
from gistchat.evaluate.metrics import METRICS, OLD_ROUGE
from gistchat.files import read_json_lines
from gistchat.report.tables import figure

SHOWN = {"perplexity": "perplexity", "rouge1_old": "the paper's ROUGE-1", "rouge1": "ROUGE-1", "rougeL": "ROUGE-L"}
SHOWN |= {"chrf": "chrF", "f1": "F1"}
RESAMPLES = 10_000


def main(folder: Path) -> None:
    print(f"| model, context | {' | '.join(SHOWN.values())} |\n|---|{'---:|' * len(SHOWN)}")
    for path in sorted(folder.glob("*/predictions.jsonl")):
        rows = [row for row in read_json_lines(path) if row["model"] == "tuned"]
        for strategy in dict.fromkeys(row["strategy"] for row in rows):
            own = [row for row in rows if row["strategy"] == strategy]
            answered = [row for row in own if row["reply"] is not None]
            found = {"perplexity": cell(METRICS["perplexity"].of(own), len(own))}
            for entry in (METRICS.get(name, OLD_ROUGE) for name in SHOWN):
                if entry.needs == "reply":
                    found[entry.name] = cell(entry.of(answered), len(answered))
            name = f"{path.parent.name}, {strategy} ({len(own)} replies, {len(answered)} written)"
            print(f"| {name} | {' | '.join(found[metric] for metric in SHOWN)} |")


def cell(metric: Metric, items: int) -> str:
    """One reply of each dialogue, so that replies are resampled."""
    return figure(vars(Sampled.of(metric, items, bootstrap.resample_weights(items, RESAMPLES, 0)).interval()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the experiment")
    main(parser.parse_args().folder)
