"""The memory that rolls: when it refreshes, what it records, and what editing and failing do to it."""

import gc
import itertools
import pickle

import pytest
from conftest import make_dialogue

from gistchat.context.budget import best_lines
from gistchat.context.strategies import Request, build_context
from gistchat.context.types import Sentence, Sources
from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.rolling import Costs, RollingMemory, Room, chained, prompt_costs, roll_dialogues
from gistchat.memory.summarizer import Job, Update
from gistchat.memory.summarizers.extractive import METHODS, Extractor
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, SummaryConfig

ROOM = Room(budget=90, gist=31, heading=1)


@pytest.fixture(scope="module")
def prompt_format():
    return SpeakerTokens(gpt2_tokenizer())


@pytest.fixture
def memory(prompt_format):
    return RollingMemory(ROOM, prompt_costs(prompt_format), "textrank")


def tell(memory, turns, summarizer):
    """How many turns had been said at each refresh."""
    refreshed = []
    for turn in turns:
        memory.add(turn)
        before = memory.gist
        memory.refresh(summarizer)
        if memory.gist is not before:
            refreshed.append(memory.turns)
    return refreshed


@pytest.mark.parametrize("method", METHODS)
def test_it_refreshes_only_when_the_window_overflows_and_keeps_within_its_budget(memory, method):
    turns = make_dialogue(0, turns=60).turns
    refreshed = tell(memory, turns, Extractor(method))
    assert refreshed
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(refreshed))
    assert memory.gist.end + len(memory.window) == 60
    assert list(memory.window) == list(turns[memory.gist.end :])
    digest = ""
    for turn in turns[: memory.gist.end]:
        digest = chained(digest, turn)
    assert memory.gist.digest == digest
    assert memory.gist.sentences
    assert memory.cost(memory.gist.sentences) <= 30
    for sentence in memory.gist.sentences:  # kept by extraction: word for word, with who said it and where
        assert sentence.text in turns[sentence.turn].text
        assert sentence.speaker == turns[sentence.turn].speaker


def test_the_latest_exchange_stays_word_for_word_as_long_as_it_fits(memory):
    turns = list(make_dialogue(0, turns=20).turns)
    long = " ".join(turn.text for turn in turns)
    for i in range(3, 20, 4):
        turns[i] = Turn(turns[i].speaker, long[: 150 if i < 12 else 900])
    kept = []
    for turn in turns:
        memory.add(turn)
        memory.refresh(Extractor("textrank"))
        kept.append((len(memory.window), memory.costs.turn(turn)))
    assert all(window >= 1 for window, cost in kept if cost <= ROOM.of_turns(1))
    assert [window for window, cost in kept if cost > ROOM.budget] == [0, 0]
    assert any(ROOM.of_turns(1) / 2 < cost <= ROOM.of_turns(1) for _, cost in kept)


def test_nothing_is_summarised_as_long_as_all_fits(memory):
    assert tell(memory, make_dialogue(0, turns=2).turns, Extractor("textrank")) == []
    assert memory.gist.end == 0


def test_pinned_lines_stay_word_for_word_and_edits_stay_first(memory):
    turns = make_dialogue(0, turns=60).turns
    extractor = Extractor("recent")
    tell(memory, turns[:12], extractor)
    pinned = memory.gist.sentences[0]
    memory.pin(pinned)
    assert pinned not in memory.gist.sentences
    tell(memory, turns[12:40], extractor)
    assert memory.current().sentences[0] == pinned
    memory.edit("They agreed to meet on Friday.")
    tell(memory, turns[40:], extractor)
    assert memory.current().sentences[0] == Sentence(-1, "", "They agreed to meet on Friday.")
    assert len(memory.current().sentences) > 1


def test_editing_a_covered_turn_brings_an_earlier_gist_back(memory):
    turns = list(make_dialogue(0, turns=60).turns)
    extractor = Extractor("textrank")
    tell(memory, turns, extractor)
    ends = [version.gist.end for version in memory.versions]
    changed = ends[-2]  # the first turn that the last two gists cover and the one before does not
    turns[changed] = Turn(turns[changed].speaker, "I never said that.")
    assert memory.rewind(turns)
    assert memory.gist.end == changed
    assert list(memory.window) == turns[changed:]
    late = list(turns)
    late[-1] = Turn("x", "Not covered by any gist.")
    assert not memory.rewind(late)
    turns[0] = Turn(turns[0].speaker, "Everything is different.")
    assert memory.rewind(turns)
    assert (memory.gist.end, memory.gist.sentences) == (0, ())
    memory.refresh(extractor)
    assert memory.gist.end > 0


class Failing:
    def update(self, jobs):
        raise UserError("the endpoint is down")


class Empty:
    def update(self, jobs):
        return [Update(()) for _ in jobs]


