"""Made-up rows of predictions, analysed: what the tests of the report show."""

import random
from functools import cache

from gistchat.evaluate.analysis import analyse, analyse_probe

LOG = [{"step": 1, "loss": 4.0}, {"step": 2, "loss": 3.0}, {"step": 2, "eval_loss": 3.5}]
HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> & <b>bold</b>'
WORDS = ["river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library", "engine", "winter"]
DIALOGUES = 30
NEAR, FAR = 0.0, 0.2  # nats per token above the baseline: too little to be shown, and enough


def sentence(rng: random.Random) -> str:
    return "I saw the " + " ".join(rng.choices(WORDS, k=6)) + "."


def make_rows(penalty: dict, budget: int | None = 64, model: str = "tuned", seed: int = 0, variant: str = "") -> list:
    """Rows of a system for each strategy, by how many nats per token it lies above the others; five have replies."""
    rows = []
    for i in range(DIALOGUES):
        rng = random.Random(f"{seed} {i}")
        turns = [{"role": ("user", "assistant")[k % 2], "text": sentence(rng)} for k in range(7)]
        gold, level = sentence(rng), rng.uniform(2, 4)
        for strategy, more in penalty.items():
            own = random.Random(f"{strategy} {budget} {model} {seed} {i} {variant}")
            shown = turns if strategy == "recent" else turns[-1:]
            gist = "" if strategy == "recent" else "User: " + turns[0]["text"]
            answered = i < 5
            rows.append(
                {
                    "id": f"d{i}#7", "dialogue": f"d{i}", "turn": 7 + 20 * (i % 2), "model": model,
                    "strategy": strategy, "budget": budget, "gist": gist, "boundary": 0, "context": shown,
                    "prompt": f"<bos>{gist}" + "".join(f"<sp>{turn['text']}" for turn in shown) + "<sp1>",
                    "prompt_tokens": 20 * len(shown), "reused_tokens": 10, "context_tokens": 5, "gold": gold,
                    "gold_tokens": 10, "gold_bytes": len(gold), "nats": 10 * (level + more + own.gauss(0, 0.03)),
                    "rank": own.choice([1, 2]) if answered else None, "candidates": 20 if answered else None,
                    "reply": sentence(own) if answered else None, "reply_tokens": 9 if answered else None,
                    "seconds": 1.0 if answered else None, "prefill_seconds": 0.25 if answered else None,
                }
            )  # fmt: skip
            if variant:
                rows[-1] |= {"variant": variant, "seed": seed}
    return rows


def make_probe(rows: list) -> list:
    """Four questions to each system, of which two are answered."""
    systems = {(row.get("variant", ""), row["model"], row["strategy"], row["budget"]) for row in rows}
    return [
        dict(zip(("variant", "model", "strategy", "budget"), system, strict=True))
        | {"id": f"p{i}", "dialogue": f"p{i}", "distance": 10 * (i % 2), "right": i < 2, "shown": i < 3}
        for system in sorted(systems, key=str)
        for i in range(4)
    ]


def analysed(rows: list, **facts) -> dict:
    return analyse(rows, "recent", 400, 0) | {"probe": analyse_probe(make_probe(rows), 100, 0)} | facts


@cache
def single() -> tuple[dict, list]:
    """One budget: full is best, then the baseline, summary and, worst, last."""
    held = {"recent": FAR, "summary": 2 * FAR, "shuffled": 3 * FAR}
    rows = make_rows({"last": 4 * FAR, "full": 0.0}, budget=None) + make_rows(held)
    rows += make_rows({"recent": 5 * FAR, "summary": 5 * FAR + NEAR}, model="base")
    facts = {"items": DIALOGUES, "reply_items": 5, "left_out": 2, "cache_bytes_per_token": 1_000_000}
    return analysed(rows, summary_seconds=0.125, **facts), rows


@cache
def budgets() -> tuple[dict, list]:
    """Summary is worse at 16, like the baseline at 64, better at 256; the control follows it, then differs."""
    rows = make_rows({"last": 0.9, "full": 0.1}, budget=None)
    rows += make_rows({"recent": 0.4, "summary": 0.4 + FAR, "shuffled": 0.4 + FAR}, budget=16)
    rows += make_rows({"recent": 0.4, "summary": 0.4 + NEAR, "shuffled": 0.4 + FAR}, budget=64)
    rows += make_rows({"recent": 0.4, "summary": 0.4 - FAR, "shuffled": 0.4 + FAR}, budget=256)
    return analysed(rows), rows


@cache
def experiment() -> tuple[dict, list]:
    """Two variants with two seeds each; summary is worse in one, and better in the other."""
    rows = []
    for seed in (1, 2):
        rows += make_rows({"recent": 0.3, "summary": 0.3 + FAR}, seed=seed, variant="small")
        rows += make_rows({"recent": 0.3, "summary": 0.3 - FAR}, seed=seed, variant="large")
    facts = {"small": {"cache_bytes_per_token": 1e6}, "large": {"cache_bytes_per_token": 2e6}}
    return analysed(rows, facts=facts), rows


@cache
def served() -> tuple[dict, list]:
    """Replies without likelihoods: summary is better than the baseline, last and another's summary are worse."""
    rows = []
    for row in make_rows({"recent": 0, "last": 0, "summary": 0, "shuffled": 0}, model="served"):
        right = {"recent": 4, "last": 1, "summary": 6, "shuffled": 3}[row["strategy"]]  # words of the gold reply
        words = row["gold"].rstrip(".").split()[3:]
        reply = " ".join([*words[:right], *["nobody"] * (6 - right)])
        budget = None if row["strategy"] == "last" else 64
        kept = {name: value for name, value in row.items() if name not in UNKNOWN}
        rows.append(kept | {"reply": reply, "reply_tokens": 6, "seconds": 1.0, "budget": budget})
    return analysed(rows), rows


UNKNOWN = ("nats", "rank", "candidates", "gold_tokens", "reused_tokens", "prefill_seconds")
