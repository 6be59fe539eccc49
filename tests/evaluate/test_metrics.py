import math
import random
from functools import partial

import numpy as np
import pytest
import sacrebleu

from gistchat.evaluate import bootstrap, metrics

GOLD = [
    "I went to the river with my dog yesterday.",
    "No, the library is closed on Sundays.",
    "She repaired the old violin by herself!",
    "We could cook something with beans tonight.",
    "That mountain is far too steep for me.",
] * 4
REPLIES = ["I went to the river.", "The library is open.", "", "We could eat out tonight.", "I like cats."] * 4


def value(metric):
    return metric(np.ones((1, len(GOLD))))[0]


def test_perplexity_weighs_tokens_not_items():
    metric = metrics.perplexity([10.0, 1.0], [10, 1])
    assert metric(np.ones((1, 2)))[0] == pytest.approx(math.e)
    metric = metrics.perplexity([30.0, 1.0], [10, 1])
    assert metric(np.ones((1, 2)))[0] == pytest.approx(math.exp(31 / 11))


def test_bleu_is_sacrebleus_corpus_bleu():
    assert value(metrics.bleu(REPLIES, GOLD)) == pytest.approx(sacrebleu.corpus_bleu(REPLIES, [GOLD]).score)


def test_distinct_counts_ngrams():
    metric = metrics.distinct(["a b a", "a c"], 1)
    assert metric(np.ones((1, 2)))[0] == pytest.approx(100 * 3 / 5)
    assert metrics.distinct(["a b a b", "x"], 2)(np.ones((1, 2)))[0] == pytest.approx(100 * 2 / 3)
    assert metrics.distinct(["", ""], 2)(np.ones((1, 2)))[0] == 0


def test_overlap_metrics_put_gold_first_and_shuffled_gold_last():
    shuffled = GOLD[1:] + GOLD[:1]
    for make in (
        lambda r: metrics.bleu(r, GOLD),
        *(partial(metrics.rouge, name, golds=GOLD) for name in metrics.ROUGES),
    ):
        gold, reply, other, empty = (value(make(r)) for r in (GOLD, REPLIES, shuffled, [""] * len(GOLD)))
        assert gold == pytest.approx(100)
        assert gold > reply > other >= empty == 0


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = random.Random(0)
    covered = 0
    for trial in range(200):
        sample = [rng.gauss(5, 2) for _ in range(40)]
        metric = bootstrap.Metric("m", "", "higher", bootstrap.mean(sample))
        found = bootstrap.interval(metric, 40, bootstrap.resample_weights(40, 400, trial))
        covered += found.low <= 5 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_paired_difference_is_sharper_than_two_intervals():
    rng = random.Random(0)
    base = [rng.gauss(5, 2) for _ in range(50)]
    one = bootstrap.Metric("m", "", "higher", bootstrap.mean([x + 0.2 + rng.gauss(0, 0.1) for x in base]))
    other = bootstrap.Metric("m", "", "higher", bootstrap.mean(base))
    weights = bootstrap.resample_weights(50, 1000, 0)
    first, second = bootstrap.Sampled.of(one, 50, weights), bootstrap.Sampled.of(other, 50, weights)
    difference = bootstrap.compared(first, second)
    assert 0.1 < difference["low"] < difference["value"] < difference["high"] < 0.3
    assert first.interval().low < second.interval().high
