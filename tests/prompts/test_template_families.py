"""Families of chat models: where the gist stands, what ends a reply, no thoughts, one date, true token counts."""

import itertools
from datetime import datetime
from functools import cache

import pytest
from conftest import make_dialogue
from template_families import FAMILIES, family_tokenizer

from gistchat.context.budget import fit_limit
from gistchat.context.strategies import Request, build_context
from gistchat.context.types import ASSISTANT, USER, Context, Gist, GistLine, OtherSearch, RoleTurn, Sentence, Sources
from gistchat.memory.turn_index import TurnIndex
from gistchat.prompts.formats import make_format
from gistchat.prompts.jinja import render_template
from gistchat.prompts.portable import jinja_template
from gistchat.prompts.wording import asked, opening

LINES = (GistLine(USER, "I have two dogs.", 0), GistLine(ASSISTANT, "Dogs are nice!", 1))
FOUND = (GistLine(USER, "I sold 3 bicycles.", 0),)
REPLIES = ["I bought a dog near the river.", "42 of them", "…and no more", "é", "(laughs)", "I"]
each_family = pytest.mark.parametrize("name", FAMILIES)


@cache
def format_of(name: str):
    family = FAMILIES[name]
    tokenizer = family_tokenizer(family)
    return make_format("auto", tokenizer, tokenizer.convert_tokens_to_ids(list(family.listed)))


def window(count: int) -> list[RoleTurn]:
    """Turns of which the user's is the last."""
    said = make_dialogue(count, turns=count).turns
    return [RoleTurn(USER if (count - i) % 2 else ASSISTANT, turn.text, i) for i, turn in enumerate(said)]


def context_of(turns: list[RoleTurn], lines=LINES, found=()) -> Context:
    return Context(tuple(lines), tuple(turns[:-1]), turns[-1], 0, 0, found=tuple(found))


def text_of(prompt_format, context: Context) -> str:
    """The whole prompt as text, as the template writes it."""
    roles = [*(turn.role for turn in context.turns), context.last.role]
    texts = [*(turn.text for turn in context.turns), asked(context.found, context.last.text)]
    messages = prompt_format._layouts[roles[0]].messages(roles, [opening(context.lines), *texts])
    return prompt_format._render(messages, True)


def ids_of(prompt_format, text: str) -> list[int]:
    return prompt_format.tokenizer(text, add_special_tokens=False)["input_ids"]


@each_family
def test_the_gist_begins_the_prompt_whoever_speaks_first(name):
    family, prompt_format = FAMILIES[name], format_of(name)
    assert prompt_format.name == "chat-template"
    for count, begins in ((1, family.begins), (2, family.begins_own), (3, family.begins), (4, family.begins_own)):
        turns = window(count)
        text = text_of(prompt_format, context_of(turns))
        assert text.startswith(begins.replace("{}", opening(LINES)) + turns[0].text)
        assert text.endswith(turns[-1].text + family.asks)


@each_family
def test_ids_are_those_of_the_whole_text(name):
    prompt_format = format_of(name)
    for count, found in itertools.product((1, 2, 3, 6), ((), FOUND)):
        context = context_of(window(count), found=found)
        assert prompt_format.encode(context).ids == ids_of(prompt_format, text_of(prompt_format, context))


@each_family
def test_a_reply_is_learned_as_the_prompt_will_show_it_and_with_what_ends_it(name):
    family, prompt_format = FAMILIES[name], format_of(name)
    spelled = prompt_format.tokenizer.convert_ids_to_tokens
    for reply in REPLIES:
        context = context_of(window(3))
        prompt, learned = prompt_format.encode(context), prompt_format.encode_reply(reply)
        assert spelled(learned[-1]) == family.end
        assert prompt_format.decode_reply(learned[:-1]) == reply
        whole = ids_of(prompt_format, text_of(prompt_format, context) + prompt_format._reply_begin + reply)
        if whole[: len(prompt)] == prompt.ids:
            assert prompt.ids + learned[:-1] == whole
        else:  # GPT-2's two line breaks are one token at the end of a text, and two before a word
            assert family.asks.endswith("\n\n")
            assert not family.sentencepiece
            assert learned[:-1] == prompt_format.encode_text(reply)


@pytest.mark.parametrize("typed", ["<think>", "</think>", "<|im_start|>", "<|im_end|>"])
def test_what_is_typed_in_a_reply_becomes_no_control_token(typed):
    for name in ("Qwen 3", "StableLM 2 chat"):
        prompt_format = format_of(name)
        tokenizer = prompt_format.tokenizer
        if typed in tokenizer.get_vocab():
            learned = prompt_format.encode_reply(f"I wrote {typed} there")
            assert tokenizer.convert_tokens_to_ids(typed) not in learned[:-1]
            assert tokenizer.decode(learned[:-1]) == f"I wrote {typed} there"


@each_family
def test_a_reply_ends_at_whatever_ends_or_begins_a_message(name):
    family, prompt_format = FAMILIES[name], format_of(name)
    stops = prompt_format.tokenizer.convert_ids_to_tokens(prompt_format.stop_ids)
    assert stops[0] == family.end
    assert set(stops) == set(family.stops)


