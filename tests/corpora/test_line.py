"""LINE's exports from phones and from Windows, in several languages."""

import pytest

from gistchat.corpora import whatsapp
from gistchat.corpora.kakaotalk import CORPUS as KAKAOTALK
from gistchat.corpora.kinds import head_of
from gistchat.corpora.line import CORPUS, read
from gistchat.dialogue.turns import LeftOut
from gistchat.errors import UserError

JAPANESE = """\ufeff[LINE] Benとのトーク履歴
保存日時：2023/05/14 21:20

2023/05/13(土)
00:05\tAnn\tHi
21:15\tBen L.\t"one

two: 2"
21:15\tAnn\t[スタンプ]
21:16\tBenがメッセージの送信を取り消しました
21:17\tAnn\t☎ 通話時間 1:23
"""
ENGLISH = """[LINE] Chat history with Ben
Saved on: 5/14/2023, 21:20

Sat, 5/13/2023
12:05 AM\tAnn\tHi
09:15PM\tBen L.\tone

two: 2
09:15PM\tAnn\t[Photo]
09:16PM\tBen unsent a message.
09:17PM\tAnn\t☎ Call time 1:23
"""
CHINESE = """[LINE] 與Ben的聊天記錄
儲存日期：2023/05/14 21:20

2023/05/13（六）
上午12:05\tAnn\tHi
下午09:15\tBen L.\tone

two: 2
下午09:15\tAnn\t[貼圖]
下午09:16\tBen L.已收回訊息
下午09:17\tAnn\t☎ 通話時間 1:23
"""
WINDOWS = """2023.05.13 Saturday
00:05 Ann Hi
21:15 Ben L. one

two: 2
21:15 Ann Stickers
21:16 Ben L. unsent a message.
21:17 Ann ☎ Call time 1:23
"""


THAI = """[LINE] ประวัติการแชทกับ Ben
บันทึกเมื่อ: 14/5/2566 21:20

ส. 13/5/2566
00:05\tAnn\tHi
21:15\tBen L.\tone

two: 2
21:15\tAnn\t[สติกเกอร์]
21:16\t\tBen L. ยกเลิกข้อความ
21:17\tAnn\t☎ 1:23
"""
INDONESIAN = """[LINE] Riwayat obrolan dengan Ben
Disimpan pada: 14/05/2023 21.20

Sab, 13/05/2023
00.05\tAnn\tHi
21.15\tBen L.\tone

two: 2
21.15\tAnn\t[Stiker]
21.16\t\tBen L. membatalkan pesan
21.17\tAnn\t☎ 1:23
"""
KOREAN = """[LINE] Ben님과의 대화
저장일시: 2023/05/14 21:20

2023.05.13 토요일
오전 12:05\tAnn\tHi
오후 9:15\tBen L.\tone

two: 2
오후 9:15\tAnn\t[스티커]
오후 9:16\t\tBen L.님이 메시지를 취소했습니다.
오후 9:17\tAnn\t☎ 1:23
"""


@pytest.mark.parametrize("text", [JAPANESE, ENGLISH, CHINESE, WINDOWS, THAI, INDONESIAN, KOREAN])
def test_layouts(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_text(text if text is not WINDOWS else f"[LINE] Chat history with Ben L.\n{text}")
    head = head_of(path)
    assert CORPUS.looks_like(head)
    assert not KAKAOTALK.looks_like(head)
    assert not whatsapp.CORPUS.looks_like(head)
    *left_out, dialogue = read(path)
    assert [(turn.speaker, turn.text, turn.date) for turn in dialogue.turns] == [
        ("Ann", "Hi", "2023-05-13 00:05:00"),
        ("Ben L.", "one\n\ntwo: 2", "2023-05-13 21:15:00"),
    ]
    assert all(isinstance(item, LeftOut) and item.count == 1 for item in left_out)
    assert len(left_out) == 3


def test_names_of_several_words_on_windows(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(
        "2023.05.13 Saturday\n"
        + "".join(f"21:1{i} Ben Lee {word} yes\n21:1{i} Ann so\n" for i, word in enumerate("abc"))
    )
    assert CORPUS.looks_like(head_of(path))
    [dialogue] = read(path)
    assert {turn.speaker for turn in dialogue.turns} == {"Ben Lee", "Ann"}


def test_two_names_that_begin_alike_on_windows(tmp_path):
    (tmp_path / "a.txt").write_text(
        "2023.05.13 土曜日\n"
        + "".join(f"21:1{i} 山田 太郎 {w}\n21:1{i} 山田 花子 {w} はい\n" for i, w in enumerate("あいう"))
    )
    [dialogue] = read(tmp_path / "a.txt")
    assert [turn.speaker for turn in dialogue.turns] == ["山田 太郎", "山田 花子"] * 3
    assert dialogue.turns[1].text == "あ はい"


def test_only_lines_in_the_shape_of_the_first_day_are_days(tmp_path):
    (tmp_path / "a.txt").write_text("2023/05/13(Sat)\n21:15\tAnn\tHi\n2023/05/14 then\n21:16\tBen\t14/5/2023\n")
    [dialogue] = read(tmp_path / "a.txt")
    assert [(turn.text, turn.date[:10]) for turn in dialogue.turns] == [
        ("Hi\n2023/05/14 then", "2023-05-13"),
        ("14/5/2023", "2023-05-13"),
    ]


def test_a_file_in_another_encoding_is_not_called_empty(tmp_path):
    (tmp_path / "a.txt").write_bytes("2023/05/13(土)\n21:15\t安奈\tはい\n".encode("cp932"))
    assert {result.problem[:9] for result in read(tmp_path / "a.txt")} == {"not UTF-8"}


def test_other_kinds_are_not_taken(tmp_path):
    for text in ("Ann: Hi\nBen: Ho\n", "21:15 Ann Hi\n", "2023/05/01 21:15 - Ann: Hi\n"):
        (tmp_path / "a.txt").write_text(text)
        assert not CORPUS.looks_like(head_of(tmp_path / "a.txt"))
    with pytest.raises(UserError, match="no message of LINE"):
        list(read(tmp_path / "a.txt"))
