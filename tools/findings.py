"""Write docs/findings.md and its plots from an experiment's folder.

.venv/bin/python tools/findings.py runs/findings --hours 1.5 --memory runs/adapter runs/adapter/on/msc

`--hours` is how long the experiment took. What a person read in the figures stands in docs/findings_reading.md, which
is put at the page's beginning, and in docs/findings_memory.md, which is put before the tables of the runs about memory.
"""

import argparse
from pathlib import Path
from typing import Any

from gistchat.files import read_json
from gistchat.report.plots import plot_budgets, plot_depth, plot_pareto, plot_probe
from gistchat.report.sentences import compared, explanation, verdicts
from gistchat.report.tables import markdown, variants
from gistchat.report.write import report_tables

DOCS = Path(__file__).parent.parent / "docs"
READING = DOCS / "findings_reading.md"
MEMORY_READING = DOCS / "findings_memory.md"
PLOTS = {
    "budget": ("Perplexity by budget, with 95 % intervals of each system alone", plot_budgets),
    "pareto": (
        "Perplexity by mean prompt tokens; nothing is both cheaper and better than what is on the front",
        plot_pareto,
    ),
    "depth": ("Perplexity by how many turns lie before the reply", plot_depth),
    "probe": ("Planted facts answered; the tick: how often the fact stood in the prompt", plot_probe),
}
HEAD = """\
# Findings: does the gist serve as well as the history?

On chitchat, {replies} different held-out replies of {dialogues} dialogues, at {budgets} tokens of context; written by
`tools/findings.py` from the files of one experiment.

    gistchat run findings
    .venv/bin/python tools/findings.py runs/findings --hours {hours}

took {hours} hours on two processor cores; stopped, the first command goes on where it was. The models: {models}.

## In short

{verdicts}

{reading}
"""
FOOT = """\
## What this does not show

- One corpus (English small talk of students), small models, little training, budgets of up to 128 tokens. Nothing
  here says what a larger model would do with a better summary.
- The history is the latest turns that fit a budget; the whole of it (`full`) was not among the conditions.
- The summaries are sentences picked by TextRank from the dialogue; no written ones were tried.
- Perplexity of the one reply that was given is not quality as people judge it. Overlap of {answered} greedy replies
  of a system with the gold ones says little; where the report warns of a metric, read no differences in it.
- Three seeds, each with training replies and test replies of its own: the intervals cover other dialogues of this
  kind, not other training runs.
"""


def write(folder: Path, hours: float, memory: list[Path]) -> None:
    found = read_json(folder / "metrics.json")
    names = variants(found)
    results = [one for one in found["results"] if "rougeL" in one["metrics"] and one["model"] != "control"]
    lines = [
        HEAD.format(
            replies=found["replies"],
            dialogues=found["dialogues"],
            budgets=", ".join(map(str, found["budgets"])),
            hours=f"{hours:g}",
            models="; ".join(names),
            verdicts="\n".join(f"- {line}" for line in verdicts(found)),
            reading=READING.read_text().strip(),
        )
    ]
    lines += ["## What memory adds", "", MEMORY_READING.read_text().rstrip(), ""] if memory else []
    for run in memory:
        lines += _run(run)
    lines += _warnings(found)
    tables = report_tables(found)
    lines += ["## Results", "", explanation(found), ""]
    for name in names:
        lines += [f"### {name}", "", *_plots(found, name), *markdown(tables["Results"][name]), ""]
    for title, family in (("Strategies", "strategy"), ("Controls", "control")):
        lines += [f"## {title}, pair by pair", "", *(f"- {line}" for line in compared(found, family)), ""]
    for section in ("Controls", "Costs", "Planted facts", "By depth", "By seed"):
        if section in tables:
            lines += [f"## {section}" if section != "Controls" else "## Replies that no model made", ""]
            for name, table in tables[section].items():
                lines += ([f"### {name}, {section.lower()}", ""] if name else []) + [*markdown(table), ""]
    answered = sorted({one["metrics"]["rougeL"]["items"] for one in results})
    lines.append(FOOT.format(answered=" to ".join(map(str, dict.fromkeys((answered[0], answered[-1]))))))
    (DOCS / "findings.md").write_text("\n".join(lines))


def _run(folder: Path) -> list[str]:
    """The tables of a single run, which the reading before them is about."""
    found = read_json(folder / "metrics.json")
    elsewhere = folder.parent.name == "on"  # `evaluate --corpus` writes there
    name = f"{folder.parent.parent.name} on {folder.name}" if elsewhere else folder.name
    lines = []
    for title, tables in report_tables(found).items():
        if title in ("Results", "Planted facts", "Costs"):
            for table in tables.values():
                lines += [f"### {name}: {title.lower()}", "", *markdown(table), ""]
    for family in ("strategy", "control"):
        lines += [f"- {line}" for line in compared(found, family)]
    return [*lines, ""]


def _warnings(found: dict[str, Any]) -> list[str]:
    if not found["warnings"]:
        return []
    return ["## Warnings of the report", "", *(f"- {line}" for line in found["warnings"]), ""]


def _plots(found: dict[str, Any], name: str) -> list[str]:
    lines = []
    for kind, (caption, plot) in PLOTS.items():
        path = DOCS / f"findings_{'_'.join(name.lower().replace('-', '').split())}_{kind}.svg"
        plot(found, name).savefig(path, metadata={"Date": None})
        lines += [f"![{caption}]({path.name})", "", f"*{caption}.*", ""]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path, help="the folder of a run of the recipe findings")
    parser.add_argument("--hours", type=float, required=True, help="how long it took")
    parser.add_argument("--memory", type=Path, nargs="*", default=[], help="folders of runs about memory")
    arguments = parser.parse_args()
    write(arguments.experiment, arguments.hours, arguments.memory)
    print(f"-> {DOCS / 'findings.md'}")
