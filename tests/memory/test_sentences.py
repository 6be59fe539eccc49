"""Sentences of any script, parts of long ones, and the words that carry content."""

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Turn
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.sentences import LONGEST, PART, content_words, is_finished, split_sentences, whole_sentences
from gistchat.memory.summarizers.extractive import METHODS, summarize_prefixes
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.prompts.token_count import token_counter
from gistchat.recipe.schema import ContextConfig, SummaryConfig


def cut(text):
    return [sentence.text for sentence in split_sentences([Turn("a", text)])]


def without_space(text):
    return "".join(text.split())


@pytest.mark.parametrize(
    "sentences",
    [
        # English, as ever
        ["Hi there!", "How are you?", "I'm fine."],
        ["Pi is 3.14, e.g. in the U.S. and at Mr. Smith's.", "OK?"],
        ["so tired... I went home"],
        # others with spaces
        ["Привет!", "Как дела?", "Я вчера ездил в Москву."],
        ["मैं कल दिल्ली गया।", "वहाँ बहुत गर्मी थी।", "तुम कहाँ हो?"],
        ["هل أنت بخير؟", "نعم، أنا بخير.", "شكرا لك!"],
        ["آپ کیسے ہیں؟", "میں ٹھیک ہوں۔", "شکریہ۔"],
        ["안녕하세요.", "저는 서울에 살아요.", "반가워요!"],
        ["Τι κάνεις;", "Είμαι καλά.", "Εσύ;"],
        ["¿Cómo estás?", "¡Muy bien!", "Ayer fui al cine."],
        ["Բարեւ։", "Ինչպե՞ս ես։"],
        # a mark of ASCII in place of the script's own
        ["Բարև:", "Ես Անին եմ, ժամը 10:30-ին:", "Դու ո՞վ ես:"],
        ["मैं ठीक हूँ |", "आप कैसे हैं|", "कल मिलते हैं |"],
        ["আমি ভালো আছি|", "তুমি কেমন আছো?"],
        ["ཁམས་བཟང་།", "ང་བོད་ནས་ཡིན།", "ཁྱེད་རང་ག་ནས་ཡིན༎"],
    ],
)
def test_sentences_with_a_space_between(sentences):
    assert cut(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["你好。", "我是小王！", "你呢？"],
        ["你好!", "我是小王,今年3.5岁.", "真的吗?", "OK!", "走吧"],  # marks of ASCII, as text repair leaves them
        ["我去了......", "然后回家了……后来又出去。", "好！！！", "再见"][1:],
        ["今日は暑いですね。", "アイスを食べましょう！", "価格は３．１４です。"],
        ["「おはよう。」", "「よく眠れた？」", "「うん。」"],
        ["「行く？」と聞いた。", "彼は黙っていた。"],  # the quote is part of a sentence
        ["मैं घर गया।", "फिर सो गया॥"],
        ["ខ្ញុំសុខសប្បាយ។", "អ្នកនៅឯណា?"],
        ["ဟုတ်ကဲ့။", "ကျေးဇူးတင်ပါတယ်။"],
        ["هل أنت بخير؟", "نعم"],
    ],
)
def test_sentences_without_a_space_between(sentences):
    assert cut("".join(sentences)) == sentences
    assert cut(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("You need:\n- milk\n- two eggs\n\n* flour", ["You need:", "- milk", "- two eggs", "* flour"]),
        ("1. Buy milk 2. Call mom. 3. Pay the bill", ["1. Buy milk", "2. Call mom.", "3. Pay the bill"]),
        ("We need 1) milk 2) bread 3) tea", ["We need", "1) milk", "2) bread", "3) tea"]),
        ("Kaufen: • Milch • Brot • Tee", ["Kaufen:", "• Milch", "• Brot", "• Tee"]),
        ("买：\n一、牛奶\r\n二、面包", ["买：", "一、牛奶", "二、面包"]),
        ("def f(x):\n    return x + 1\n\nprint(f(2))", ["def f(x):", "return x + 1", "print(f(2))"]),
        ("We were 2. They were 3. So they won.", ["We were 2.", "They were 3.", "So they won."]),
    ],
)
def test_lines_and_items_of_a_list_are_sentences(text, items):
    assert cut(text) == items


