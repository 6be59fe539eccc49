import math
import random
import tracemalloc
import unicodedata
from functools import partial

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

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


SCRIPTS = {
    "Chinese": ["我昨天去了超市买苹果。", "你好吗？我很好，谢谢你！", "我的妹妹住在里斯本。"],
    "Japanese": ["昨日スーパーでりんごを買いました。", "お元気ですか？元気です！", "コーヒーを飲みに行きませんか。"],
    "Korean": ["어제 시장에 가서 사과를 샀어요.", "잘 지내세요? 저는 잘 지내요!", "제 여동생은 지금 리스본에 살아요."],
    "Arabic": ["ذهبت إلى السوق أمس.", "كيف حالك؟ أنا بخير، شكرا لك!", "أختي تعيش في لشبونة الآن."],
    "Russian": ["Вчера я ходил в магазин.", "Как дела? У меня всё хорошо!", "Моя сестра живёт в Лиссабоне."],
    "Hindi": ["मैं कल बाज़ार गया था।", "आप कैसे हैं? मैं ठीक हूँ!", "मेरी बहन लिस्बन में रहती है।"],
    "Thai": ["เมื่อวานฉันไปตลาดซื้อแอปเปิ้ล", "สบายดีไหม ฉันสบายดี", "น้องสาวของฉันอยู่ที่ลิสบอน"],
    "French": ["Hier j’ai été au marché.", "Ça va ? Oui, très bien, merci !", "Ma sœur habite à Évora, là-bas."],
}
AGAINST_GOLD = {
    **{name: partial(metrics.rouge, name) for name in metrics.ROUGES},
    "bleu": metrics.bleu,
    "chrf": metrics.chrf,
    "f1": metrics.unigram_f1,
}


def of_three(metric):
    return float(metric(np.ones((1, 3)))[0])


@pytest.mark.parametrize("texts", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("metric", AGAINST_GOLD.values(), ids=AGAINST_GOLD)
def test_overlap_in_any_script_and_any_unicode_form(metric, texts):
    composed, apart = ([unicodedata.normalize(form, text) for text in texts] for form in ("NFC", "NFD"))
    others = texts[1:] + texts[:1]
    half = [text[: len(text) * 2 // 3] for text in texts]
    assert of_three(metric(composed, apart)) == of_three(metric(apart, composed)) == pytest.approx(100)
    assert 100 > of_three(metric(half, texts)) > of_three(metric(others, texts)) >= 0


def test_english_scores_are_those_of_the_libraries():
    reply, gold = "Don't the dogs' owners walk 3.5 miles?", "The dog's owner isn't walking 3.5 miles, don't you see?"
    expected = RougeScorer(list(metrics.ROUGES), use_stemmer=True).score(gold, reply)
    for name in metrics.ROUGES:
        assert float(metrics.rouge(name, [reply], [gold])(np.ones((1, 1)))[0]) == 100 * expected[name].fmeasure
    assert value(metrics.bleu(REPLIES, GOLD)) == pytest.approx(sacrebleu.corpus_bleu(REPLIES, [GOLD]).score)


@pytest.mark.parametrize(
    ("reply", "golds"),
    [
        ("I'd rather stay at home today.", ["Let's go!", "I'd rather stay at home today.", "No."]),
        ("我的妹妹住在里斯本。", ["我不知道。", "我的妹妹住在里斯本。"]),
        ("Моя сестра живёт в Лиссабоне.", ("Моя сестра живёт в Лиссабоне.", "Не знаю.")),
    ],
)
@pytest.mark.parametrize("metric", AGAINST_GOLD.values(), ids=AGAINST_GOLD)
def test_any_of_several_gold_replies_is_right(metric, reply, golds):
    replies, other = [reply, "x y z u v w"], "x y z u v w"
    several, worst = (
        float(metric(replies, [gold, other])(np.ones((1, 2)))[0]) for gold in (golds, min(golds, key=len))
    )
    assert several == pytest.approx(100)
    assert several > worst


def test_bleu_of_several_gold_replies_is_sacrebleus():
    seconds = [*GOLD[1:], GOLD[0]]
    expected = sacrebleu.corpus_bleu(REPLIES, [GOLD, seconds]).score
    assert value(metrics.bleu(REPLIES, list(zip(GOLD, seconds, strict=True)))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "number"),
    [("I don't  know, really.", 4), ("我不知道", 4), ("コーヒー飲む", 6), ("Я не знаю", 3), ("", 0)],
)
def test_words_are_counted_in_any_script(text, number):
    row = {"reply": text, "gold": "x"}
    assert metrics.METRICS["words"].of([row]).values(np.ones((1, 1)))[0] == number


@pytest.mark.parametrize("text", ["哈哈哈哈", "ははははは", "ha ha ha ha"])
def test_repetition_shows_in_any_script(text):
    assert of_three(metrics.self_repetition([text, "", ""], 2)) > 50
    assert of_three(metrics.distinct([text, "", ""], 1)) < 30


@pytest.mark.parametrize("kind", ["words of their own", "the same words", "few words", "some empty", "one reply"])
@pytest.mark.parametrize("n", [1, 2])
def test_distinct_of_every_resample_is_what_counting_gives(kind, n):
    rng = random.Random(kind)
    makers = {
        "words of their own": lambda i: f"a{i} b{i} c{i} b{i}",
        "the same words": lambda i: "we go to the river",
        "few words": lambda i: " ".join(rng.choices("abcdef", k=6)),
        "some empty": lambda i: " ".join(rng.choices("abc", k=i % 3)),
    }
    replies = list(map(makers[kind], range(30))) if kind in makers else ["one two one"]
    weights = bootstrap.resample_weights(len(replies), 250, 0)
    grams = [[tuple(text.split()[i : i + n]) for i in range(len(text.split()) - n + 1)] for text in replies]
    for drawn, found in zip(weights, metrics.distinct(replies, n)(weights), strict=True):
        different = set().union(*(grams[i] for i in np.flatnonzero(drawn)))
        total = sum(int(times) * len(item) for times, item in zip(drawn, grams, strict=True))
        assert found == 100 * len(different) / max(total, 1)


def test_distinct_of_many_replies_needs_no_table_of_replies_by_words():
    """Replies bring new words, so that a table of both grows with the square of their number: 480 MB here."""
    rng = random.Random(0)
    replies = [
        " ".join(f"{i if rng.random() < 0.5 else 0}word{rng.randrange(900)}" for _ in range(20)) for i in range(4000)
    ]
    weights = bootstrap.resample_weights(len(replies), 10, 0)
    tracemalloc.start()
    try:
        metrics.distinct(replies, 1)(weights)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
