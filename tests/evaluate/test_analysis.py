"""From rows to statements: intervals by dialogue, pairs, Holm, controls in their places, warnings."""

import math
import random

import numpy as np
import pytest

from gistchat.evaluate import bootstrap, metrics
from gistchat.evaluate.analysis import Comparer, System, analyse, analyse_probe, control_rows

WORDS = ["river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library", "engine", "winter"]


def sentence(rng, words=8):
    return "I saw the " + " ".join(rng.choices(WORDS, k=words)) + "."


def make_rows(penalty, dialogues=60, budget=64, seed=0, variant="", replies="near", noise=0.02, **changes):
    """Rows of systems that differ by a known number of nats per token; `replies`: near gold, or as chance has it."""
    rows = []
    for i in range(dialogues):
        rng = random.Random(f"{seed} {i}")
        gold, last, level = sentence(rng), sentence(rng), rng.uniform(2, 4)
        for strategy, more in penalty.items():
            own = random.Random(f"{strategy} {seed} {i} {variant}")
            reply = gold.replace("I saw", "We saw") if replies == "near" else sentence(own)
            rows.append(
                {
                    "id": f"d{i}#7", "dialogue": f"d{i}", "turn": 6 + i, "model": "tuned", "strategy": strategy,
                    "budget": budget, "seed": seed, "variant": variant, "gold": gold, "gold_tokens": 10,
                    "gold_bytes": len(gold), "nats": 10 * (level + more + own.gauss(0, noise)), "prompt_tokens": 50 + i,
                    "reused_tokens": 25, "rank": own.choice([1, 1, 1, 2]), "candidates": 20, "reply": reply,
                    "reply_tokens": 9, "seconds": 1.0, "prefill_seconds": 0.25,
                    "context": [{"role": "user", "text": last}], **changes,
                }
            )  # fmt: skip
    return rows


def found(values, family, of, minus):
    [row] = [row for row in values["comparisons"] if (row["family"], row["of"], row["minus"]) == (family, of, minus)]
    return row


