"""Measure ours against the plain way, written out beside it: benchmarks/results.json and docs/benchmarks.md.

    make bench                                   all of them
    .venv/bin/python benchmarks/run.py NAME...   some of them

Each pair runs interleaved in one process, several times; the ratio is the median of the pairs' ratios. Peak memory
is of a fresh process that does one side once. Absolute figures are of the machine they were made on.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from figures import Measurement, Pair, Timed, peak_mb

from gistchat.progress import say

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"


def rate(side: Callable[[object], int | Timed], state: object) -> float:
    """Items per second of one call."""
    start = time.perf_counter()
    done = side(state)
    seconds = time.perf_counter() - start
    return done.items / done.seconds if isinstance(done, Timed) else done / seconds


def measure(pair: Pair | Measurement) -> dict:
    if isinstance(pair, Measurement):
        return {
            "name": pair.name,
            "unit": pair.unit,
            "baseline": None,
            "ours": pair.take(),
            "ratio": None,
            "bound": pair.bound,
            "repeats": 1,
            "explanation": pair.explanation,
        }
    state = pair.setup()
    rates = []
    for number in range(pair.repeats):
        rates.append((rate(pair.baseline, state), rate(pair.ours, state)))
        say(f"{pair.name} {number + 1}/{pair.repeats}: {rates[-1][0]:.1f} | {rates[-1][1]:.1f} {pair.unit}")
    return {
        "name": pair.name,
        "unit": pair.unit,
        "baseline": statistics.median(first for first, _ in rates),
        "ours": statistics.median(second for _, second in rates),
        "ratio": statistics.median(second / first for first, second in rates),
        "bound": pair.bound,
        "baseline_peak_mb": peak_mb(pair, "baseline") if pair.peaks else None,
        "ours_peak_mb": peak_mb(pair, "ours") if pair.peaks else None,
        "repeats": pair.repeats,
        "explanation": pair.explanation,
    }


def all_pairs() -> list[Pair | Measurement]:
    import evaluate_items
    import export_same
    import generation
    import llama
    import long_chat
    import long_dialogues
    import prepare_corpus
    import proxy_overhead
    import retrieval_cost
    import rolling_turn_cost
    import serving
    import textrank_prefixes
    import thousand_turns
    import training

    return [
        prepare_corpus.PAIR,
        prepare_corpus.PEAK,
        textrank_prefixes.PAIR,
        textrank_prefixes.PICKS,
        retrieval_cost.TURN,
        retrieval_cost.SEARCH,
        retrieval_cost.BESIDE_FTS5,
        retrieval_cost.INDEXING,
        retrieval_cost.RESTART,
        rolling_turn_cost.FIGURE,
        *long_dialogues.SUMMARIES,
        evaluate_items.PAIR,
        evaluate_items.SMALL,
        evaluate_items.RANKS,
        evaluate_items.BOOTSTRAP,
        long_dialogues.ANALYSIS,
        training.TOKENS,
        training.SHARE,
        training.MEMORY,
        training.ALL_TARGETS,
        llama.FIRST,
        llama.FIRST_BY_TORCH,
        llama.BARE_PAIR,
        llama.GENERATE_PAIR,
        generation.CACHED,
        generation.BATCH,
        generation.BATCH_WHOLE,
        thousand_turns.CHAT,
        export_same.FIGURE,
        long_chat.FIGURE,
        serving.PAIR,
        serving.GAIN,
        proxy_overhead.FIGURE,
    ]


def page(results: list[dict]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Generated from `benchmarks/results.json` by `make bench`. Each pair ran interleaved; `ratio` is the median of",
        "the pairs' ratios (ours over baseline). Memory is the peak above the setup, in a fresh process.",
        "",
        "| name | unit | baseline | ours | ratio | bound | baseline peak MB | ours peak MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for found in results:
        figures = [_shown(found.get(name)) for name in ("baseline", "ours", "ratio", "bound")]
        figures += [_shown(found.get(name), 0) for name in ("baseline_peak_mb", "ours_peak_mb")]
        lines.append(f"| `{found['name']}` | {found['unit']} | {' | '.join(figures)} |")
    lines.append("")
    for found in results:
        lines.append(f"- `{found['name']}` ({found['repeats']} pairs): {found['explanation']}")
    return "\n".join(lines) + "\n"


def _shown(figure: float | None, digits: int | None = None) -> str:
    if figure is None:
        return ""
    digits = digits if digits is not None else 2 if figure < 10 else 1
    return f"{figure:,.{digits}f}"


def main() -> None:
    pairs = all_pairs()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(pair.name for pair in pairs))
    names = parser.parse_args().names or [pair.name for pair in pairs]
    unknown = set(names) - {pair.name for pair in pairs}
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    kept = {found["name"]: found for found in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}
    for pair in pairs:
        if pair.name in names:
            kept[pair.name] = measure(pair)
            results = [kept[pair.name] for pair in pairs if pair.name in kept]
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            PAGE.write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
