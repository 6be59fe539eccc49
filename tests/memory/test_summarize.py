import random

import numpy as np
import pytest
from conftest import make_dialogue
from sumy.models.dom import ObjectDocumentModel, Paragraph
from sumy.models.dom import Sentence as SumySentence
from sumy.summarizers.lex_rank import LexRankSummarizer
from sumy.summarizers.lsa import LsaSummarizer
from sumy.summarizers.text_rank import TextRankSummarizer

from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.memory.sentences import content_words
from gistchat.memory.summarizers import extractive, textrank
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.memory.summarizers.rankers import cosines, lexrank_prefixes, lsa_prefixes, mmr, word_counts
from gistchat.memory.summarizers.textrank import overlaps, rank_prefixes, textrank_prefixes
from gistchat.memory.summary_store import PickedOnDemand, SummaryStore
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ContextConfig, SummaryConfig
from gistchat.resumable import ResumableJsonl

TEXTRANK = SummaryConfig("textrank")


FORMAT = SpeakerTokens(gpt2_tokenizer())


@pytest.fixture(scope="module")
def count():
    return token_counter(gpt2_tokenizer())


def open_store(folder, config=TEXTRANK, budget=60, key="t"):
    return SummaryStore(folder, config, ContextConfig(budget=budget), FORMAT, key)


def test_every_prefix_ranks_as_when_rebuilt_alone():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 2, (60, 25)).astype(float)
    counts[7] = 0  # a sentence that shares nothing
    similarity = counts @ counts.T
    ends = [0, 1, 2, 5, 17, 40, 60]
    together = rank_prefixes(similarity, ends)
    for end, scores in zip(ends, together, strict=True):
        [alone] = rank_prefixes(similarity[:end, :end], [end])
        assert scores == pytest.approx(alone, abs=1e-5)


def test_scores_are_pageranks_fixed_point():
    similarity = np.array([[2.0, 1, 0], [1, 3, 1], [0, 1, 1]])
    scores = textrank._prefix_scores(similarity, np.array([3]))[:, 0]
    walk = similarity / similarity.sum(0)
    assert scores == pytest.approx(0.05 + 0.85 * walk @ scores, abs=1e-4)


def test_textrank_scores_agree_with_sumy():
    sentences = extractive.split_sentences(make_dialogue(3, turns=20).turns)
    words = [content_words(sentence.text) for sentence in sentences]
    reference = TextRankSummarizer()
    n = len(words)
    weights = np.array([[reference._rate_sentences_edge(a, b) for b in words] for a in words])
    assert overlaps(words) == pytest.approx(weights)
    weights /= weights.sum(1, keepdims=True) + 1e-7
    expected = reference.power_method(np.full((n, n), 0.15 / n) + 0.85 * weights, reference.epsilon)
    assert textrank._prefix_scores(overlaps(words), np.array([n]))[:, 0] == pytest.approx(
        expected / expected.sum(), abs=1e-9
    )


def test_every_prefix_has_the_picks_that_sumy_makes_of_it():
    turns = [*make_dialogue(3, turns=16).turns, Turn("a", "Oh ok haha."), *make_dialogue(4, turns=16).turns]
    texts = [sentence.text for sentence in extractive.split_sentences(turns)]
    ends = range(3, len(texts), 5)
    for end, scores in zip(ends, textrank_prefixes([content_words(text) for text in texts], ends), strict=True):
        document = sumy_document(texts[:end])
        rated = TextRankSummarizer().rate_sentences(document)
        expected = np.array([rated[sentence] for sentence in document.sentences])
        order, wanted = (np.argsort(-(part / part.sum()).round(9), kind="stable")[:6] for part in (scores, expected))
        assert order.tolist() == wanted.tolist()


def sumy_document(sentences):
    class Words:
        @staticmethod
        def to_words(text):
            return tuple(content_words(text))

    return ObjectDocumentModel([Paragraph([SumySentence(text, Words) for text in sentences])])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning:sumy", "ignore:Number of words:UserWarning:sumy")
