"""Dialogues of more sentences than are all ranked: memory and work stay bounded, and shorter prefixes do not change."""

import random
import tracemalloc

import numpy as np
import pytest
from conftest import make_dialogue

from gistchat.context.types import Gist
from gistchat.dialogue.turns import Turn
from gistchat.memory import summary_store, workers
from gistchat.memory.rolling import GistHistory
from gistchat.memory.sentences import content_words, split_sentences
from gistchat.memory.summarizer import Job
from gistchat.memory.summarizers import extractive, rankers
from gistchat.memory.summarizers.extractive import METHODS, Extractor, summarize_prefixes
from gistchat.memory.summarizers.rankers import lexrank_prefixes, lsa_prefixes, word_counts
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, SummaryConfig

RANKING = [method for method, ranker in METHODS.items() if ranker]
MB = 2**20


def count(texts):
    return [max(1, len(text) // 4) for text in texts]


@pytest.fixture
def small_limits(monkeypatch):
    for name, limit in {"ALL_RANKED": 40, "LATEST": 12, "BEST": 6, "STEP": 8}.items():
        monkeypatch.setattr(extractive, name, limit)


@pytest.fixture
def sizes(monkeypatch):
    """How many sentences a ranker gets, each time, and how many prefixes of them."""
    seen = []

    def counted(ranker):
        def rank(words, ends):
            seen.append((len(words), len(ends)))
            return ranker(words, ends)

        return rank

    monkeypatch.setattr(extractive, "METHODS", {name: ranker and counted(ranker) for name, ranker in METHODS.items()})
    return seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("recency", [1.0, 0.95])
def test_prefixes_up_to_the_limit_have_the_picks_that_they_had(method, recency, monkeypatch, small_limits):
    turns = make_dialogue(3, turns=60).turns
    made = summarize_prefixes(turns, method, 60, count, recency)
    monkeypatch.setattr(extractive, "ALL_RANKED", 10**6)
    whole = summarize_prefixes(turns, method, 60, count, recency)
    ends = np.searchsorted([sentence.turn for sentence in whole.sentences], np.arange(60))
    exact = int((ends <= 40).sum())
    assert exact in range(15, 30)
    assert made.sentences == whole.sentences
    assert made.picks[:exact] == whole.picks[:exact]
    assert len(made.picks) == 60
    for k in range(exact, 60):
        assert made.picks[k]
        assert max(made.picks[k]) < ends[k]


@pytest.mark.parametrize("method", RANKING)
def test_work_grows_with_the_dialogue_and_not_with_its_square(method, small_limits, sizes):
    work = []
    for turns in (100, 200, 400):
        sizes.clear()
        summarize_prefixes(make_dialogue(1, turns=turns).turns, method, 60, count)
        assert max(sentences for sentences, _ in sizes) <= 40
        work.append(sum(sentences * prefixes for sentences, prefixes in sizes))
    assert work[1] / work[0] < 2.3
    assert work[2] / work[1] < 2.1


@pytest.mark.parametrize("method", RANKING)
def test_memory_is_bounded_however_long_the_dialogue(method):
    """A chat that is taken over from elsewhere is one job; ranking all of it would take hundreds of MB."""
    rng = random.Random(0)
    said = [Turn("ab"[i % 2], " ".join(f"word{rng.randrange(1500)}" for _ in range(4))) for i in range(2600)]
    job = Job((), tuple(said), 0, 60, lambda line: len(line.text) // 4)
    [update], peak = peak_of(lambda: Extractor(method).update([job]))
    assert update.sentences
    assert peak < 120 * MB


def peak_of(work):
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", RANKING)
@pytest.mark.parametrize("text", ["The orchestra plays tonight.", "Haha ok.", "你好。再见。", "..."])
def test_one_line_said_all_the_time(method, text, small_limits):
    turns = [Turn("ab"[i % 2], text) for i in range(150)]
    made = summarize_prefixes(turns, method, 60, count)
    assert len(made.picks) == 150
    assert all(len({made.sentences[i].text for i in pick}) == len(pick) for pick in made.picks)


def test_a_turn_longer_than_the_limit(small_limits):
    essay = " ".join(f"The garden number {i} has a violin of {i * i}." for i in range(200))
    turns = [Turn("a", "A river floods the garden."), Turn("b", essay), Turn("a", "I see."), Turn("b", "Good.")]
    made = summarize_prefixes(turns, "textrank", 60, count)
    assert [len(pick) > 0 for pick in made.picks] == [False, True, True, True]
    assert max(made.picks[2]) < 201


@pytest.mark.parametrize("method", ["textrank", "lexrank", "mmr"])
def test_what_mattered_long_ago_may_stay(method, small_limits):
    """Though one line is said a hundred times since, which is alike to itself most of all."""
    rng = random.Random(0)
    facts = ["violin", "orchestra", "concert", "Vienna"]
    told = [f"The {' and the '.join(rng.sample(facts, 3))} matter to {name}." for name in ("Ann", "Bob", "Cid", "Dan")]
    turns = [Turn("a", text) for text in told] + [Turn("b", "Good morning sunshine.")] * 100
    turns += [Turn("a", f"Nothing{i} of{i} note{i}.") for i in range(100)]
    picked = summarize_prefixes([*turns, Turn("b", "Yes")], method, 60, count).of_prefix(len(turns))
    assert {sentence.text for sentence in picked} & set(told)


def test_long_dialogues_are_counted(tmp_path, monkeypatch, capsys, small_limits):
    monkeypatch.setattr(workers, "ALL_RANKED", 40)
    monkeypatch.setattr(summary_store, "ALL_RANKED", 40)
    monkeypatch.setattr(workers, "ordered_map", map)
    tokenizer = gpt2_tokenizer()
    dialogues = [make_dialogue(0, turns=12), make_dialogue(1, turns=50), make_dialogue(2, turns=60)]
    for method, long in (("textrank", True), ("recent", True)):
        store = SummaryStore(tmp_path, SummaryConfig(method), ContextConfig(budget=60), SpeakerTokens(tokenizer), "t")
        store.add(dialogues[:1])
        assert "sentences" not in capsys.readouterr().err
        store.add(dialogues)
        assert ("2 dialogues have more than 40 sentences" in capsys.readouterr().err) == long


def dense_lexrank(words, end):
    """As the paper has it: tf-idf vectors of the prefix, cosines, and the walk between neighbours."""
    counts = word_counts(words)[:end]
    frequencies = counts / np.maximum(counts.max(axis=1, initial=0, keepdims=True), 1)
    occurring = np.count_nonzero(counts, axis=0)
    vectors = frequencies * np.where(occurring > 0, np.log(end / (1 + occurring)), 0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1)
    near = (vectors @ vectors.T > rankers.LEXRANK_THRESHOLD).astype(float)
    walk = near / np.maximum(near.sum(axis=1, keepdims=True), 1)
    scores, change = np.full(end, 1 / end), 1.0
    while change > rankers.LEXRANK_TOLERANCE:
        updated = walk.T @ scores
        if not updated.any():
            break
        updated /= np.linalg.norm(updated)
        change, scores = np.linalg.norm(updated - scores), updated
    return scores


def svd_lsa(words, end):
    counts = word_counts(words)[:end]
    counts = counts[:, counts.any(axis=0)]
    if not counts.size:
        return np.zeros(end)
    relative = counts / np.maximum(counts.max(axis=1, keepdims=True), 1)
    smoothed = np.where(counts.any(axis=1, keepdims=True), 0.4 + 0.6 * relative, 0)
    _, strengths, topics = np.linalg.svd(smoothed.T, full_matrices=False)
    return np.sqrt(strengths**2 @ topics**2)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("ranker", "reference"), [(lexrank_prefixes, dense_lexrank), (lsa_prefixes, svd_lsa)])
def test_scores_are_those_of_the_matrices(ranker, reference, number):
    filler = [Turn("a", "Oh ok haha."), Turn("b", "dog dog cat"), Turn("a", "dog dog cat")]
    dialogues = [
        [*make_dialogue(1, turns=30).turns, *filler, *make_dialogue(2, turns=20).turns],
        [*filler, *make_dialogue(3, turns=12).turns, *make_dialogue(3, turns=12).turns],
        [filler[0]] * 5,
        [Turn("a", f"word{i} " * (1 + i % 3) + f"word{i // 2}") for i in range(40)],
    ]
    words = [content_words(sentence.text) for sentence in split_sentences(dialogues[number])]
    ends = range(1, len(words) + 1)
    for end, scores in zip(ends, ranker(words, ends), strict=True):
        assert scores == pytest.approx(reference(words, end), abs=1e-12)


def test_the_gist_at_a_turn_is_the_latest_until_then():
    history = GistHistory(tuple((said, Gist(end=i)) for i, said in enumerate((3, 3, 7, 12))))
    assert [history.at(turns).end for turns in (3, 6, 7, 11, 12, 50)] == [1, 1, 2, 2, 3, 3]
    assert history.at(2) == GistHistory(()).at(9) == Gist()