RUN_ONS = {
    "without a comma": "so yesterday i went to the store and i saw my old friend from school who i have not seen for "
    "years and we talked for hours about our teachers and then it rained so hard that we had to stay inside",
    "with commas": "When I was little, my grandmother lived in a house by the sea, we went there every summer, and she "
    "taught me to swim, to fish, to cook what we caught, and to be quiet when the birds were sleeping",
    "no words to cut before": "well i really do not know what i should tell you right here right now today since "
    "everything that ever happened to me was kind of boring apart from maybe one thing at home",
    "German": "ich war gestern mit meinem bruder in der stadt und wir haben ein neues fahrrad gesucht aber in keinem "
    "laden gab es eins das ihm gefallen hat und am ende sind wir eis essen gegangen",
    "Russian": "вчера мы с братом ездили в город и искали новый велосипед но ни в одном магазине не было такого "
    "который ему понравился и в конце концов мы просто пошли есть мороженое у реки потому что было жарко",
    "Chinese": "今天下午我和妹妹一起去超市买了很多东西，有苹果、香蕉、牛奶和面包，然后我们回家做了一顿很丰盛的晚饭，"
    "爸爸妈妈都很高兴，晚上我们还一起看了一部电影，电影讲的是一只小狗的故事",
    "Chinese without a comma": "今天下午我和妹妹一起去超市买了很多东西然后我们回家做了一顿很丰盛的晚饭爸爸妈妈都很高兴"
    "晚上我们还一起看了一部讲小狗的电影看完以后妹妹哭了很久",
    "Japanese": "昨日友達と一緒に新宿で映画を見てから美味しいラーメンを食べに行きました、それからカラオケで歌って"
    "終電で帰って家に着いたら十二時を過ぎていました",
    "Thai": "เมื่อวานฉันไปเที่ยวทะเลกับเพื่อนที่ภูเก็ต อากาศดีมากและน้ำใสมาก เราดำน้ำดูปะการังแล้วก็กินอาหารทะเลสดๆ "
    "ตอนเย็นเราดูพระอาทิตย์ตกที่ริมหาด",
}


@pytest.mark.parametrize("text", RUN_ONS.values(), ids=RUN_ONS)
def test_people_who_write_without_full_stops_are_cut_into_parts(text):
    parts = cut(text)
    assert len(parts) > 1
    assert without_space("".join(parts)) == without_space(text)
    # Two letters of a script without spaces count as a word, so a part has at most twice as many letters.
    most = PART if " " in parts[0] else 2 * PART + 10
    assert all(4 <= len(part.split() if " " in parts[0] else part) <= most for part in parts)


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("without a comma", ["so yesterday", "and i saw", "and we talked"]),
        ("with commas", ["When I was", "and she taught", "and to be quiet"]),
        ("Thai", ["เมื่อวานฉัน", "อากาศดี", "เราดำน้ำ", "ตอนเย็น"]),
    ],
)
def test_parts_begin_where_a_clause_does(name, starts):
    parts = cut(RUN_ONS[name])
    assert all(any(part.startswith(start) for part in parts) for start in starts), parts


@pytest.mark.parametrize(
    "text",
    [
        "My sister, who lives in Lisbon with her two dogs and a parrot that swears, works as a nurse.",
        "昨天我和妹妹去超市，买了苹果、香蕉和牛奶，很便宜。",
        "https://example.org/" + "a-very-long-path/" * 40,
        " ".join(["word"] * LONGEST),
    ],
)
def test_what_is_not_long_stays_whole_whatever_its_commas(text):
    assert cut(text) == [text]


PIECES = """ab ef g. ! ? , ; : … \n 。 ！ ？ ， 、 ； 我 好 は か ン ー ก า เ ่ ा म ि । ؟ ، ع 한 글 é " ' ) ” 」 1 2 -"""


@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from(PIECES), max_size=300) | st.text(max_size=200))
def test_nothing_is_lost_but_white_space(text):
    assert without_space("".join(cut(text))) == without_space(text)
    assert without_space("".join(whole_sentences(text))) == without_space(text)
    assert all(piece.strip() for piece in cut(text))


@pytest.mark.parametrize(
    "text", ["!" * 50_000 + "e", "。" * 50_000, "好”" * 20_000, "我" * 20_000, "a" + "\u0301" * 50_000]
)
def test_odd_text_of_any_length_keeps_what_it_holds(text):
    assert without_space("".join(cut(text))) == text


def test_turns_are_counted_from_the_first():
    turns = [Turn("Ann", "你好。我是小王。"), Turn("Ben", "Hi."), Turn("Ann", " ")]
    assert split_sentences(turns, 5) == [
        Sentence(5, "Ann", "你好。"),
        Sentence(5, "Ann", "我是小王。"),
        Sentence(6, "Ben", "Hi."),
    ]


@pytest.mark.parametrize("text", ["She left.", "她走了。", "वह गई।", "Πού είναι;", '"Go!"', "เธอไปแล้ว"])
def test_finished_sentences(text):
    assert is_finished(text)
    assert not is_finished("She left and")
    assert not is_finished("她走了，然后")


