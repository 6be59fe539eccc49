"""Words of any script."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gistchat.dialogue.words import count_unspaced, count_words, nfc, normalized, spaced, word_parts, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't worry, it's 3.14!", ["don't", "worry", "it's", "3", "14"]),
        ("Ma sœur habite à Évora, n’est-ce pas ?", ["ma", "sœur", "habite", "à", "évora", "n'est", "ce", "pas"]),
        ("Моя сестра живёт в Лиссабоне.", ["моя", "сестра", "живёт", "в", "лиссабоне"]),
        ("मेरी बहन दिल्ली में रहती है।", ["मेरी", "बहन", "दिल्ली", "में", "रहती", "है"]),
        ("أختي تحبُّ القهوة؟", ["أختي", "تحبُّ", "القهوة"]),
        ("제 여동생은 리스본에 살아요.", ["제", "여동생은", "리스본에", "살아요"]),
        ("我妹妹Olga在2019年搬走了。", [*"我妹妹", "olga", "在", "2019", *"年搬走了"]),
        ("コーヒー、飲む？", [*"コーヒー飲む"]),
        ("กินข้าวที่บ้าน", ["กิ", "น", "ข้", "า", "ว", "ที่", "บ้", "า", "น"]),
        ("👍 ... ---", []),
    ],
)
def test_words_are_those_of_their_script(text, expected):
    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Café, NAÏVE Straße", unicodedata.normalize("NFD", "café naïve STRASSE")),
        ("Ｈｅｌｌｏ　１２３", "hello 123"),
        ("ｺｰﾋｰ", "コーヒー"),
        ("I don’t", "i don't"),
        ("محـــمد", "محمد"),
        ("می\u200cخواهم", "میخواهم"),
        ("Ёлка", unicodedata.normalize("NFD", "ёлка")),
    ],
)
def test_one_word_however_it_is_written(first, second):
    assert words(first) == words(second) != []


@settings(max_examples=300)
@given(st.text())
def test_spacing_changes_nothing_but_white_space(text):
    assert "".join(spaced(text).split()) == "".join(nfc(text).split())
    assert count_words(text) >= count_unspaced(text)
    assert words(normalized(text)) == words(text)


@settings(max_examples=300)
@given(st.text(st.characters(codec="ascii")))
def test_words_of_plain_english_are_cut_as_ever(text):
    parts = "".join(char if char.isalnum() else " " for char in text.lower()).split()
    assert word_parts(text) == parts
    assert spaced(text) is text
