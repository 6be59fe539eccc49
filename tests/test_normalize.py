import pytest

from gistchat.normalize import clean_text, scrub


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  two\t\nspaces  ", "two spaces"),
        ("bell\x07 and \x1b[31mred\x1b[0m and nul\x00", "bell and [31mred[0m and nul"),
        ("family 👨‍👩‍👧 stays", "family 👨‍👩‍👧 stays"),
        ("Mixed CASE, and punctuation !", "Mixed CASE, and punctuation !"),
    ],
)
def test_clean_text(text, clean):
    assert clean_text(text) == clean
    assert clean_text(clean) == clean


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
