"""Turns that are found, in a context: what fits, in which order, and never twice."""

import pytest
from conftest import make_dialogue

from gistchat.context.found import fit_found
from gistchat.context.strategies import Request, build_context
from gistchat.context.types import Gist, GistLine, Match, OtherSearch, Sentence, Sources
from gistchat.dialogue.turns import Turn
from gistchat.memory.turn_index import TurnIndex
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.wording import render_line


class Words:
    """Costs that can be counted by hand: a token for a word and one for the line or turn."""

    def turn_cost(self, turn):
        return len(turn.text.split()) + 1

    def line_cost(self, line):
        return len(line.text.split()) + 1

    def gist_cost(self):
        return 2

    def found_cost(self):
        return 3


TOLD = [
    Turn("user", "My sister Olga works as a nurse. She is never at home in the evening or at night."),
    Turn("model", "A nurse is a fine thing to be."),
    Turn("user", "We walked to the river."),
    Turn("model", "That sounds like fun."),
    Turn("user", "My nurse was kind."),
    Turn("model", "Good."),
]
ASKED = "Is your sister a nurse?"


def fit(tokens, order=(0, 4, 1), asked=ASKED):
    index = TurnIndex(TOLD)
    matches = [Match(turn, 1.0) for turn in order]
    lines, cost = fit_found(asked, matches, TOLD, index, "model", tokens, Words(), False)
    assert cost <= tokens
    assert cost == (3 + sum(map(Words().line_cost, lines)) if lines else 0)
    return [(line.turn, line.role, line.text) for line in lines]


def test_whole_turns_best_first_are_shown_oldest_first():
    assert [turn for turn, _, _ in fit(3 + 19 + 5)] == [0, 4]
    assert fit(3 + 19 + 5)[1] == (4, "user", "My nurse was kind.")


def test_of_a_best_turn_that_does_not_fit_the_sentence_that_matches_is_shown():
    assert fit(3 + 8 + 5) == [(0, "user", "My sister Olga works as a nurse."), (4, "user", "My nurse was kind.")]


def test_what_is_too_long_is_passed_over_for_whole_turns_before_its_sentence_is_taken():
    assert [text for _, _, text in fit(3 + 5 + 9, order=(4, 0, 1))] == [
        "A nurse is a fine thing to be.",
        "My nurse was kind.",
    ]
    assert [text for _, _, text in fit(3 + 5 + 8, order=(4, 0))] == [
        "My sister Olga works as a nurse.",
        "My nurse was kind.",
    ]


@pytest.mark.parametrize("tokens", range(0, 8))
def test_where_nothing_fits_nothing_is_shown_and_nothing_paid(tokens):
    assert fit(tokens, order=(0,)) == []


def request(turns, budget, asked=ASKED, gist=Gist(), answerer="model", **more):
    turns = [*turns, Turn("user", asked)]
    sources = Sources(rolling_gist=lambda turns: gist, search=TurnIndex(turns), **more)
    return Request(turns, answerer, budget, Words(), sources)


def shown(context):
    """Indices of the turns in it."""
    return [line.turn for line in context.found], [turn.first for turn in context.turns]


def test_retrieval_shows_what_is_asked_for_and_the_latest_turns_in_what_is_left():
    context = build_context("retrieval", request(TOLD, 3 + 19 + 9 + 5 + 2))
    assert shown(context) == ([0, 1, 4], [5])
    assert context.tokens == 3 + 19 + 9 + 5 + 2


def test_retrieval_shows_no_turn_twice_and_fills_the_room_that_this_leaves():
    context = build_context("retrieval", request(TOLD, 1000))
    assert shown(context) == ([], list(range(6)))


def test_a_last_turn_that_asks_for_nothing_leaves_all_to_the_latest_turns():
    recent = build_context("recent", request(TOLD, 20, asked="Hm, and?"))
    context = build_context("retrieval", request(TOLD, 20, asked="Hm, and?"))
    assert (context.found, context.turns, context.tokens) == ((), recent.turns, recent.tokens)


def test_memory_shows_gist_found_and_latest_turns_within_the_budget():
    gist = Gist((Sentence(2, "user", "We walked to the river."),), 4)
    context = build_context("memory", request(TOLD, 60, gist=gist))
    assert [line.text for line in context.lines] == ["We walked to the river."]
    assert shown(context) == ([0, 1, 3], [4, 5])  # 3 matches nothing, but there was room
    assert context.tokens <= 60