@pytest.mark.parametrize(
    ("ranker", "reference"), [(lexrank_prefixes, LexRankSummarizer()), (lsa_prefixes, LsaSummarizer())]
)
def test_rankings_agree_with_sumy_on_every_prefix(ranker, reference):
    turns = [*make_dialogue(3, turns=12).turns, Turn("a", "Oh ok haha."), *make_dialogue(4, turns=6).turns]
    texts = [sentence.text for sentence in extractive.split_sentences(turns)]
    for end, scores in zip(
        (1, 2, 9, len(texts)), ranker([content_words(t) for t in texts], (1, 2, 9, len(texts))), strict=True
    ):
        document = sumy_document(texts[:end])
        for size in range(1, end + 1):
            best = sorted(np.argsort(-scores.round(9), kind="stable")[:size].tolist())
            cut = sorted(scores.round(9), reverse=True)
            if size < end and cut[size - 1] == cut[size]:
                continue  # a tie at the cut: both picks are right
            assert [texts[i] for i in best] == [str(sentence) for sentence in reference(document, size)]


def test_mmr_does_not_say_a_thing_twice():
    words = [["river", "flood"], ["river", "flood", "spring"], ["violin", "lesson"], ["river", "flood"]]
    order = np.argsort(-mmr(np.array([1.0, 0.9, 0.5, 0.95]), cosines(word_counts(words))), kind="stable").tolist()
    assert order[0] == 0
    assert order.index(2) < order.index(3)
    assert mmr(np.zeros(0), np.zeros((0, 0))).tolist() == []


def test_recency_brings_later_turns_forward(count):
    turns = make_dialogue(2, turns=40).turns
    mean = {
        recency: np.mean([s.turn for s in summarize_prefixes(turns, "textrank", 60, count, recency).of_prefix(39)])
        for recency in (1.0, 0.9)
    }
    assert mean[0.9] > mean[1.0] + 5


def test_recent_takes_the_last_sentences(count):
    picked = summarize_prefixes(make_dialogue(1, turns=30).turns, "recent", 60, count).of_prefix(20)
    assert [sentence.turn for sentence in picked] == sorted((sentence.turn for sentence in picked), reverse=True)
    assert picked[0].turn == 19


@pytest.mark.parametrize("method", METHODS)
def test_rankings_cover_only_their_prefix_and_serve_smaller_budgets(method, count):
    turns = make_dialogue(1, turns=30).turns
    summaries = summarize_prefixes(turns, method, 60, count)
    assert len(summaries.picks) == len(turns)
    assert summaries.of_prefix(0) == []
    for k in range(1, len(turns)):
        picked = summaries.of_prefix(k)
        assert picked
        assert all(sentence.turn < k for sentence in picked)
        assert all(sentence.speaker == turns[sentence.turn].speaker for sentence in picked)
        costs = count([f"User: {sentence.text}\n" for sentence in picked])
        assert max(costs) <= 60
        assert sum(costs) <= extractive.RESERVE * 60 + max(costs)
        assert sum(costs) > 120 or len(picked) == len(set(s.text for s in extractive.split_sentences(turns[:k])))


def test_a_long_best_sentence_leaves_others_for_a_smaller_budget(count):
    river = "The river near my house floods every spring and the garden by the river is under water for weeks and weeks"
    turns = [Turn("a", river), Turn("b", "My garden floods too."), Turn("a", "A river is wild."), Turn("b", "Yes")]
    picked = summarize_prefixes(turns, "textrank", 30, count).of_prefix(3)
    assert picked[0].text == river
    assert len(picked) == 3


def test_lead_takes_the_first_sentences(count):
    turns = make_dialogue(1, turns=30).turns
    picked = summarize_prefixes(turns, "lead", 60, count).of_prefix(20)
    assert [sentence.turn for sentence in picked] == sorted(sentence.turn for sentence in picked)
    assert picked[0].turn == 0


def test_filler_loses(count):
    turns = [Turn("a", "My sister plays the violin in an orchestra."), Turn("b", "Oh ok haha yeah.")] * 3
    turns += [Turn("a", "The orchestra with the violin travels to Vienna."), Turn("b", "Cool!"), Turn("a", "Yes")]
    texts = [s.text for s in summarize_prefixes(turns, "textrank", 24, count).of_prefix(len(turns) - 1)]
    assert "Oh ok haha yeah." not in texts
    assert any("violin" in text for text in texts)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("text", ["...", "👋👋", "你好。再见。", "x" * 5000, "<|im_start|>system"])
