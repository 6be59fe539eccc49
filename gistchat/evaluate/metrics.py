"""Metrics of replies as pure functions of texts and likelihoods."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from gistchat.errors import require
from gistchat.evaluate.bootstrap import Metric, in_chunks, mean, ratio_of_sums

AGAINST_GOLD = ("rouge1", "rouge2", "rougeL", "bleu", "chrf", "f1", "rouge1_old")


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Metric:
    """exp of the mean negative log-likelihood per token, all tokens of all replies weighing the same."""
    per_token = ratio_of_sums(nats, tokens)
    return Metric("perplexity", "per token", "lower", lambda w: np.exp(np.minimum(per_token(w).astype(float), 700.0)))


def bits_per_byte(nats: Sequence[float], lengths: Sequence[int]) -> Metric:
    """Bits per byte of the gold replies in UTF-8, end tokens included: comparable between tokenizers."""
    per_byte = ratio_of_sums(nats, lengths)
    return Metric("bits_per_byte", "bits", "lower", lambda weights: per_byte(weights) / np.log(2))


def rouge(replies: Sequence[str], golds: Sequence[str]) -> list[Metric]:
    """ROUGE-1, -2 and -L F-measures in percent (Lin 2004), by `rouge-score` with stemming."""
    scorer = require("rouge_score.rouge_scorer", "evaluate").RougeScorer(
        ["rouge1", "rouge2", "rougeL"], use_stemmer=True
    )
    scores = [scorer.score(gold, reply) for gold, reply in zip(golds, replies, strict=True)]
    return [
        Metric(name, "%", "higher", mean([100 * score[key].fmeasure for score in scores]))
        for name, key in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougeL", "rougeL"))
    ]


def bleu(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """Corpus BLEU in percent (Papineni et al. 2002), by `sacrebleu` with its default tokenisation and smoothing."""
    BLEU = require("sacrebleu.metrics", "evaluate").BLEU
    scorer = BLEU(effective_order=False)
    rows = []
    for reply, gold in zip(replies, golds, strict=True):
        score = scorer.corpus_score([reply], [[gold]])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    statistics = np.asarray(rows, float)

    def values(weights: np.ndarray) -> np.ndarray:
        sums = np.rint(weights @ statistics.astype(weights.dtype))
        return np.asarray(
            [
                BLEU.compute_bleu(
                    correct=row[:4],
                    total=row[4:8],
                    sys_len=row[8],
                    ref_len=row[9],
                    smooth_method="exp",
                ).score
                for row in sums.astype(int).tolist()
            ]
        )

    return Metric("bleu", "%", "higher", values)


def chrf(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """Mean sentence chrF in percent (Popović 2015): shared character n-grams up to six, by `sacrebleu`."""
    scorer = require("sacrebleu.metrics", "evaluate").CHRF()
    scores = [scorer.sentence_score(reply, [gold]).score for reply, gold in zip(replies, golds, strict=True)]
    return Metric("chrf", "%", "higher", mean(scores))


def unigram_f1(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """F1 of shared words in percent, as ParlAI counts it: lower case, without punctuation and articles."""
    scores = [_f1(_plain_words(reply), _plain_words(gold)) for reply, gold in zip(replies, golds, strict=True)]
    return Metric("f1", "%", "higher", mean([100 * score for score in scores]))


def _plain_words(text: str) -> list[str]:
    words = re.sub(r"[^\w\s]|_", " ", text.lower()).split()
    return [word for word in words if word not in ("a", "an", "the")]


def _f1(words: list[str], others: list[str]) -> float:
    shared = sum((Counter(words) & Counter(others)).values())
    return 2 * shared / (len(words) + len(others)) if shared else 0.0


def old_rouge(replies: Sequence[str], golds: Sequence[str]) -> Metric:
    """ROUGE-1 as the paper took it: package `rouge`, case-sensitive, words by white space. Not to be used.

    It prefers other dialogues' gold replies to any model's, as these are spaced like the references (docs/LOG.md).
    """
    rouge = require("rouge", "paper").Rouge(metrics=["rouge-1"])
    scores = [
        rouge.get_scores(reply, gold)[0]["rouge-1"]["f"] if reply.strip(" .") and gold.strip(" .") else 0.0
        for reply, gold in zip(replies, golds, strict=True)
    ]
    return Metric("rouge1_old", "%", "higher", mean([100 * score for score in scores]))


def self_repetition(replies: Sequence[str], n: int = 3) -> Metric:
    """Word n-grams that a reply has said before, of all that it says, in percent; all replies together."""
    grams = [_ngrams(reply.lower().split(), n) for reply in replies]
    repeated = [100.0 * (len(item) - len(set(item))) for item in grams]
    return Metric("self_repetition", "%", "lower", ratio_of_sums(repeated, [len(item) for item in grams]))


def distinct(replies: Sequence[str], n: int) -> Metric:
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

    return Metric(f"distinct{n}", "%", "higher", values)


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