def test_memory_does_not_show_again_what_is_a_line_of_the_gist():
    gist = Gist((Sentence(1, "model", "A nurse is a fine thing to be."),), 4)
    context = build_context("memory", request(TOLD, 80, gist=gist))
    assert [line.turn for line in context.found] == [0, 2, 3]


def test_what_is_found_for_memory_leaves_the_beginning_as_it_is():
    gist = Gist((Sentence(2, "user", "We walked to the river."),), 4)
    asking = build_context("memory", request(TOLD, 60, gist=gist))
    saying = build_context("memory", request(TOLD, 40, asked="Hm.", gist=gist))
    assert [line.turn for line in saying.found] == [1, 3]  # the latest before the others
    assert asking.found != saying.found
    assert (asking.lines, asking.turns) == (saying.lines, saying.turns)


def test_to_who_asks_nothing_only_the_best_turn_is_found_and_then_the_latest():
    told = [*TOLD, Turn("user", "A nurse it is."), *(Turn(("model", "user")[i % 2], f"Hm {i} hm.") for i in range(5))]
    gist = Gist((), len(told) - 1)
    contexts = [
        build_context("memory", request(told, 24, asked=asked, gist=gist)) for asked in ("My nurse.", "My nurse?")
    ]
    said, asked = ([line.turn for line in context.found] for context in contexts)
    assert len(set(said) & {0, 1, 4, 6}) == 1
    assert set(said) >= {9, 10}
    assert set(asked) >= {4, 6}


def test_another_dialogues_turns_are_found_in_the_roles_of_this_one():
    donor = [Turn("another", "My nurse sang."), Turn("model", "Your nurse?"), Turn("another", "A sister of mine.")]
    other = OtherSearch(TurnIndex(donor), donor)
    context = build_context("shuffled-retrieval", request(TOLD, 40, other_search=other))
    assert [(line.role, line.text) for line in context.found] == [
        ("user", "My nurse sang."),
        ("assistant", "Your nurse?"),
        ("user", "A sister of mine."),
    ]


@pytest.mark.parametrize("budget", [0, 5, 12, 24, 48, 96, 200])
@pytest.mark.parametrize("name", ["retrieval", "memory"])
def test_prompts_hold_the_budget_and_no_turn_twice(name, budget):
    turns = [turn for number in range(4) for turn in make_dialogue(number).turns]
    answerer = turns[-2].speaker
    costs = SpeakerTokens(gpt2_tokenizer())
    for end in range(2, len(turns)):
        said = turns[:end]
        if said[-1].speaker == answerer:
            continue
        sources = Sources(rolling_gist=lambda turns: Gist(), search=TurnIndex(said))
        context = build_context(name, Request(said, answerer, budget, costs, sources))
        found, verbatim = shown(context)
        assert len(set(found)) == len(found)
        assert not verbatim or not found or max(found) < min(verbatim)
        paid = len(costs.encode(context)) - len(
            costs.encode(build_context("last", Request(said, answerer, 0, costs, sources)))
        )
        assert paid <= context.tokens <= budget


DATED = [turn._replace(date=f"{day} May 2026") for day, turn in enumerate(TOLD, 1)]


def dated_lines(asked, tokens):
    matches = [Match(turn, 1.0) for turn in (4, 3, 2)]
    lines, cost = fit_found(asked, matches, DATED, TurnIndex(DATED), "model", tokens, Rendered(), False)
    assert cost == 3 + sum(map(Rendered().line_cost, lines)) <= tokens
    return [(line.turn, line.date) for line in lines]


class Rendered(Words):
    def line_cost(self, line):
        return len(render_line(line).split()) + 1


def test_a_turn_that_asks_for_a_time_gets_the_date_of_the_best_line_and_more_while_there_is_room():
    assert dated_lines("When was your nurse kind?", 100) == [(2, "3 May 2026"), (3, "4 May 2026"), (4, "5 May 2026")]
    assert dated_lines("When was your nurse kind?", 3 + 9 + 6 + 7) == [(2, ""), (3, ""), (4, "5 May 2026")]
    assert dated_lines("Was your nurse kind?", 100) == [(2, ""), (3, ""), (4, "")]


def test_a_date_stands_before_the_line():
    assert render_line(GistLine("user", "My nurse was kind.", 4, date="5 May 2026")) == (
        "[5 May 2026] User: My nurse was kind."
    )
