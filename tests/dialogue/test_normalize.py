import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gistchat.dialogue.text_repair import clean_line, clean_text, clean_texts, join_tokens, separate_sentences
from gistchat.prepare.scrub import scrub

CODE = [
    "```python\ndef f(x):\n    return {'a': x}  # doesn't ` stop\n\n\nprint(f(''))\n```",
    "git add .",
    "run `x = ''` , then `ls  -la .` ; done",
    'for f in *.txt ; do\n\tcat "$f" ;\ndone',
    "    if it :\n        print( 're' )",  # begins with an indentation
    "| name  | n |\n|:------|--:|\n| a  b  | 1 |",
    "1. one\n   - nested ``code``\n     > quoted  \n2. two",
    "SELECT * FROM t WHERE name = '' ;\n-- don 't",
    "├── a\n│   └── b ← “here”",
]
GOOD = [
    'Mixed CASE, e.g. 5.30 p.m. (so)... isn\'t it? "Yes" - no :) <3 ;)',
    "the '90s, rock 'n' roll, the dogs' owner & co &amp; more",
    "wait ... what :( ok:p 10:30 3,5 a/b www.example.com",
    "a  b",
    # marks that stand alone
    "'maybe' or 'no' ?",
    "Hello ? Is it you , Ann ?",
    "or . . . 29 , maybe",
    "Tu viens ce soir ? Oui , bien sûr !",
    "Il a dit : « C’est l’ été » ; et toi ?",
    "Non\u202f! 20\u00a0% de rabais\u00a0?",
    # full-width forms and other scripts
    "你好，请问（今天）有空吗？太好了！１２３",
    "ＮＨＫで「カタカナ」と、ｶﾀｶﾅ～",
    "값은 ５，０００원이에요？",
    "مرحبا، كيف حالك؟ ‏(RTL)",
    "नमस्ते, क्या हाल है? ภาษาไทย",
    "x\u0302 and q\u0323",  # marks without a composed letter
    # quotes, ligatures, emoji
    "CAFÉ», 5 °",
    "“Quoted” and ‘so’, „deutsch“, it’s l’été",
    "ﬁne, ĳs, ½ ™ Ⅳ",
    "family 👨‍👩‍👧 ❤️ 🏳️‍🌈 stays",
    "AMANHÃ EU VOU A SÃO PAULO. Naïve façade, £10, 20 °C",
]


@pytest.mark.parametrize("text", [*CODE, *GOOD])
def test_good_text_is_left_alone(text):
    assert clean_text(text) == text
    assert clean_texts([text, "ok"]) == [text, "ok"]


@pytest.mark.parametrize(
    "text",
    [
        "lol 😂😂 ok 😅",
        "café, déjà vu, voilà",
        "Привет, как дела?",
        "it’s “fine” … 20 €",
        "Größe: ❤️\n\tzażółć gęślą jaźń",
        "ありがとう、またね",
        "Sådan! å nei",
        "Ինչպես ես",
        "پاگل",
    ],
)
def test_utf8_that_was_read_as_latin1_is_mended(text):
    broken = text.encode().decode("latin-1")  # as in Facebook's and Instagram's exports
    assert clean_text(broken) == text
    assert clean_texts(["ok", broken]) == ["ok", text]
    assert clean_line(f" {broken}") == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (r'"lol \u00f0\u009f\u0098\u0082"', "lol 😂"),
        (r'"Ren\u00c3\u00a9e, d\u00c3\u00a9j\u00c3\u00a0"', "Renée, déjà"),
        (r'"\u00d0\u009f\u00d1\u0080\u00d0\u00b8\u00d0\u00b2\u00d0\u00b5\u00d1\u0082!"', "Привет!"),
        (r'"Love you \u00e2\u009d\u00a4\u00ef\u00b8\u008f"', "Love you ❤️"),
    ],
)
def test_strings_of_a_facebook_export(text, clean):
    assert clean_text(json.loads(text)) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  hello \n", "hello"),
        ("\n \n  first\n    second\n\n", "  first\n    second"),
        ("a\r\nb\rc\u2028d\x0be", "a\nb\nc\nd\ne"),
        ("bell\x07 and \x1b[31mred\x1b[0m and nul\x00", "bell and [31mred[0m and nul"),
        ("\x1b]0;title\x07übel\x1b[2J", "]0;titleübel[2J"),
        ("half \ud83d a pair, \ud83d\ude02", "half  a pair, 😂"),
        ("itâ€™s fine", "it’s fine"),
        ("cafe\u0301, A\u030a", "café, Å"),
        ("\ufeffhi", "hi"),
        (" \x00\n", ""),
    ],
)
def test_broken_text_is_repaired(text, clean):
    assert clean_text(text) == clean


def test_a_line_of_a_gist_and_a_name_have_no_line_ends():
    assert clean_line(" Ann\x1b\n  Lee\t(me) ") == "Ann Lee (me)"


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("Good morning , sir . Is there a bank ?", "Good morning, sir. Is there a bank?"),
        ("I don ' t know , it ’ s late .", "I don't know, it's late."),
        ("we do n't , they 're out", "we don't, they're out"),
        ("`` yes , '' he said .", '"yes," he said.'),
        ("so what do you do ( for fun ) ?", "so what do you do (for fun)?"),
        ("neat ! ! i 've  two dogs .", "neat!! i've two dogs."),
        ("Um. . . where to ?", "Um... where to?"),
        ("It's whole, isn't it? (yes...)", "It's whole, isn't it? (yes...)"),
    ],
)
def test_text_that_was_cut_into_tokens_is_joined(text, joined):
    assert join_tokens(text) == joined


TOKENS = [*" .,!?;:'’\"`()-…\x07", " ' t", " n't", "Hello", "ok", "I", "don", "é", "👋", "1", "``", "''"]
BROKEN = ["\n", "\t", "  ", "\r\n", "Ã©", "ð\x9f\x98\x82", "\x85", "\u00a0", "，"]
PIECES = st.sampled_from(TOKENS + BROKEN)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=500, deadline=None)
def test_clean_text_is_idempotent(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert clean_texts([text, cleaned]) == [cleaned, cleaned]
    assert clean_line(clean_line(text)) == clean_line(text)


@given(st.lists(PIECES, max_size=30).map("".join))
@settings(max_examples=500, deadline=None)
def test_join_tokens_is_idempotent_and_keeps_letters_and_their_case(text):
    joined = join_tokens(clean_text(text))
    assert join_tokens(joined) == joined
    assert [char for char in joined if char.isalnum()] == [char for char in clean_text(text) if char.isalnum()]


@given(st.text(max_size=40))
@settings(max_examples=500, deadline=None)
def test_clean_text_is_idempotent_on_any_text(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\n\t"), max_size=60))
@settings(max_examples=500, deadline=None)
def test_printable_ascii_keeps_every_character_between_its_ends(text):
    assert clean_text(f"a{text}b") == f"a{text}b"


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
