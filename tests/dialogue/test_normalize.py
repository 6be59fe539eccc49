import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gistchat.dialogue.text_repair import clean_text, separate_sentences
from gistchat.prepare.scrub import scrub


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  two\t\nspaces  ", "two spaces"),
        ("bell\x07 and \x1b[31mred\x1b[0m and nul\x00", "bell and [31mred[0m and nul"),
        ("family 👨‍👩‍👧 stays", "family 👨‍👩‍👧 stays"),
        # tokenised text is put together
        ("Good morning , sir . Is there a bank ?", "Good morning, sir. Is there a bank?"),
        ("I don ' t know , it ' s late .", "I don't know, it's late."),
        ("we do n't , they 're out", "we don't, they're out"),
        ("`` yes , '' he said .", '"yes," he said.'),
        ("so what do you do ( for fun ) ?", "so what do you do (for fun)?"),
        # broken encodings and odd quotes
        ("itâ€™s fine", "it's fine"),
        ("“Quoted” and ‘so’", "\"Quoted\" and 'so'"),
        # good text is left alone
        ('Mixed CASE, e.g. 5.30 p.m. (so)... isn\'t it? "Yes" - no :) <3 ;)', None),
        ("the '90s, rock 'n' roll, the dogs' owner & co", None),
        ("wait ... what :( ok:p 10:30 3,5 a/b www.example.com", None),
        ("C'est la vie; non, ¿qué? 你好。", None),
    ],
)
def test_clean_text(text, clean):
    assert clean_text(text) == (text if clean is None else clean)


PIECES = st.sampled_from(
    [*" .,!?;:'’\"`()-…\x07", " ' t", " n't", "Hello", "ok", "I", "don", "é", "👋", "1", "``", "''"]
)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=500, deadline=None)
def test_clean_text_is_idempotent_and_keeps_letters_and_their_case(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert [char for char in cleaned if char.isalnum()] == [char for char in text if char.isalnum()]


@given(st.text(max_size=40))
@settings(max_examples=500, deadline=None)
def test_clean_text_is_idempotent_on_any_text(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "separated"),
    [
        ("That is far.Can you walk?", "That is far. Can you walk?"),
        ("Really?Yes!I do.", "Really? Yes! I do."),
        ("at 5.30, e.g.this, www.example.com, U.S.A.", "at 5.30, e.g.this, www.example.com, U.S.A."),
    ],
)
def test_lost_spaces_after_sentences(text, separated):
    assert separate_sentences(text) == separated


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("call (808) 782-1557 now", "call [phone] now"),
        ("or +1 808-782-1557", "or [phone]"),
        ("or 782-1557.", "or [phone]."),
        ("mail me.you+x@mail.example.com!", "mail [email]!"),
        ("see https://youtube.com/watch?v=abc ok", "see [link] ok"),
        ("on xkcd.com", "on [link]"),
        # what only looks like it
        ("from 2014-2016", "from 2014-2016"),
        ("3.141592653589793", "3.141592653589793"),
        ("4 8 15 16 23 42", "4 8 15 16 23 42"),
        ("ok... so", "ok... so"),
        ("I got 100000000 points", "I got 100000000 points"),
    ],
)
def test_scrub(text, scrubbed):
    found, count = scrub(text)
    assert found == scrubbed
    assert count == (text != scrubbed)