def test_a_refresh_that_fails_or_loses_everything_changes_nothing(memory):
    turns = make_dialogue(0, turns=40).turns
    tell(memory, turns[:14], Extractor("textrank"))
    gist = memory.gist
    for turn in turns[14:30]:
        memory.add(turn)
    with pytest.raises(UserError, match="down"):
        memory.refresh(Failing())
    with pytest.raises(UserError, match="empty"):
        memory.refresh(Empty())
    assert memory.gist == gist
    assert list(memory.window) == list(turns[gist.end : 30])
    memory.refresh(Extractor("textrank"))
    assert memory.gist.end > gist.end


def test_roll_dialogues_side_by_side_are_those_of_a_memory_that_hears_turn_by_turn(prompt_format):
    dialogues = [make_dialogue(i, turns=20 + 7 * i).turns for i in range(3)]
    extractor = Extractor("lexrank")
    fresh = lambda: RollingMemory(ROOM, prompt_costs(prompt_format), "lexrank")  # noqa: E731
    found, fell_back = roll_dialogues([*dialogues, ()], [fresh() for _ in range(4)], extractor)
    assert fell_back == []
    for turns, chain in zip(dialogues, found, strict=False):
        memory = fresh()
        for said, turn in enumerate(turns[:-1], 1):
            memory.add(turn)
            memory.refresh(extractor)
            assert chain.at(said) == memory.gist or (not memory.gist.sentences and not chain.at(said).sentences)


def test_the_rolling_context_is_the_gist_and_the_turns_since(prompt_format):
    turns = make_dialogue(0, turns=41).turns
    memory = MemoryFactory.of(SummaryConfig(), ContextConfig(), prompt_format).new_memory()
    extractor = Extractor("textrank")
    [chain], _ = roll_dialogues([turns], [memory], extractor)
    for said in (3, 12, 25, 41):
        sources = Sources(rolling_gist=chain.at)
        context = build_context("rolling", Request(turns[:said], turns[said % 2].speaker, 96, prompt_format, sources))
        assert context.tokens <= 96
        gist = chain.at(said - 1)
        assert context.boundary == gist.end
        assert len(context.turns) == said - 1 - gist.end
        assert [line.text for line in context.lines] == [sentence.text for sentence in gist.sentences]


def test_ten_thousand_turns_take_no_more_memory_than_a_thousand():
    memory = RollingMemory(ROOM, Costs(*[lambda line: len(line.text) // 4 + 3] * 2, 1), "textrank")
    extractor = Extractor("textrank")
    turns = make_dialogue(0, turns=500).turns
    held = []
    for round_ in range(20):
        tell(memory, turns, extractor)
        if round_ in (1, 19):
            held.append(len(pickle.dumps((memory.gist, memory.versions, memory.window, memory._costs))))
            sentences = sum(type(thing) is Sentence for thing in gc.get_objects())
    assert memory.turns == 10_000
    assert len(memory.window) < 10
    assert held[1] < 1.2 * held[0]
    assert sentences < 200  # of a few in each of the versions that are kept


@pytest.mark.parametrize(
    "text", ["", "...", "👍 🎉", "x" * 100_000, "word " * 20_000, "你好，我住在北京。", "<|endoftext|><sp1>"]
)
@pytest.mark.parametrize("method", METHODS)
def test_odd_turns_leave_a_valid_gist(memory, text, method):
    turns = [Turn("a", text), Turn("b", text), Turn("a", "We moved to the harbour in spring."), Turn("b", text)] * 4
    extractor = Extractor(method)
    tell(memory, turns, extractor)
    assert memory.turns == 16
    assert memory.cost(memory.gist.sentences) <= 30


@pytest.mark.parametrize(
    "said", [["да", "ага", "ок"], ["نعم", "حسنا", "شكرا"], ["ok", "lol", "and you?"], ["うん", "草"]]
)
def test_a_gist_stays_where_neither_it_nor_the_turns_say_anything(said):
    """Such as a sentence whose beginning, all that fits, holds function words only."""
    turns = tuple(Turn("ab"[i % 2], text) for i, text in enumerate(said))
    job = Job((Sentence(0, "a", "I am…"),), turns, 1, 12, lambda line: len(line.text))
    [update] = Extractor("textrank").update([job])
    assert update.sentences


FAMILY = "👨‍👩‍👧‍👦" * 4  # one character to people, some 50 tokens


@pytest.mark.parametrize("best", [f"{FAMILY} trip to Porto", f"{FAMILY}旅行", f"{FAMILY}, Порту"])
def test_where_the_best_has_no_beginning_that_fits_the_next_best_has(best):
    ranked = [Sentence(0, "a", best), Sentence(1, "b", "We moved to the harbour in spring.")]

    def cost(line):
        return len(line.text.encode()) if line.speaker == "a" else len(line.text.split())

    assert [line.text for line in best_lines([ranked[0], ranked[1]], cost, 5)] == ["We moved to the harbour…"]