@each_family
def test_costs_are_those_of_the_whole_prompt(name):
    prompt_format = format_of(name)
    bare = len(prompt_format.encode(context_of(window(1), ())))
    for count in range(1, 10):
        turns = window(count)
        used = len(prompt_format.encode(context_of(turns, ()))) - bare
        last = len(prompt_format.encode(context_of(turns[-1:], ()))) - bare
        costs = sum(map(prompt_format.turn_cost, turns[:-1])) + last
        assert abs(costs - used) <= 2  # where the template's own text makes a token with its neighbour


@each_family
@pytest.mark.parametrize("strategy", ["recent", "rolling", "memory"])
def test_budgets_hold_in_real_tokens(name, strategy):
    _assert_budgets_hold(format_of(name), strategy, unused=4)


def _assert_budgets_hold(prompt_format, strategy: str, unused: int) -> None:
    turns = make_dialogue(0, turns=21).turns
    ranked = [Sentence(i, turn.speaker, turn.text) for i, turn in enumerate(turns[:8])]
    search, gist = TurnIndex(turns), Gist(tuple(ranked[:3]), 6)
    sources = Sources(
        lambda k: ranked[:k], lambda k: gist, lambda k: ranked, lambda k: ranked, search, OtherSearch(search, turns)
    )
    for answered, budget in itertools.product((20, 21), (100, 217)):
        said = turns[:answered]

        def build(budget, said=said):
            return build_context(strategy, Request(said, said[-2].speaker, budget, prompt_format, sources))

        context = fit_limit(build, lambda context: 0, budget, 10_000, prompt_format.spent)
        bare = Context((), (), context.last, 0, 0)
        used = len(prompt_format.encode(context)) - len(prompt_format.encode(bare))
        assert 0 < used <= budget
        assert context.tokens - used <= unused


@pytest.mark.parametrize("form", ["<last answer, told to think well of it>", ""])
def test_a_template_that_treats_the_last_answer_otherwise_keeps_to_budgets(form):
    tokenizer = family_tokenizer(FAMILIES["SmolLM2"])
    tokenizer.chat_template = (
        "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'assistant' %}{% set ns.last = "
        "loop.index %}{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{% if ns.last == "
        "loop.index %}" + form + "{% elif m.role == 'assistant' %}an older answer of mine{% endif %}{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for strategy in ("recent", "hybrid", "rolling"):
        _assert_budgets_hold(make_format("chat-template", tokenizer), strategy, unused=15)


@pytest.mark.parametrize(
    ("begin", "problem"),
    [
        ("{% if tools | length > 0 %}{{ tools }}{% endif %}", ""),
        ("{% for document in documents %}{{ document }}{% endfor %}", ""),
        ("{% if tools is not none %}with tools{% endif %}", ""),
        (
            "{% if reasoning_effort is defined and reasoning_effort not in ['none', 'high'] %}"
            "{{ raise_exception('no such effort') }}{% endif %}",
            "",
        ),
        ("{{ raise_exception('for tools only') if not tools }}", "for tools only"),
    ],
)
def test_variables_that_a_template_wants_are_given_or_it_is_not_used_and_that_is_said(begin, problem, capsys):
    tokenizer = family_tokenizer(FAMILIES["SmolLM2"])
    tokenizer.chat_template = begin + tokenizer.chat_template
    prompt_format = make_format("auto", tokenizer)
    said = capsys.readouterr().err
    if problem:
        assert prompt_format.name == "speaker-tokens"
        assert len(said.splitlines()) == 1
        assert problem in said
    else:
        assert prompt_format.name == "chat-template"
        assert "with tools" not in text_of(prompt_format, context_of(window(1)))
        assert not said


@each_family
def test_an_exported_template_is_the_one_that_was_trained_with(name):
    prompt_format = format_of(name)
    again = family_tokenizer(FAMILIES[name])
    again.chat_template = jinja_template(prompt_format)
    context = context_of(window(4))
    assert text_of(make_format("chat-template", again), context) == text_of(prompt_format, context)


@each_family
def test_day_and_thoughts_are_fixed_in_an_exported_template_whatever_another_program_gives_it(name):
    prompt_format = format_of(name)
    tokens = {"bos_token": prompt_format.tokenizer.bos_token or "", "eos_token": prompt_format.tokenizer.eos_token}
    today = {"date_string": "01 Jan 2030", "datetime": "Jan 01 2030"}
    thinks = {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}
    messages = [{"role": "user", "content": "Hello!"}]
    shown = render_template(jinja_template(prompt_format), messages, True, {**tokens, **today, **thinks})
    assert shown == prompt_format._render(messages, True)
    assert "2030" not in shown
    assert str(datetime.now().year) not in shown


def test_some_dates_are_shown():
    for name, date in {"Llama 3.2": "26 Jul 2024", "Granite 3.2": "July 26, 2024", "SmolLM3": "26 July 2024"}.items():
        assert date in format_of(name)._render([{"role": "user", "content": "Hello!"}], True)
