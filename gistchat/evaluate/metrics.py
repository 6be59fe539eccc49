"""The table of metrics, and each metric as a pure function of replies or likelihoods.

A metric is made of per-item statistics and returns `Values`: its value for every row of item weights (`bootstrap`).
Metrics against gold take one gold reply of an item, or a list of several: BLEU takes the n-grams of all, the others the
best one. Replies and gold replies are compared in NFC, in words of any script (`dialogue.words`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np
import regex

from gistchat.dialogue.visible import has_text
from gistchat.dialogue.words import count_words, nfc, spaced, word_parts
from gistchat.errors import require
from gistchat.evaluate.bootstrap import DRAWN_AT_ONCE, Metric, Values, mean, ratio_of_sums

ROUGES = ("rouge1", "rouge2", "rougeL")

# What BLEU's tokenizer, which knows the marks of ASCII only, would leave attached to words.
_MARK = regex.compile(r"[\p{P}--[\x00-\x7f‘’]]", regex.V1)

Row = dict[str, Any]  # of predictions.jsonl
Golds = Sequence[str | Sequence[str]]  # the gold reply of each item, or several


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Values:
    """exp of the mean negative log-likelihood per token, all tokens of all replies weighing the same."""
    per_token = ratio_of_sums(nats, tokens)
    return lambda weights: np.exp(np.minimum(per_token(weights).astype(float), 700.0))


def bits_per_byte(nats: Sequence[float], lengths: Sequence[int]) -> Values:
    """Bits per byte of the gold replies in UTF-8, end tokens included: comparable between tokenizers."""
    per_byte = ratio_of_sums(nats, lengths)
    return lambda weights: per_byte(weights) / np.log(2)


def _in_nfc(replies: Sequence[str], golds: Golds) -> Iterator[tuple[str, list[str]]]:
    """Each reply with its gold replies."""
    for reply, gold in zip(replies, golds, strict=True):
        yield nfc(reply), [nfc(text) for text in ([gold] if isinstance(gold, str) else gold)]


def rouge(name: str, replies: Sequence[str], golds: Golds) -> Values:
    """ROUGE F-measure in percent (Lin 2004), by `rouge-score` with stemming; `name`: rouge1 | rouge2 | rougeL.

    Its own tokenizer deletes all letters but a to z, so words are ours; they are the same in ASCII.
    """
    scores = _rouge_scores()
    pairs = _in_nfc(replies, golds)
    return mean([100 * max(scores(gold, reply)[name].fmeasure for gold in texts) for reply, texts in pairs])


@lru_cache
def _rouge_scores() -> Callable[[str, str], dict[str, Any]]:
    scorer = require("rouge_score.rouge_scorer", "train").RougeScorer(list(ROUGES), tokenizer=_StemmedWords())
    return lru_cache(maxsize=50_000)(scorer.score)  # controls and paired comparisons come back to the same replies


class _StemmedWords:
    """The tokenizer that `rouge-score` is given."""

    def __init__(self) -> None:
        self._stem = lru_cache(maxsize=50_000)(require("nltk.stem.porter", "train").PorterStemmer().stem)

    def tokenize(self, text: str) -> list[str]:
        # As rouge-score does. The stemmer is for English; it changes nothing in scripts other than Latin.
        return [self._stem(word) if len(word) > 3 else word for word in word_parts(text)]


def bleu(replies: Sequence[str], golds: Golds) -> Values:
    """Corpus BLEU in percent (Papineni et al. 2002), by `sacrebleu` with its default tokenisation and smoothing.

    Its tokenizer is for scripts with spaces and marks of ASCII; what it needs for others is done before.
    """
    BLEU = require("sacrebleu.metrics", "train").BLEU
    scorer = BLEU()
    pairs = ((_for_bleu(reply), map(_for_bleu, texts)) for reply, texts in _in_nfc(replies, golds))
    scores = [scorer.corpus_score([reply], [[text] for text in texts]) for reply, texts in pairs]
    statistics = np.asarray([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores], float)

    def value(row: Sequence[int]) -> float:
        return BLEU.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method="exp").score

    def values(weights: np.ndarray) -> np.ndarray:
        sums = np.rint(weights @ statistics.astype(weights.dtype)).astype(int)
        return np.asarray([value(row) for row in sums.tolist()])

    return values


def _for_bleu(text: str) -> str:
    return text if text.isascii() else _MARK.sub(r" \g<0> ", spaced(text))


def chrf(replies: Sequence[str], golds: Golds) -> Values:
    """Mean sentence chrF in percent (Popović 2015): shared character n-grams up to six, by `sacrebleu`."""
    scorer = require("sacrebleu.metrics", "train").CHRF()
    return mean([scorer.sentence_score(reply, texts).score for reply, texts in _in_nfc(replies, golds)])


def unigram_f1(replies: Sequence[str], golds: Golds) -> Values:
    """F1 of shared words in percent, as ParlAI counts it: lower case, without punctuation and articles."""
    pairs = _in_nfc(replies, golds)
    return mean([100 * max(_f1(_plain_words(reply), _plain_words(text)) for text in texts) for reply, texts in pairs])


def _plain_words(text: str) -> Counter[str]:
    return Counter([word for word in word_parts(text) if word not in ("a", "an", "the")])


def _f1(words: Counter[str], others: Counter[str]) -> float:
    return 2 * (words & others).total() / max(words.total() + others.total(), 1)


def old_rouge(replies: Sequence[str], golds: Golds) -> Values:
    """ROUGE-1 as the paper took it: package `rouge`, case-sensitive, words by white space. Not to be used.

    It prefers other dialogues' gold replies to any model's, as these are spaced like the references (docs/LOG.md).
    """
    rouge = require("rouge", "paper").Rouge(metrics=["rouge-1"])

    def score(*pair: str) -> float:
        return rouge.get_scores(*pair)[0]["rouge-1"]["f"] if all(text.strip(" .") for text in pair) else 0.0

    return mean([100 * max(score(reply, text) for text in texts) for reply, texts in _in_nfc(replies, golds)])


def self_repetition(replies: Sequence[str], n: int = 3) -> Values:
    """Word n-grams that a reply has said before, of all that it says, in percent; all replies together."""
    grams = [_ngrams(reply, n) for reply in replies]
    repeated = [100.0 * (len(item) - len(set(item))) for item in grams]
    return ratio_of_sums(repeated, [len(item) for item in grams])


def distinct(replies: Sequence[str], n: int) -> Values:
    """Different n-grams over all n-grams of all replies, in percent (Li et al. 2016); words by white space, lower case;
    letters of scripts without spaces count as words.

    A bootstrap resample repeats items, which lowers the value; intervals of single values are therefore shifted
    down, intervals of differences are not.
    """
    grams = [_ngrams(reply, n) for reply in replies]
    said_by: dict[tuple[str, ...], list[int]] = {}  # n-gram -> the replies that it stands in
    for number, item in enumerate(grams):
        for gram in set(item):
            said_by.setdefault(gram, []).append(number)
    # Most n-grams stand in one reply only, so that counting them is enough.
    shared = [numbers for numbers in said_by.values() if len(numbers) > 1]
    single = [numbers[0] for numbers in said_by.values() if len(numbers) == 1]
    own = np.bincount(np.asarray(single, int), minlength=len(grams)).astype(float)
    sayers = np.fromiter(chain.from_iterable(shared), int)
    starts = np.cumsum([0, *map(len, shared)])[:-1]  # of each n-gram's replies among all
    totals = np.asarray([len(item) for item in grams], float)

    def different(weights: np.ndarray) -> np.ndarray:
        """How many different n-grams the drawn replies have; a bit says whether a resample has drawn a reply."""
        alone = (weights > 0).astype(float) @ own
        if not shared:
            return alone
        drawn = np.packbits(weights.T > 0, axis=1)
        said = np.bitwise_or.reduceat(drawn[sayers], starts)
        return alone + np.unpackbits(said, axis=1, count=len(weights)).sum(0)

    def values(weights: np.ndarray) -> np.ndarray:
        chunks = (weights[first : first + DRAWN_AT_ONCE] for first in range(0, len(weights), DRAWN_AT_ONCE))
        counts = np.concatenate([different(chunk) for chunk in chunks])
        return 100 * counts / np.maximum(weights @ totals.astype(weights.dtype), 1)

    return values


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = spaced(text).lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _of(metric: Callable[..., Values], *fields: str) -> Callable[[Sequence[Row]], Values]:
    """A metric of fields of rows."""
    return lambda rows: metric(*([row[field] for row in rows] for field in fields))


def _mean(value: Callable[[Row], float]) -> Callable[[Sequence[Row]], Values]:
    return lambda rows: mean([value(row) for row in rows])


def _bits_per_byte(rows: Sequence[Row]) -> Values:
    lengths = [row.get("gold_bytes") or len(row["gold"].encode()) for row in rows]
    return bits_per_byte([row["nats"] for row in rows], lengths)


def _reused(rows: Sequence[Row]) -> Values:
    reused = [100.0 * row["reused_tokens"] for row in rows]
    return ratio_of_sums(reused, [row["prompt_tokens"] for row in rows])


@dataclass(frozen=True)
class MetricEntry:
    """An entry of the table of metrics."""

    name: str
    title: str  # of its column in reports
    unit: str
    better: str  # lower | higher | "" where neither is better as such
    needs: str  # the field of a row of predictions without which the row has no value
    values: Callable[[Sequence[Row]], Values]  # rows -> the metric as a function of their weights
    digits: int = 1  # shown after the point
    against_gold: bool = False  # whether it compares with the gold reply: gold must come out above all, controls below
    share: bool = False  # whether it is a share of the replies in percent; its interval is exact where all are alike
    in_results: bool = True  # whether it has a column among the results; costs have a table of their own
    terminal: str = ""  # its title in the terminal's table, which has room for few

    def of(self, rows: Sequence[Row]) -> Metric:
        return Metric(self.name, self.unit, self.better, self.values(rows))


def _against_gold(name: str, title: str, metric: Callable[..., Values], **more: Any) -> MetricEntry:
    return MetricEntry(name, title, "%", "higher", "reply", _of(metric, "reply", "gold"), against_gold=True, **more)


def _cost(name: str, title: str, unit: str, better: str, field: str, **more: Any) -> MetricEntry:
    return MetricEntry(name, title, unit, better, field, _of(mean, field), in_results=False, **more)


# To add a metric, add an entry: analysis, tables, terminal and warnings read this table.
_ENTRIES = (
    MetricEntry(
        "perplexity",
        "perplexity",
        "per token",
        "lower",
        "nats",
        _of(perplexity, "nats", "gold_tokens"),
        terminal="perplexity",
    ),
    MetricEntry("bits_per_byte", "bits per byte", "bits", "lower", "nats", _bits_per_byte, digits=3),
    MetricEntry("hits1", "hits@1 %", "%", "higher", "rank", _mean(lambda row: 100.0 * (row["rank"] == 1)), share=True),
    MetricEntry("mrr", "MRR %", "%", "higher", "rank", _mean(lambda row: 100.0 / row["rank"])),
    _against_gold("rouge1", "ROUGE-1", partial(rouge, "rouge1")),
    _against_gold("rouge2", "ROUGE-2", partial(rouge, "rouge2")),
    _against_gold("rougeL", "ROUGE-L", partial(rouge, "rougeL"), terminal="ROUGE-L"),
    _against_gold("bleu", "BLEU", bleu),
    _against_gold("chrf", "chrF", chrf),
    MetricEntry("bertscore", "BERTScore", "%", "higher", "bertscore", _of(mean, "bertscore")),
    _against_gold("f1", "F1", unigram_f1),
    MetricEntry("distinct1", "distinct-1", "%", "higher", "reply", _of(partial(distinct, n=1), "reply")),
    MetricEntry(
        "distinct2", "distinct-2", "%", "higher", "reply", _of(partial(distinct, n=2), "reply"), terminal="distinct-2"
    ),
    MetricEntry("self_repetition", "repeated %", "%", "lower", "reply", _of(self_repetition, "reply")),
    MetricEntry("words", "words", "words", "", "reply", _mean(lambda row: count_words(row["reply"]))),
    MetricEntry(
        "empty", "empty %", "%", "lower", "reply", _mean(lambda row: 100.0 * (not has_text(row["reply"]))), share=True
    ),
    _cost("reply_tokens", "reply tokens", "tokens", "", "reply_tokens", terminal="reply\ntokens"),
    _cost("prompt_tokens", "prompt tokens", "tokens", "lower", "prompt_tokens", terminal="prompt\ntokens"),
    MetricEntry("reused", "in the cache %", "% of prompt", "higher", "reused_tokens", _reused, in_results=False),
    _cost("seconds", "s per reply", "s per reply", "lower", "seconds", digits=2),
    _cost("prefill", "prefill s", "s per reply", "lower", "prefill_seconds", digits=2),
)
METRICS = {entry.name: entry for entry in _ENTRIES}
OLD_ROUGE = _against_gold("rouge1_old", "old ROUGE-1", old_rouge)  # the paper's; only where it is asked for


def against_gold() -> list[str]:
    """The metrics that compare with the gold reply."""
    return [name for name, entry in {**METRICS, OLD_ROUGE.name: OLD_ROUGE}.items() if entry.against_gold]
