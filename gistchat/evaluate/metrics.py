"""The table of metrics, and each metric as a pure function of replies or likelihoods.

A metric is made of per-item statistics and returns `Values`: its value for every row of item weights (`bootstrap`).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from gistchat.errors import require
from gistchat.evaluate.bootstrap import Metric, Values, in_chunks, mean, ratio_of_sums

ROUGES = ("rouge1", "rouge2", "rougeL")

Row = dict[str, Any]  # of predictions.jsonl


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Values:
    """exp of the mean negative log-likelihood per token, all tokens of all replies weighing the same."""
    per_token = ratio_of_sums(nats, tokens)
    return lambda weights: np.exp(np.minimum(per_token(weights).astype(float), 700.0))


def bits_per_byte(nats: Sequence[float], lengths: Sequence[int]) -> Values:
    """Bits per byte of the gold replies in UTF-8, end tokens included: comparable between tokenizers."""
    per_byte = ratio_of_sums(nats, lengths)
    return lambda weights: per_byte(weights) / np.log(2)


def rouge(name: str, replies: Sequence[str], golds: Sequence[str]) -> Values:
    """ROUGE F-measure in percent (Lin 2004), by `rouge-score` with stemming; `name`: rouge1 | rouge2 | rougeL."""
    return mean([100 * _rouge_scores(reply, gold)[name] for reply, gold in zip(replies, golds, strict=True)])


@lru_cache(maxsize=50_000)  # controls and paired comparisons come back to the same replies
def _rouge_scores(reply: str, gold: str) -> dict[str, float]:
    return {name: score.fmeasure for name, score in _rouge_scorer().score(gold, reply).items()}


@lru_cache
def _rouge_scorer() -> Any:
    scorer = require("rouge_score.rouge_scorer", "evaluate")
    return scorer.RougeScorer(list(ROUGES), use_stemmer=True)


def bleu(replies: Sequence[str], golds: Sequence[str]) -> Values:
    """Corpus BLEU in percent (Papineni et al. 2002), by `sacrebleu` with its default tokenisation and smoothing."""
    BLEU = require("sacrebleu.metrics", "evaluate").BLEU
    scorer = BLEU(effective_order=False)
    rows = []
    for reply, gold in zip(replies, golds, strict=True):
        score = scorer.corpus_score([reply], [[gold]])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    statistics = np.asarray(rows, float)

    def values(weights: np.ndarray) -> np.ndarray:
        sums = np.rint(weights @ statistics.astype(weights.dtype)).astype(int).tolist()
        return np.asarray([_bleu(BLEU, row) for row in sums])

    return values


def _bleu(library: Any, row: Sequence[int]) -> float:
    """From matches and totals of n-grams up to four, and the lengths of both sides."""
    counts = {"correct": row[:4], "total": row[4:8], "sys_len": row[8], "ref_len": row[9]}
    return library.compute_bleu(**counts, smooth_method="exp").score


def chrf(replies: Sequence[str], golds: Sequence[str]) -> Values:
    """Mean sentence chrF in percent (Popović 2015): shared character n-grams up to six, by `sacrebleu`."""
    scorer = require("sacrebleu.metrics", "evaluate").CHRF()
    return mean([scorer.sentence_score(reply, [gold]).score for reply, gold in zip(replies, golds, strict=True)])


def unigram_f1(replies: Sequence[str], golds: Sequence[str]) -> Values:
    """F1 of shared words in percent, as ParlAI counts it: lower case, without punctuation and articles."""
    pairs = zip(replies, golds, strict=True)
    return mean([100 * _f1(_plain_words(reply), _plain_words(gold)) for reply, gold in pairs])


def _plain_words(text: str) -> list[str]:
    words = re.sub(r"[^\w\s]|_", " ", text.lower()).split()
    return [word for word in words if word not in ("a", "an", "the")]


def _f1(words: list[str], others: list[str]) -> float:
    shared = sum((Counter(words) & Counter(others)).values())
    return 2 * shared / (len(words) + len(others)) if shared else 0.0


def old_rouge(replies: Sequence[str], golds: Sequence[str]) -> Values:
    """ROUGE-1 as the paper took it: package `rouge`, case-sensitive, words by white space. Not to be used.

    It prefers other dialogues' gold replies to any model's, as these are spaced like the references (docs/LOG.md).
    """
    rouge = require("rouge", "paper").Rouge(metrics=["rouge-1"])
    scores = [
        rouge.get_scores(reply, gold)[0]["rouge-1"]["f"] if reply.strip(" .") and gold.strip(" .") else 0.0
        for reply, gold in zip(replies, golds, strict=True)
    ]
    return mean([100 * score for score in scores])


def self_repetition(replies: Sequence[str], n: int = 3) -> Values:
    """Word n-grams that a reply has said before, of all that it says, in percent; all replies together."""
    grams = [_ngrams(reply.lower().split(), n) for reply in replies]
    repeated = [100.0 * (len(item) - len(set(item))) for item in grams]
    return ratio_of_sums(repeated, [len(item) for item in grams])


def distinct(replies: Sequence[str], n: int) -> Values:
    """Different n-grams over all n-grams of all replies, in percent (Li et al. 2016); words by white space, lower case.

    A bootstrap resample repeats items, which lowers the value; intervals of single values are therefore shifted
    down, intervals of differences are not.
    """
    grams = [_ngrams(reply.lower().split(), n) for reply in replies]
    vocabulary = {gram: i for i, gram in enumerate({gram: None for item in grams for gram in item})}
    present = np.zeros((len(grams), max(len(vocabulary), 1)), dtype=np.float32)
    for row, item in enumerate(grams):
        present[row, [vocabulary[gram] for gram in item]] = 1
    totals = np.asarray([len(item) for item in grams], float)

    def values(weights: np.ndarray) -> np.ndarray:
        different = np.concatenate(
            [((some > 0).astype(np.float32) @ present > 0).sum(1) for some in in_chunks(weights)]
        )
        return 100 * different / np.maximum(weights @ totals.astype(weights.dtype), 1)

    return values


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def column(rows: Sequence[Row], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _of_replies(metric: Callable[[Sequence[str], Sequence[str]], Values]) -> Callable[[Sequence[Row]], Values]:
    """A metric of replies and gold replies, of rows."""
    return lambda rows: metric(column(rows, "reply"), column(rows, "gold"))


def _mean_of(name: str) -> Callable[[Sequence[Row]], Values]:
    return lambda rows: mean(column(rows, name))


def _bytes(row: Row) -> int:
    return row.get("gold_bytes") or len(row["gold"].encode())


@dataclass(frozen=True)
class MetricEntry:
    """An entry of the table of metrics.

    Attributes:
        title: of its column in reports.
        better: lower | higher | "" where neither is better as such.
        needs: the field of a row of predictions without which the row has no value.
        values: rows -> the metric as a function of their weights.
        digits: shown after the point.
        against_gold: whether it compares with the gold reply: gold must come out above all, controls below.
        share: whether it is a share of the replies in percent, whose interval is exact where all are alike.
        in_results: whether it has a column among the results; costs have a table of their own.
        terminal: its title in the terminal's table, which has room for few.
    """

    name: str
    title: str
    unit: str
    better: str
    needs: str
    values: Callable[[Sequence[Row]], Values]
    digits: int = 1
    against_gold: bool = False
    share: bool = False
    in_results: bool = True
    terminal: str = ""

    def of(self, rows: Sequence[Row]) -> Metric:
        return Metric(self.name, self.unit, self.better, self.values(rows))


def _against_gold(name: str, title: str, metric: Callable[..., Values], **more: Any) -> MetricEntry:
    return MetricEntry(name, title, "%", "higher", "reply", _of_replies(metric), against_gold=True, **more)


def _cost(name: str, title: str, unit: str, better: str, field: str, **more: Any) -> MetricEntry:
    return MetricEntry(name, title, unit, better, field, _mean_of(field), in_results=False, **more)


# To add a metric, add an entry: analysis, tables, terminal and warnings read this table.
_ENTRIES = (
    MetricEntry(
        "perplexity",
        "perplexity",
        "per token",
        "lower",
        "nats",
        lambda rows: perplexity(column(rows, "nats"), column(rows, "gold_tokens")),
        terminal="perplexity",
    ),
    MetricEntry(
        "bits_per_byte",
        "bits per byte",
        "bits",
        "lower",
        "nats",
        lambda rows: bits_per_byte(column(rows, "nats"), [_bytes(row) for row in rows]),
        digits=3,
    ),
    MetricEntry(
        "hits1",
        "hits@1 %",
        "%",
        "higher",
        "rank",
        lambda rows: mean([100.0 * (row["rank"] == 1) for row in rows]),
        share=True,
    ),
    MetricEntry("mrr", "MRR %", "%", "higher", "rank", lambda rows: mean([100.0 / row["rank"] for row in rows])),
    _against_gold("rouge1", "ROUGE-1", partial(rouge, "rouge1")),
    _against_gold("rouge2", "ROUGE-2", partial(rouge, "rouge2")),
    _against_gold("rougeL", "ROUGE-L", partial(rouge, "rougeL"), terminal="ROUGE-L"),
    _against_gold("bleu", "BLEU", bleu),
    _against_gold("chrf", "chrF", chrf),
    MetricEntry("bertscore", "BERTScore", "%", "higher", "bertscore", _mean_of("bertscore")),
    _against_gold("f1", "F1", unigram_f1),
    MetricEntry("distinct1", "distinct-1", "%", "higher", "reply", lambda rows: distinct(column(rows, "reply"), 1)),
    MetricEntry(
        "distinct2",
        "distinct-2",
        "%",
        "higher",
        "reply",
        lambda rows: distinct(column(rows, "reply"), 2),
        terminal="distinct-2",
    ),
    MetricEntry(
        "self_repetition", "repeated %", "%", "lower", "reply", lambda rows: self_repetition(column(rows, "reply"))
    ),
    MetricEntry("words", "words", "words", "", "reply", lambda rows: mean([len(row["reply"].split()) for row in rows])),
    MetricEntry(
        "empty",
        "empty %",
        "%",
        "lower",
        "reply",
        lambda rows: mean([100.0 * (not row["reply"].strip()) for row in rows]),
        share=True,
    ),
    _cost("reply_tokens", "reply tokens", "tokens", "", "reply_tokens", terminal="reply\ntokens"),
    MetricEntry(
        "prompt_tokens",
        "prompt tokens",
        "tokens",
        "lower",
        "nats",
        _mean_of("prompt_tokens"),
        in_results=False,
        terminal="prompt\ntokens",
    ),
    MetricEntry(
        "reused",
        "in the cache %",
        "% of prompt",
        "higher",
        "nats",
        lambda rows: ratio_of_sums(
            [100.0 * row.get("reused_tokens", 0) for row in rows], column(rows, "prompt_tokens")
        ),
        in_results=False,
    ),
    _cost("seconds", "s per reply", "s per reply", "lower", "seconds", digits=2),
    _cost("prefill", "prefill s", "s per reply", "lower", "prefill_seconds", digits=2),
)
METRICS = {entry.name: entry for entry in _ENTRIES}
OLD_ROUGE = _against_gold("rouge1_old", "old ROUGE-1", old_rouge)  # the paper's; only where it is asked for


def against_gold() -> list[str]:
    """The metrics that compare with the gold reply."""
    return [name for name, entry in {**METRICS, OLD_ROUGE.name: OLD_ROUGE}.items() if entry.against_gold]