@pytest.mark.parametrize(
    "filler",
    [
        *(
            "Oh ok haha.",
            "Ja genau",
            "Oui, bien sûr !",
            *("Merci !", "Danke!", "Genau.", "Gracias", "Obrigada!", "Ciao", "Evet", "Dziękuję", "Tack"),
            "Jajaja sí claro",
            "Ну да, конечно",
            "Ahaha va bene",
            "Sim, claro",
        ),
        *(
            "你好啊，哈哈哈",
            "好的，谢谢！",
            "はい、そうですね",
            "네 진짜 ㅋㅋㅋ",
            "ครับ ขอบคุณครับ",
            "हाँ ठीक है",
            "نعم شكرا ههههه",
        ),
    ],
)
def test_filler_has_no_content_words(filler):
    assert content_words(filler) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ich habe einen Hund und er heißt Rex", ["hund", "heisst", "rex"]),
        ("No me gusta el pescado", ["gusta", "pescado"]),
        ("Мой брат живёт в Москве", ["брат", "живёт", "москве"]),
        ("मैं दिल्ली में रहता हूँ", ["दिल्ली", "रहता"]),
        ("我妹妹住在里斯本", ["妹", "妹", "住", "里", "斯", "本"]),
        ("りんごが好きです", ["り", "ん", "ご", "好", "き"]),
        # one language's function words are another's content
        ("They die in the war, man", ["die", "war", "man"]),
        ("Dogs die young", ["dogs", "die", "young"]),
        ("Son of a gun", ["son", "gun"]),
        # nobody's list
        ("Mimi ninapenda mbwa wangu", ["mimi", "ninapenda", "mbwa", "wangu"]),
        ("ನನಗೆ ನಾಯಿ ಇದೆ", ["ನನಗೆ", "ನಾಯಿ", "ಇದೆ"]),
    ],
)
def test_content_words_are_those_of_the_sentences_language(text, expected):
    assert content_words(text) == expected


CHINESE = [
    "我妹妹去年搬到了里斯本。她在一家医院当护士。",
    "真的吗？她喜欢那里的天气吗？",
    "很喜欢！那里天气好，离海也近。就是房租太贵了。",
    "我下个月要去里斯本旅行。有什么好吃的餐厅吗？",
    "河边有一家鱼餐厅。妹妹每个周末都去那家餐厅吃鱼。",
    "太好了，我最喜欢吃鱼。房租真的那么贵吗？",
]


@pytest.mark.parametrize(
    ("filler", "facts"),
    [
        ("Merci !", ["Je suis né à Lyon.", "Ma sœur travaille à l'hôpital.", "Mon frère vit à Nantes."]),
        (
            "Genau!",
            ["Ich bin in Köln geboren.", "Meine Schwester arbeitet im Krankenhaus.", "Mein Bruder ist in Kiel."],
        ),
        ("Evet", ["İstanbul'da doğdum.", "Kız kardeşim hastanede çalışıyor.", "Abim İzmir'de yaşıyor."]),
    ],
)
@pytest.mark.parametrize("method", ["textrank", "lexrank", "lsa", "mmr"])
def test_filler_of_one_word_stays_out_of_the_gist(method, filler, facts):
    turns = [Turn(speaker, text) for fact in facts * 4 for speaker, text in (("a", fact), ("b", filler))]
    factory = MemoryFactory.of(SummaryConfig(method), ContextConfig(budget=96), SpeakerTokens(gpt2_tokenizer()))
    [history], _ = factory.roll([turns])
    lines = [sentence.text for _, gist in history.gists for sentence in gist.sentences]
    assert set(facts) & set(lines)
    assert filler not in lines


@pytest.mark.parametrize("method", METHODS)
def test_a_chinese_dialogue_has_a_gist_of_whole_sentences(method):
    turns = [Turn(speaker, text) for speaker, text, _ in zip(cycle("ab"), cycle(CHINESE), range(30), strict=False)]
    factory = MemoryFactory.of(SummaryConfig(method), ContextConfig(budget=128), SpeakerTokens(gpt2_tokenizer()))
    [history], _ = factory.roll([turns])
    assert len(history.gists) > 1
    for _, gist in history.gists:
        assert gist.sentences
        for sentence in gist.sentences:
            assert sentence.text in whole_sentences(turns[sentence.turn].text)
            assert sentence.text.endswith(("。", "！", "？"))


@pytest.mark.parametrize(
    "text", [*RUN_ONS.values(), "- milk\n- bread\n- tea and some honey", "Mimi ninapenda mbwa wangu"]
)
def test_what_is_long_or_in_another_language_enters_the_gist(text):
    turns = [Turn("a", text), Turn("b", "Ok"), Turn("a", "Ok")]
    count = token_counter(gpt2_tokenizer())
    [best, *_] = summarize_prefixes(turns, "textrank", 96, count).of_prefix(1)
    assert best.text in text
