"""Training replies that answer questions for facts: what is told, when, what is to be learned where it is not known."""

from collections import Counter

import pytest
from conftest import gistchat, make_dialogue

from gistchat.examples.build import ExampleBuilder
from gistchat.examples.fact_items import LEAST, MOST, UNTOLD, fact_targets, wording
from gistchat.examples.small_talk import holds
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import load_tokenizer
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, SummaryConfig, TrainConfig
from gistchat.train.rows import build_rows, choose_targets

DIALOGUES = [make_dialogue(i, turns=20) for i in range(30)]
NUMBER = 240


@pytest.fixture(scope="module")
def targets():
    return fact_targets(NUMBER, DIALOGUES, seed=5)


def telling_of(target) -> list[int]:
    """The turns that tell what is asked for."""
    question = target.dialogue.turns[-2].text
    tellings = {told.format(target.word) for fact in wording().facts if question in fact.asked for told in fact.told}
    return [i for i, turn in enumerate(target.history) if turn.text in tellings]


def test_facts_are_told_once_some_turns_before_they_are_asked_for(targets):
    told = [target for target in targets if target.word]
    since = []
    for target in told:
        [place] = telling_of(target)
        since.append(target.turn - 1 - place - 2)  # without the question, and the answer to the telling
        assert [holds(turn.text, target.word) for turn in target.history].count(True) == 1
        assert holds(target.gold, target.word)
        assert [turn.speaker for turn in target.dialogue.turns] == ["user", "model"] * (len(target.dialogue.turns) // 2)
    assert (min(since), max(since)) == (LEAST, MOST)
    assert len(set(since)) == MOST // 2
    assert len({target.dialogue.turns[-2].text for target in told}) > 60


def test_one_in_six_was_never_told_and_says_so(targets):
    untold = [target for target in targets if not target.word]
    assert len(untold) == NUMBER // UNTOLD
    assert all(target.gold in wording().unknown for target in untold)
    words = {question: fact.words for fact in wording().facts for question in fact.asked}
    for target in untold:
        tellings = {
            told.format(word)
            for fact in wording().facts
            if target.dialogue.turns[-2].text in fact.asked
            for told in fact.told
            for word in words[target.dialogue.turns[-2].text]
        }
        assert tellings.isdisjoint(turn.text for turn in target.history)


def test_the_rest_is_small_talk_of_the_dialogues_given(targets):
    real = {turn.text for dialogue in DIALOGUES for turn in dialogue.turns}
    made = set(wording().acknowledged)
    made |= {told.format(word) for fact in wording().facts for told in fact.told for word in fact.words}
    for target in targets:
        assert {turn.text for turn in target.history[:-1]} <= real | made
    assert sum(turn.text in real for target in targets for turn in target.history) > 20 * NUMBER


def test_the_same_seed_makes_the_same(targets):
    assert fact_targets(NUMBER, DIALOGUES, seed=5) == targets
    assert not {t.dialogue.content_hash for t in fact_targets(NUMBER, DIALOGUES, seed=6)} & {
        t.dialogue.content_hash for t in targets
    }
    assert fact_targets(0, [], seed=5) == []


def chosen(fact_items, **settings):
    config = TrainConfig(fact_items=fact_items, **settings)
    return choose_targets(config, DIALOGUES, DIALOGUES[:4], 0, {}).train


def test_fact_items_are_spread_among_the_other_rows():
    plain, mixed = chosen(0, steps=20, batch_size=10), chosen(50, steps=20, batch_size=10)
    assert (len(plain), len(mixed)) == (200, 200)
    of_facts = [i for i, target in enumerate(mixed) if target.dialogue.corpus == "facts"]
    assert len(of_facts) == 50
    assert all(4 < sum(i // 50 == quarter for i in of_facts) < 25 for quarter in range(4))
    assert [target for target in mixed if target.dialogue.corpus != "facts"] == plain[:150]
    assert chosen(50, steps=20, batch_size=10) == mixed


def test_fact_items_take_no_more_than_half_of_few_rows(capsys):
    mixed = chosen(50, steps=2, batch_size=10)
    assert Counter(target.dialogue.corpus for target in mixed) == {"facts": 10, "": 10}
    assert "10 of 50 fact items, half of the 20 rows" in " ".join(capsys.readouterr().err.split())


def test_where_steps_do_not_say_how_many_all_are_learned_in_every_pass():
    replies = len(chosen(0))
    assert len(chosen(50)) == len(chosen(50, epochs=3)) == replies + 50
    everything = chosen(50, steps=1000, batch_size=10)
    assert len(everything) == replies + 50


def test_a_fact_that_the_prompt_does_not_hold_is_not_answered(tiny_base, tmp_path, targets):
    prompt_format = make_format("speaker-tokens", load_tokenizer(tiny_base))
    context = ContextConfig(budget=64)
    store = SummaryStore(tmp_path, SummaryConfig(), context, prompt_format, "t")
    builder = ExampleBuilder(prompt_format, context, store, 512)
    decode = prompt_format.tokenizer.decode
    answered = {}
    for strategy in ("last", "recent", "retrieval"):
        rows, left_out = build_rows(
            targets[:60], TrainConfig(strategies=[strategy], steps=6, batch_size=10), [builder], 0
        )
        assert left_out == 0
        answered[strategy] = 0
        for target, row in zip(targets, rows, strict=False):
            reply = decode([label for label in row.labels if label >= 0], skip_special_tokens=True).strip()
            prompt = decode(row.ids[: len(row.ids) - sum(label >= 0 for label in row.labels)])
            known = bool(target.word) and holds(prompt, target.word)
            assert reply == (target.gold if known or not target.word else target.otherwise)
            answered[strategy] += known
    assert answered["last"] == 0
    told = sum(bool(target.word) for target in targets[:60])
    never_near = sum(bool(target.word) and target.near is None for target in targets[:60])
    assert never_near == told // 5
    assert told - never_near <= answered["recent"] <= answered["retrieval"] <= told


def test_what_is_asked_soon_after_is_the_same_question_with_the_same_answer(targets):
    for target in targets:
        if target.near:
            asked, soon = (one.dialogue.turns for one in (target, target.near))
            assert (soon[-2:], target.near.word) == (asked[-2:], target.word)
            assert [holds(turn.text, target.word) for turn in soon[:-2]].index(True) == len(soon) - 6


def test_a_run_learns_fact_items(tiny_folder):
    done = gistchat(
        "run", "tiny.toml", "--set", "train.fact_items=4", "--set", 'train.strategies=["memory"]', cwd=tiny_folder
    )
    assert done.returncode == 0, done.stderr
    stored = list((tiny_folder / "data" / "summaries").glob("*.jsonl"))
    assert stored
    told = [telling for fact in wording().facts for telling in fact.told]
    pieces = [max(text.split("{}"), key=len).strip() for text in told]
    texts = "".join(path.read_text() for path in stored)
    assert sum(piece in texts for piece in pieces) >= 3


def test_fact_items_need_rows_of_one_reply(tiny_folder):
    words = ["--set", 'train.strategies=["full"]', "--set", "train.targets=all", "--set", "train.fact_items=2"]
    done = gistchat("run", "tiny.toml", *words, cwd=tiny_folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "train.fact_items: one reply of each is learned" in done.stderr
