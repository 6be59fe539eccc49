import pytest

from gistchat.dialogue.text_repair import clean_text, clean_texts
from gistchat.dialogue.visible import has_text

UNSEEN = [
    "", " \t\n", "\u00a0\u2003\u3000", "\u200b", "\u2060", "\ufeff", "\u200c\u200d", "\u00ad", "\u200e\u200f\u202a",
    "\u2066\u2069", "\u061c", "\ufe0f", "\ufe0e\U000e0100", "\u3164", "\u115f\u1160\uffa0", "\u2800\u2800", "\x81",
    "\x00\x07\x1b", "\u2028\u2029", "\u180e", "\u034f", "\U000e0041", "\ud800", " \u200b \u3164 ",
]  # fmt: skip
SEEN = [
    "a", ".", "?!", "0", ":)", "-", "\u200bhi", "\u00adso\u00ad", "ok\ufe0f", "❤️", "👨\u200d👩\u200d👧", "☺\ufe0e",
    "🏴\U000e0067\U000e007f", "한", "ㅋ", "你", "می\u200cخواهم", "कि", "é", "e\u0301", "\u2803",
]  # fmt: skip


@pytest.mark.parametrize("text", UNSEEN)
def test_what_shows_nothing_is_no_text(text):
    assert not has_text(text)
    assert clean_text(text) == ""
    assert clean_texts(["hi", text, "you"]) == ["hi", "", "you"]


@pytest.mark.parametrize("text", SEEN)
def test_what_shows_anything_is_text(text):
    assert has_text(text)
    assert clean_text(text)