def test_known_differences_are_found_with_their_size_and_nothing_where_there_is_none():
    rows = make_rows({"recent": 0, "summary": 0.05, "hybrid": 0, "shuffled": 0.2})
    values = analyse(rows, "recent", 2000, 0)
    worse = found(values, "strategy", "tuned summary", "tuned recent")
    assert worse["ratio_low"] < math.exp(0.05) < worse["ratio_high"]
    assert worse["significant"]
    assert worse["p_holm"] >= worse["p"]
    assert not found(values, "strategy", "tuned hybrid", "tuned recent")["significant"]
    assert found(values, "control", "tuned summary", "tuned shuffled")["high"] < 0
    assert (values["replies"], values["dialogues"], values["budgets"]) == (60, 60, [64])
    [summary] = [one for one in values["results"] if one["strategy"] == "summary"]
    nats = [row["nats"] for row in rows if row["strategy"] == "summary"]
    assert summary["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(sum(nats) / (10 * 60)))
    sizes = [row["gold_bytes"] for row in rows if row["strategy"] == "summary"]
    assert summary["metrics"]["bits_per_byte"]["value"] == pytest.approx(sum(nats) / math.log(2) / sum(sizes))
    assert summary["metrics"]["hits1"]["value"] > 60


def test_replies_of_one_dialogue_are_drawn_together():
    rows = make_rows({"recent": 0}, dialogues=40)
    alone = analyse(rows, "recent", 2000, 0)["results"][0]["metrics"]["perplexity"]
    ten_each = [{**row, "id": f"{row['id']}-{copy}"} for row in rows for copy in range(10)]
    together = analyse(ten_each, "recent", 2000, 0)["results"][0]["metrics"]["perplexity"]
    assert together["value"] == pytest.approx(alone["value"])
    assert together["high"] - together["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.1)


def test_budgets_are_compared_each_with_its_own_baseline():
    rows = make_rows({"recent": 0, "summary": 0.1}, budget=32) + make_rows({"recent": -0.2, "summary": 0}, budget=64)
    rows += make_rows({"last": 0.4}, budget=None)
    values = analyse(rows, "recent", 500, 0)
    for budget, difference in ((32, 0.1), (64, 0.2)):
        row = found(values, "strategy", f"tuned summary {budget}", f"tuned recent {budget}")
        assert row["ratio"] == pytest.approx(math.exp(difference), abs=0.03)
    [last] = [row for row in values["comparisons"] if row["of"] == "tuned last"]
    assert last["minus"] == "tuned recent 64"  # the largest budget is the best that a context can do
    assert last["ratio"] == pytest.approx(math.exp(0.6), abs=0.05)


def test_systems_with_other_replies_are_compared_on_those_that_both_have():
    rows = make_rows({"recent": 0}) + make_rows({"summary": 0.1})[20:]
    difference = Comparer(rows, 500, 0).difference(
        System("", "tuned", "summary", 64), System("", "tuned", "recent", 64), "perplexity"
    )
    assert difference["ratio"] == pytest.approx(math.exp(0.1), abs=0.02)


def test_a_system_with_fewer_replies_is_held_against_the_controls_on_those():
    """Of two variants one answers a third as often; none may fall out of the warnings."""
    many = make_rows({"recent": 0}, variant="many", replies="chance")
    few = make_rows({"recent": 0}, variant="few", replies="chance")
    for row in few[20:]:
        row["reply"] = row["seconds"] = None
    [line] = [line for line in analyse([*many, *few], "recent", 500, 0)["warnings"] if "'random-reply'" in line]
    assert "rougeL 0 of 2" in line


def test_variants_are_compared_in_bits_per_byte_and_seeds_are_shown():
    rows = [
        row
        for variant, more in (("one", 0), ("two", 0.3))
        for seed in (0, 1)
        for row in make_rows({"recent": more, "summary": more}, variant=variant, seed=seed)
    ]
    values = analyse(rows, "recent", 500, 0)
    row = found(values, "variant", "two tuned summary", "one tuned summary")
    assert (row["metric"], row["significant"]) == ("bits_per_byte", True)
    assert {(one["variant"], one["seed"]) for one in values["seeds"]} == {
        (v, s) for v in ("one", "two") for s in (0, 1)
    }


def test_every_metric_puts_gold_first_and_random_replies_last():
    rows = make_rows({"recent": 0})
    values = analyse(rows, "recent", 500, 0)
    by_strategy = {one["strategy"]: one["metrics"] for one in values["results"]}
    for name in metrics.against_gold():
        if name == "rouge1_old":
            continue  # the paper's: not to be used
        gold, own = by_strategy["gold"][name]["value"], by_strategy["recent"][name]["value"]
        for control in ("random-reply", "echo"):
            assert gold > own > by_strategy[control][name]["value"], name
    assert values["warnings"] == []


def test_a_metric_that_does_not_tell_replies_from_chance_is_warned_of():
    values = analyse(make_rows({"recent": 0, "summary": 0}, replies="chance"), "recent", 500, 0)
    for name in ("rougeL", "bleu", "f1"):
        assert any(f"{name} 0 of 2" in line and "'random-reply'" in line for line in values["warnings"]), name
    by_luck = [{**row, "rank": 1 + i % 20} for i, row in enumerate(make_rows({"recent": 0}))]
    assert any(line.startswith("hits1") for line in analyse(by_luck, "recent", 500, 0)["warnings"])


def test_intervals_from_few_dialogues_are_warned_of():
    for dialogues, warned in ((19, True), (20, False)):
        values = analyse(make_rows({"recent": 0, "summary": 0.2}, dialogues=dialogues), "recent", 200, 0)
        assert any(f"replies of {dialogues} dialogues only" in line for line in values["warnings"]) == warned


def test_what_all_or_none_do_has_an_interval_too():
    rows = [row | {"rank": 1} for row in make_rows({"recent": 0}, dialogues=36)]
    [found] = [one["metrics"] for one in analyse(rows, "recent", 200, 0)["results"] if one["model"] == "tuned"]
    assert (found["hits1"]["value"], found["hits1"]["high"]) == (100, 100)
    assert found["hits1"]["low"] == pytest.approx(90.26, abs=0.01)  # the exact bound of 36 of 36
    assert found["empty"]["high"] == pytest.approx(9.74, abs=0.01)
    common = {"variant": "", "model": "tuned", "strategy": "last", "budget": None, "distance": 0, "shown": True}
    [entry] = analyse_probe([{**common, "dialogue": f"p{i}", "right": i < 3} for i in range(36)], 200, 0)
    assert entry["shown"]["low"] == pytest.approx(90.26, abs=0.01)
    assert 0 <= entry["right"]["low"] < entry["right"]["high"] < 25


def test_resamples_that_cannot_show_anything_are_warned_of():
    rows = make_rows({"recent": 0, **{f"s{i}": 1.0 for i in range(6)}})
    for resamples, warned in ((200, True), (400, False)):
        values = analyse(rows, "recent", resamples, 0)
        assert any("can show no difference among 6 comparisons" in line for line in values["warnings"]) == warned
        assert any(row["significant"] for row in values["comparisons"]) != warned


def test_a_baseline_that_a_model_never_learned_is_warned_of():
    rows = make_rows({"recent": 0, "summary": 1.0})
    for strategies, warned in ((["summary"], True), (["summary", "recent"], False)):
        lines = analyse(rows, "recent", 400, 0, {"": strategies})["warnings"]
        assert any("has learned from summary only" in line for line in lines) == warned


def test_a_summary_that_is_not_read_is_warned_of():
    for penalty, warned in ((0.0, True), (0.3, False)):
        lines = analyse(make_rows({"recent": 0, "summary": 0.1, "shuffled": 0.1 + penalty}), "recent", 400, 0)[
            "warnings"
        ]
        assert any(line.startswith("perplexity does not show") for line in lines) == warned


def test_controls_take_another_dialogues_reply():
    rows = make_rows({"recent": 0, "summary": 0}, dialogues=5)
    golds = {row["dialogue"]: row["gold"] for row in rows}
    made = control_rows(rows)
    assert len(made) == 15  # once for each reply, however many systems
    for row in made:
        if row["strategy"] == "random-reply":
            assert row["reply"] in golds.values()
            assert row["reply"] != golds[row["dialogue"]]


def test_depth_groups_add_up():
    values = analyse(make_rows({"recent": 0}), "recent", 200, 0)
    groups = [group for group in values["depth"] if group["strategy"] == "recent"]
    assert [group["from"] for group in groups] == [0, 12, 24, 48]
    assert sum(group["items"] for group in groups) == 60


def test_planted_facts_are_counted_by_distance():
    row = {"model": "tuned", "strategy": "recent", "budget": 32}
    rows = [
        {**row, "dialogue": f"p{i}", "distance": (0, 10)[i % 2], "right": i % 4 == 0, "shown": i % 2 == 0}
        for i in range(20)
    ]
    [one] = analyse_probe(rows, 200, 0)
    assert (one["right"]["value"], one["shown"]["value"]) == (25, 50)
    assert one["by_distance"] == {
        "0": {"right": 50, "shown": 100, "items": 10},
        "10": {"right": 0, "shown": 0, "items": 10},
    }


def test_planted_facts_in_the_prompt_are_counted_by_wording_and_distance():
    common = {"model": "tuned", "strategy": "recent", "budget": 32}
    rows = [
        {
            **common,
            "dialogue": f"p{i}",
            "distance": (0, 10)[i % 2],
            "shared": i < 8,
            "shown": i % 4 > 0,
            "right": i in (2, 3),
        }
        for i in range(16)
    ]
    [one] = analyse_probe(rows, 200, 0)
    assert one["used"]["value"] == pytest.approx(100 * 2 / 12)  # of those that were shown
    assert one["by_question"] == [
        {"shared": True, "distance": 0, "items": 4, "shown": 2, "used": 1},
        {"shared": True, "distance": 10, "items": 4, "shown": 4, "used": 1},
        {"shared": False, "distance": 0, "items": 4, "shown": 2, "used": 0},
        {"shared": False, "distance": 10, "items": 4, "shown": 4, "used": 0},
    ]
    [none] = analyse_probe([row | {"shown": False, "right": True} for row in rows], 200, 0)
    assert none["used"] is None  # by luck; nothing was there to be used
    assert [group["used"] for group in none["by_question"]] == [0] * 4


def test_holm_is_as_in_the_textbook():
    assert bootstrap.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert bootstrap.holm([]) == []


def test_families_keep_their_level_where_nothing_differs():
    """Of 200 families of five comparisons without a difference, about 5 % may claim one; uncorrected it is a fifth."""
    wrong = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        base = rng.normal(3, 1, 60)
        weights = bootstrap.resample_weights(60, 500, trial)
        made = [bootstrap.Metric("m", "", "lower", bootstrap.mean(base + rng.normal(0, 0.3, 60))) for _ in range(6)]
        first, *rest = (bootstrap.Sampled.of(metric, 60, weights) for metric in made)
        p_values = [bootstrap.compared(one, first)["p"] for one in rest]
        wrong += min(bootstrap.holm(p_values)) < 0.05
    assert wrong / 200 < 0.1


class CountedRow(dict):
    """A row that counts how often it is looked at."""

    looks = 0

    def __getitem__(self, name):
        CountedRow.looks += 1
        return super().__getitem__(name)


@pytest.mark.parametrize("dialogues", [1, 2, 7, 200])
def test_every_control_is_the_next_of_another_dialogue_and_found_in_few_steps(dialogues):
    for by_turns in (True, False):
        names = [f"d{i % dialogues if by_turns else i * dialogues // 200}" for i in range(200)]
        rows = [
            CountedRow(id=f"{i}", dialogue=name, gold=f"gold {i}", reply="hm", context=[{"text": "what"}])
            for i, name in enumerate(names)
        ]
        CountedRow.looks = 0
        made = [row for row in control_rows(rows) if row["strategy"] == "random-reply"]
        assert CountedRow.looks < 20 * len(rows)
        expected = []
        for i, name in enumerate(names):
            after = [*range(i + 1, 200), *range(i)]
            expected += [f"gold {j}" for j in after if names[j] != name][:1]
        assert [row["reply"] for row in made] == expected
