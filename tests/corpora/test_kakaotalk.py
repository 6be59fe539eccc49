"""KakaoTalk's exports from phones and computers, in Korean and English."""

import pytest

from gistchat.corpora import whatsapp
from gistchat.corpora.kakaotalk import CORPUS, read
from gistchat.corpora.kinds import head_of
from gistchat.corpora.line import CORPUS as LINE
from gistchat.dialogue.turns import LeftOut
from gistchat.errors import UserError

WINDOWS = """\ufeffAnn 님과 카카오톡 대화
저장한 날짜 : 2023-05-01 21:15:10

--------------- 2023년 5월 1일 월요일 ---------------
[Ann] [오전 12:05] 안녕
[Ben] [오후 9:15] 네

그래요
[Ben] [오후 9:15] 사진
Ann님이 나갔습니다.
"""
WINDOWS_ENGLISH = """KakaoTalk Chats with Ann
Date Saved : 2023-05-01 21:15:10

--------------- Monday, May 1, 2023 ---------------
[Ann] [12:05 AM] 안녕
[Ben] [9:15 PM] 네

그래요
[Ben] [9:15 PM] Photo
"""
ANDROID = """Ann 님과 카카오톡 대화
저장한 날짜 : 2023년 5월 1일 오후 9:20

2023년 5월 1일 오전 12:05
2023년 5월 1일 오전 12:05, Ann : 안녕
2023년 5월 1일 오후 9:15, Ben : 네

그래요
2023년 5월 1일 오후 9:15, Ben : 이모티콘
"""
ANDROID_ENGLISH = """KakaoTalk Chats with Ann
Date Saved : May 1, 2023, 9:20 PM

May 1, 2023, 12:05 AM
May 1, 2023, 12:05 AM, Ann : 안녕
May 1, 2023 at 9:15 PM, Ben : 네

그래요
May 1, 2023 at 9:15 PM, Ben : 3 photos
"""
ANDROID_24_HOURS = """Ann 님과 카카오톡 대화
저장한 날짜 : 2023년 5월 1일 21:20

2023년 5월 1일 00:05
2023년 5월 1일 00:05, Ann : 안녕
2023년 5월 1일 21:15, Ben : 네

그래요
2023년 5월 1일 21:15, Ben : <사진 읽지 않음>
"""
IPHONE_ENGLISH = """KakaoTalk Chats with Ann
Date Saved : May 1, 2023 at 9:20\u202fPM

Monday, May 1, 2023
May 1, 2023 at 12:05\u202fAM, Ann : 안녕
May 1, 2023 at 9:15\u202fPM, Ben : 네

그래요
May 1, 2023 at 9:15\u202fPM: Ben left the chatroom.
"""
IPHONE_BRITISH = """KakaoTalk Chats with Ann
Date Saved : 1 May 2023 at 21:20

Monday, 1 May 2023
1 May 2023 at 00:05, Ann : 안녕
1 May 2023 at 21:15, Ben : 네

그래요
1 May 2023 at 21:15, Ben : Emoticons
"""
IPHONE = """Ann 님과 카카오톡 대화
저장한 날짜 : 2023. 5. 1. 오후 9:20

2023년 5월 1일 월요일
2023. 5. 1. 오전 12:05, Ann : 안녕
2023. 5. 1. 오후 9:15, Ben : 네

그래요
2023. 5. 1. 오후 9:15: Ann님이 나갔습니다.
"""
MAC = 'Date,User,Message\n2023-05-01 00:05:00,"Ann","안녕"\n'
MAC += '2023-05-01 21:15:00,"Ben","네\n\n그래요"\n2023-05-01 21:15:00,"Ben","사진"\n'


@pytest.mark.parametrize(
    "text",
    [
        *(WINDOWS, WINDOWS_ENGLISH, ANDROID, ANDROID_24_HOURS, ANDROID_ENGLISH),
        *(IPHONE, IPHONE_ENGLISH, IPHONE_BRITISH, MAC),
    ],
)
def test_layouts(tmp_path, text):
    path = tmp_path / ("a.csv" if text is MAC else "a.txt")
    path.write_text(text)
    head = head_of(path)
    assert CORPUS.looks_like(head)
    assert not LINE.looks_like(head)
    assert not whatsapp.CORPUS.looks_like(head)
    *left_out, dialogue = read(path)
    assert [(turn.speaker, turn.text, turn.date) for turn in dialogue.turns] == [
        ("Ann", "안녕", "2023-05-01 00:05:00"),
        ("Ben", "네\n\n그래요", "2023-05-01 21:15:00"),
    ]
    assert all(isinstance(item, LeftOut) for item in left_out)
    assert sum(item.count for item in left_out) == (2 if text is WINDOWS else 1)


def test_other_kinds_are_not_taken(tmp_path):
    for text in ("Ann: Hi\nBen: Ho\n", "[Ann] [9:15 PM] Hi\n", "2023/05/01 21:15 - Ann: Hi\n"):
        (tmp_path / "a.txt").write_text(text)
        assert not CORPUS.looks_like(head_of(tmp_path / "a.txt"))
    with pytest.raises(UserError, match="no message of KakaoTalk"):
        list(read(tmp_path / "a.txt"))


def test_tables_in_another_encoding_are_not_garbled(tmp_path):
    (tmp_path / "a.csv").write_bytes(MAC.encode("cp949"))
    assert {result.problem for result in read(tmp_path / "a.csv")} == {"not UTF-8; save the file as UTF-8"}