def test_odd_text_gives_a_valid_summary(text, method, count):
    turns = [Turn("a", text), Turn("b", "What?"), Turn("a", "Nothing.")]
    made = summarize_prefixes(turns, method, 50, count)
    assert len(made.picks) == 3
    assert summarize_prefixes(turns[:1], method, 50, count).picks == ((),)


def test_store_computes_once_and_survives_a_torn_line(tmp_path, count):
    dialogues = [make_dialogue(i) for i in range(3)]
    store = open_store(tmp_path)
    assert store.add(dialogues[:2]) == 2
    assert store.add([*dialogues, dialogues[2]]) == 1
    expected = summarize_prefixes(dialogues[1].turns, "textrank", 60, count)
    assert store.get(dialogues[1]) == expected
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:-40])  # what a kill while writing the third line leaves
    again = open_store(tmp_path)
    assert again.add(dialogues) == 1
    assert again.path.read_bytes() == whole
    assert open_store(tmp_path).add(dialogues) == 0


def test_store_is_keyed_by_settings_budget_and_tokenizer(tmp_path):
    dialogue = make_dialogue(0)
    open_store(tmp_path).add([dialogue])
    for other in (
        (SummaryConfig("lead"), 60, "t"),
        (SummaryConfig("textrank", 0.9), 60, "t"),
        (TEXTRANK, 61, "t"),
        (TEXTRANK, 60, "u"),
    ):
        assert dialogue not in open_store(tmp_path, *other)


@pytest.mark.parametrize("ranked", [1200, 40])
def test_summaries_on_demand_are_those_of_the_store(tmp_path, monkeypatch, ranked):
    """Also where a dialogue is longer than what is ranked at once."""
    for name, value in {"ALL_RANKED": ranked, "LATEST": 20, "BEST": 10, "STEP": 10}.items():
        monkeypatch.setattr(extractive, name, value)
    store, dialogue = open_store(tmp_path), make_dialogue(1, turns=40)
    made = PickedOnDemand(store).get(dialogue)
    on_demand = [made.of_prefix(turns) for turns in range(40)]
    assert dialogue not in store
    store.add([dialogue])
    assert on_demand == [store.get(dialogue).of_prefix(turns) for turns in range(40)]
    assert on_demand[0] == []
    assert len(on_demand[39]) > 3


def test_missing_and_damaged_summaries_are_named(tmp_path):
    store = open_store(tmp_path)
    with pytest.raises(UserError, match="run gistchat summarize"):
        store.get(make_dialogue(0))
    store.add([make_dialogue(0)])
    ResumableJsonl(store.path).append([{"key": make_dialogue(0).content_hash, "pocks": []}])
    with pytest.raises(UserError, match="damaged summary of d0"):
        open_store(tmp_path).get(make_dialogue(0))


@pytest.mark.parametrize(("before", "after"), [("dog", "cat"), ('"picks"', '"pocks"'), ("]]", "]"), ("bought", "sold")])
def test_a_summary_that_was_edited_is_said_and_made_again(tmp_path, before, after, capsys):
    dialogues = [make_dialogue(i) for i in range(4)]
    store = open_store(tmp_path)
    store.add(dialogues)
    expected = [store.get(dialogue) for dialogue in dialogues]
    text = store.path.read_text()
    store.path.write_text(text.replace(before, after))
    edited = sum(before in line for line in text.splitlines())
    assert edited
    again = open_store(tmp_path)
    assert f"{store.path.name}:" in capsys.readouterr().err
    with pytest.raises(UserError, match="run gistchat summarize"):
        [again.get(dialogue) for dialogue in dialogues]
    assert again.add(dialogues) == edited
    assert [again.get(dialogue) for dialogue in dialogues] == expected


def test_random_long_dialogue_is_cut_into_blocks_of_prefixes(monkeypatch, count):
    turns = make_dialogue(5, turns=40).turns
    whole = summarize_prefixes(turns, "textrank", 40, count)
    monkeypatch.setattr(textrank, "PREFIXES_AT_ONCE", random.Random(1).randrange(3, 9))
    assert summarize_prefixes(turns, "textrank", 40, count) == whole
