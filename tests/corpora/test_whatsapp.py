"""WhatsApp's exports in the layouts of many languages."""

import pytest

from gistchat.corpora import transcript
from gistchat.corpora.kakaotalk import CORPUS as KAKAOTALK
from gistchat.corpora.kinds import head_of
from gistchat.corpora.line import CORPUS as LINE
from gistchat.corpora.whatsapp import CORPUS, read
from gistchat.dialogue.turns import Dialogue, LeftOut
from gistchat.errors import UserError


def parse(tmp_path, text, **options):
    path = tmp_path / "chat.txt"
    path.write_bytes(text.encode())
    results = list(read(path, **options))
    dialogues = [item for item in results if isinstance(item, Dialogue)]
    return (dialogues[0].turns if dialogues else ()), {
        item.what: item.count for item in results if isinstance(item, LeftOut)
    }


def said(turns):
    return [(turn.speaker, turn.text) for turn in turns]


MAY_1 = "2023-05-01 21:15:00"
MAY_13 = "2023-05-13 09:05:00"
# Stamps of the first and the thirteenth of May 2023 in the evening and the morning.
STAMPS = {
    "en-US": ("5/1/23, 9:15\u202fPM - ", "5/13/23, 9:05\u202fAM - "),
    "en-GB": ("01/05/2023, 21:15 - ", "13/05/2023, 09:05 - "),
    "en-IN": ("01/05/23, 9:15 pm - ", "13/05/23, 9:05 am - "),
    "en-US iOS": ("[5/1/23, 9:15:00\u202fPM] ", "[5/13/23, 9:05:00\u202fAM] "),
    "de": ("01.05.23, 21:15 - ", "13.05.23, 09:05 - "),
    "de iOS": ("[01.05.23, 21:15:00] ", "[13.05.23, 09:05:00] "),
    "es": ("1/5/23 21:15 - ", "13/5/23 9:05 - "),
    "es-MX": ("1/5/2023, 9:15 p.\u00a0m. - ", "13/5/2023, 9:05 a.\u00a0m. - "),
    "es iOS": ("[1/5/23, 9:15:00 p.\u00a0m.] ", "[13/5/23, 9:05:00 a.\u00a0m.] "),
    "fr": ("01/05/2023 à 21:15 - ", "13/05/2023 à 09:05 - "),
    "fi": ("1.5.2023 klo 21.15 - ", "13.5.2023 klo 9.05 - "),
    "fi iOS": ("[1.5.2023 klo 21.15.00] ", "[13.5.2023 klo 9.05.00] "),
    "da": ("01.05.2023 kl. 21.15 - ", "13.05.2023 kl. 09.05 - "),
    "sv": ("2023-05-01 21:15 - ", "2023-05-13 09:05 - "),
    "nl": ("01-05-2023 21:15 - ", "13-05-2023 09:05 - "),
    "pl": ("1.05.2023, 21:15 - ", "13.05.2023, 09:05 - "),
    "hu": ("2023. 05. 01. 21:15 - ", "2023. 05. 13. 9:05 - "),
    "hr": ("01. 05. 2023. 21:15 - ", "13. 05. 2023. 09:05 - "),
    "bg": ("1.05.23 г., 21:15 - ", "13.05.23 г., 9:05 - "),
    "el": ("1/5/23, 9:15 μ.μ. - ", "13/5/23, 9:05 π.μ. - "),
    "tr": ("1.05.2023 21:15 - ", "13.05.2023 09:05 - "),
    "he iOS": ("\u200f[1.5.2023, 21:15:00] ", "\u200f[13.5.2023, 9:05:00] "),
    "ar": ("١\u200f/٥\u200f/٢٠٢٣، ٩:١٥ م - ", "١٣\u200f/٥\u200f/٢٠٢٣، ٩:٠٥ ص - "),
    "fa": ("۱۴۰۲/۲/۱۱،\u200f ۲۱:۱۵ - ", "۱۴۰۲/۲/۲۳،\u200f ۹:۰۵ - "),
    "hi": ("1/5/23, 9:15 pm - ", "13/5/23, 9:05 am - "),
    "th": ("1/5/2566 21:15 - ", "13/5/2566 09:05 - "),
    "vi": ("21:15, 01/05/2023 - ", "09:05, 13/05/2023 - "),
    "ja": ("2023/05/01 21:15 - ", "2023/05/13 9:05 - "),
    "ko, in words": ("2023년 5월 1일 오후 9:15 - ", "2023년 5월 13일 오전 9:05 - "),
    "ja iOS, 12 hours": ("[2023/05/01 午後9:15:00] ", "[2023/05/13 午前9:05:00] "),
    "ko": ("2023. 5. 1. 오후 9:15 - ", "2023. 5. 13. 오전 9:05 - "),
    "zh-CN": ("2023/5/1 下午9:15 - ", "2023/5/13 上午9:05 - "),
    "zh-TW iOS": ("[2023/5/1 下午9:15:00] ", "[2023/5/13 上午9:05:00] "),
    "en-CA": ("2023-05-01, 9:15\u202fp.m. - ", "2023-05-13, 9:05\u202fa.m. - "),
    "en-ZA": ("2023/05/01, 21:15 - ", "2023/05/13, 09:05 - "),
    "fr-CA": ("2023-05-01 21\u00a0h\u00a015 - ", "2023-05-13 09\u00a0h\u00a005 - "),
    "fr-CA iOS": ("[2023-05-01 21 h 15 min 00 s] ", "[2023-05-13 09 h 05 min 00 s] "),
    "is": ("1.5.2023, 21:15 - ", "13.5.2023, 09:05 - "),
    "sl": ("1. 05. 23 21:15 - ", "13. 05. 23 09:05 - "),
    "sk": ("1. 5. 2023 21:15 - ", "13. 5. 2023 9:05 - "),
    "eu": ("23/5/1 21:15 - ", "23/5/13 09:05 - "),
    "sq": ("1.5.23, 9:15 e pasdites - ", "13.5.23, 9:05 e paradites - "),
    "ar iOS": ("[١\u200f/٥\u200f/٢٠٢٣، ٩:١٥:٠٠\u202fم] ", "[١٣\u200f/٥\u200f/٢٠٢٣، ٩:٠٥:٠٠\u202fص] "),
    "ar-MA": ("\u200f1\u200f/5\u200f/2023، 21:15 - ", "\u200f13\u200f/5\u200f/2023، 09:05 - "),
    "bn": ("১/৫/২৩, ৯:১৫ অপরাহ্ণ - ", "১৩/৫/২৩, ৯:০৫ পূর্বাহ্ণ - "),
    "ta": ("1/5/23, பிற்பகல் 9:15 - ", "13/5/23, முற்பகல் 9:05 - "),
    "th, year of two digits": ("1/5/66 21:15 น. - ", "13/5/66 09:05 น. - "),
    "th iOS": ("[1/5/2566 BE 21:15:00] ", "[13/5/2566 BE 09:05:00] "),
    "ms": ("01/05/2023, 9:15 PTG - ", "13/05/2023, 9:05 PG - "),
    "zh-TW": ("2023/5/1 晚上9:15 - ", "2023/5/13 早上9:05 - "),
    "zh-CN, with words": ("2023年5月1日 下午9:15 - ", "2023年5月13日 上午9:05 - "),
    "old iPhones": ("01/05/2023, 21:15:00: ", "13/05/2023, 09:05:00: "),
    "Japanese era": ("[5/1/R5, 21:15:00] ", "[5/13/R5, 9:05:00] "),
}


@pytest.mark.parametrize("locale", STAMPS)
def test_stamps_of_many_languages(tmp_path, locale):
    one, two = STAMPS[locale]
    text = f"{one}Ann: Hi\n{one}Ben-Lee:  so: \n\n"
    text += f"31.12.2020 was a day\n2021.1.1 0:00 - Zoe: too?\n{two}+49 170 1234567: ok\n"
    turns, left_out = parse(tmp_path, text)
    assert [turn.speaker for turn in turns] == ["Ann", "Ben-Lee", "+49 170 1234567"]
    assert turns[0].text == "Hi"
    assert "31.12.2020 was a day\n" in turns[1].text
    assert [turn.date for turn in turns] == [MAY_1, MAY_1, MAY_13]
    assert not left_out
    head = head_of(tmp_path / "chat.txt")
    assert CORPUS.looks_like(head)
    assert not LINE.looks_like(head)
    assert not KAKAOTALK.looks_like(head)


def test_notices_media_and_deleted_messages_of_iphones(tmp_path):
    text = (
        "[01.05.23, 21:15:00] Gruppe: \u200eNachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.\n"
        "[01.05.23, 21:15:00] Ann: Hallo\n"
        "\u200e[01.05.23, 21:15:01] Ben: \u200eBild weggelassen\n"
        "\u200e[01.05.23, 21:15:01] Ben: Plan.pdf • \u200e2 Seiten \u200eDokument weggelassen\n"
        "\u200e[01.05.23, 21:15:01] Ben: Schau mal \u200e<angehängt: 00000012-PHOTO-2023-05-01-21-15-01.jpg>\n"
        "\u200e[01.05.23, 21:15:02] Ben: \u200eUMFRAGE:\nWann?\n"
        "\u200eOPTION: Heute (\u200e2 Stimmen)\n\u200eOPTION: Nie (\u200e0 Stimmen)\n"
        "[01.05.23, 21:15:03] Ben: Diese Nachricht wurde gelöscht.\n"
        "[01.05.23, 21:15:04] \u202a+49 170 1\u202c: Gut \u200e<Diese Nachricht wurde bearbeitet.>\n"
        "[01.05.23, 21:15:05] Ann: \u200eStandort: https://maps.google.com/?q=51.5,-0.12\n"
    )
    turns, left_out = parse(tmp_path, text)
    assert said(turns) == [("Ann", "Hallo"), ("Ben", "Schau mal"), ("+49 170 1", "Gut")]
    assert sum(left_out.values()) == 6
    assert left_out["polls"] == 1
    assert left_out["deleted messages"] == 1


def test_notices_media_and_deleted_messages_of_android(tmp_path):
    at = "12/31/23, 9:15 PM - "
    text = (
        f"\ufeff{at}Messages and calls are end-to-end encrypted. Learn more.\n{at}Ann: Happy\n{at}Ann added Ben\n"
        f'{at}Ann changed the subject from "a: b" to "c: d"\n{at}Ben: <Media omitted>\n{at}Ben: null\n'
        f"{at}Ben: \u200eIMG-20230101-WA0001.jpg (Datei angehängt)\nNice, no?\n{at}Ben: Ann.vcf (file attached)\n"
        f"{at}Ann: You deleted this message\n{at}Ann: POLL:\nWhen?\nOPTION: Now (1 vote)\nOPTION: Never (0 votes)\n"
        f"{at}Ann: two\n  lines <This message was edited>\n{at}Ann: location: https://maps.google.com/?q=1.5,2\n{at}Ben:\n"
        f"{at}Ben: <3 you\n"
    )
    turns, left_out = parse(tmp_path, text)
    assert said(turns) == [("Ann", "Happy"), ("Ben", "Nice, no?"), ("Ann", "two\n  lines"), ("Ben", "<3 you")]
    assert left_out == {
        "messenger's notices": 3,
        "media without words": 3,
        "calls, places and other messages without words": 2,
        "deleted messages": 1,
        "polls": 1,
    }


@pytest.mark.parametrize(
    ("dates", "first"),
    [
        (("1/2/24", "1/13/24"), "2024-01-02"),
        (("1/2/24", "13/2/24"), "2024-02-01"),
        (("1/12/23", "2/1/24", "3/1/24"), "2023-12-01"),
        (("9/30/23", "10/1/23", "10/2/23"), "2023-09-30"),
        (("24-01-02", "24-02-01"), "2024-01-02"),
    ],
)
def test_all_dates_tell_whether_the_day_comes_first(tmp_path, dates, first):
    turns, _ = parse(tmp_path, "".join(f"{date}, 21:15 - Ann: Hi\n" for date in dates))
    assert turns[0].date == f"{first} 21:15:00"


def test_twelve_hours_written_as_americans_do_mean_month_first(tmp_path):
    turns, _ = parse(tmp_path, "1/2/24, 12:15 AM - Ann: Hi\n1/3/24, 12:15 PM - Ann: Hi\n")
    assert [turn.date for turn in turns] == ["2024-01-02 00:15:00", "2024-01-03 12:15:00"]


def test_files_that_begin_with_the_newest_message(tmp_path):
    turns, _ = parse(tmp_path, "".join(f"{day}/24, 9:15 PM - Ann: Hi\n" for day in ("2/3", "2/2", "2/1", "1/31")))
    assert [turn.date[:10] for turn in turns] == ["2024-02-03", "2024-02-02", "2024-02-01", "2024-01-31"]


def test_words_of_unknown_languages_for_the_afternoon(tmp_path):
    clocks = ("8:00 ba", "11:00 ba", "12:00 bu", "1:00 bu", "10:00 bu")
    turns, _ = parse(tmp_path, "".join(f"13/05/2023, {clock} - Ann: Hi\n" for clock in clocks))
    assert [turn.date[11:13] for turn in turns] == ["08", "11", "12", "13", "22"]


@pytest.mark.parametrize(
    ("clocks", "hours"),
    [
        (("13/05/2023, 9:05 ba", "13/05/2023, 12:30 bu", "13/05/2023, 9:41 bu"), ["09", "12", "21"]),
        (("13/05/2023, 12:15 ba", "13/05/2023, 9:06 ba", "13/05/2023, 9:41 bu"), ["00", "09", "21"]),
        # Where no day has both: few people write in the night.
        (("13/05/2023, 11:15 ba", "14/05/2023, 3:16 bu"), ["11", "15"]),
        (("13/05/2023, 3:16 ba", "14/05/2023, 11:15 bu"), ["15", "11"]),
        # One of the two is known.
        (("13/05/2023, 9:05 ق.ظ.", "14/05/2023, 9:41 bu"), ["09", "21"]),
        (("13/05/2023, 9:05 ba", "14/05/2023, 9:41 ب.ظ."), ["09", "21"]),
        (("13/05/2023, 9:05 vorm.", "14/05/2023, 9:41 nachm."), ["09", "21"]),
        (("13/05/2023, 9:05 قبل دوپہر", "14/05/2023, 9:41 بعد دوپہر"), ["09", "21"]),
    ],
)
def test_of_two_words_beside_the_clock_one_means_the_afternoon(tmp_path, clocks, hours):
    turns, _ = parse(tmp_path, "".join(f"{clock} - Ann: Hi\n" for clock in clocks))
    assert [turn.date[11:13] for turn in turns] == hours


def test_days_of_the_week_do_not_mean_the_afternoon(tmp_path):
    turns, _ = parse(tmp_path, "[Sat 13/5/2023, 9:15:00] Ann: Hi\n[Sun 14/5/2023, 3:15:00] Ben: Ho\n")
    assert [turn.date[11:13] for turn in turns] == ["09", "03"]


@pytest.mark.parametrize(
    ("poll", "option"),
    [
        ("POLL:", "OPTION:"),
        ("UMFRAGE:", "OPTION:"),
        ("ENCUESTA:", "OPCIÓN:"),
        ("SONDAGE :", "OPTION :"),
        ("סקר:", "אפשרות:"),
    ],
)
def test_the_lines_of_a_poll_go_with_it(tmp_path, poll, option):
    at = "01/05/2023, 21:15 - "
    turns, left_out = parse(
        tmp_path, f"{at}Ann: {poll}\nWhen?\n{option} Mon: early (2 votes)\n{option} Tue (0 votes)\n\n{at}Ben: ok\n"
    )
    assert said(turns) == [("Ben", "ok")]
    assert left_out == {"polls": 1}


def test_words_beside_media_stay_and_names_of_files_do_not(tmp_path):
    at, ios = "01/05/2023, 21:15 - ", "[01/05/2023, 21:15:00] "
    turns, left_out = parse(
        tmp_path,
        f"{at}Ann: <Media omitted>\nlook\nhere\n{at}Ben: plan b.pdf (file attached)\nplan b.pdf\n{at}Ben: so\n",
    )
    assert said(turns) == [("Ann", "look\nhere"), ("Ben", "so")]
    assert left_out == {"media without words": 1}
    turns, left_out = parse(
        tmp_path,
        f"{ios}Ann: on example.com\nlook \u200e<attached: 00000007-PHOTO-2023-05-01-21-15-00.jpg>\n"
        f"\u200e{ios}Ben: plan.pdf • \u200e2 pages \u200e<attached: 00000009-plan.pdf>\n{ios}Ben: so\n",
    )
    assert said(turns) == [("Ann", "on example.com\nlook"), ("Ben", "so")]
    assert left_out == {"media without words": 1}


def test_notices_under_the_name_of_a_group_with_a_colon(tmp_path):
    at = "[01/05/2023, 21:15:00] "
    text = f"\u200e{at}Trip: Rome: \u200eBen created this group\n{at}Ben: Hi\n{at}Ann: Ho\n"
    turns, left_out = parse(tmp_path, f"{text}\u200e{at}Trip: Rome: \u200eBen added Zoe\n")
    assert said(turns) == [("Ben", "Hi"), ("Ann", "Ho")]
    assert sum(left_out.values()) == 2


def test_names_with_colons_and_no_space_behind_the_colon(tmp_path):
    at = "01/05/2023, 21:15 - "
    turns, _ = parse(
        tmp_path, f"{at}Ann: work: Hi\n{at}Ben:Ho\n{at}Ann: work: so\n{at}Ann: work: yes\n{at}Ben:at 9:30\n"
    )
    assert said(turns) == [
        ("Ann: work", "Hi"),
        ("Ben", "Ho"),
        ("Ann: work", "so"),
        ("Ann: work", "yes"),
        ("Ben", "at 9:30"),
    ]


def test_a_stamp_may_be_given(tmp_path):
    text = "2023~05~01 (21h15) Ann: Hi\nso\n2023~05~02 (9h05) Ben: Ho\n"
    with pytest.raises(UserError, match="--stamp"):
        parse(tmp_path, text)
    turns, _ = parse(tmp_path, text, stamp="%Y~%m~%d (%Hh%M) ")
    assert said(turns) == [("Ann", "Hi\nso"), ("Ben", "Ho")]
    assert turns[1].date == "2023-05-02 09:05:00"
    with pytest.raises(UserError, match="not a pattern"):
        parse(tmp_path, text, stamp="%q")


def test_an_export_of_media_only_is_counted_and_an_empty_one_refused(tmp_path):
    assert parse(tmp_path, "01/05/2023, 21:15 - Ann: <Media omitted>\n") == ((), {"media without words": 1})
    with pytest.raises(UserError, match="empty"):
        parse(tmp_path, "")


@pytest.mark.parametrize(
    "text",
    [
        "Detta meddelande togs bort",
        "Το μήνυμα διαγράφηκε",
        "This message was deleted by admin Ben",
        "Diese Nachricht wurde von Admin Ben gelöscht.",
        "Ce message a été supprimé par l’admin Ben",
        "Esta mensagem foi apagada pelo admin Ben.",
        "Se eliminó este mensaje por el admin. Ben",
        "Questo messaggio è stato eliminato dall'amministratore Ben",
        "Dit bericht is verwijderd door beheerder Ben",
    ],
)
def test_deleted_messages_on_android_are_told_by_their_words(tmp_path, text):
    assert parse(tmp_path, f"01/05/2023, 21:15 - Ann: {text}\n") == ((), {"deleted messages": 1})


def test_words_about_a_deleted_message_stay(tmp_path):
    text = "This message was deleted? Why"
    assert said(parse(tmp_path, f"01/05/2023, 21:15 - Ann: {text}\n")[0]) == [("Ann", text)]


def test_a_file_in_another_encoding_is_not_called_empty(tmp_path):
    (tmp_path / "chat.txt").write_bytes(
        "13.05.23, 21:15 - Jörg: Schön\n13.05.23, 21:16 - Jürgen: Grüß\n".encode("cp1252")
    )
    assert [result.problem[:9] for result in read(tmp_path / "chat.txt")] == ["not UTF-8", "not UTF-8"]


def test_a_text_of_which_most_stands_before_the_first_stamp_is_refused(tmp_path):
    with pytest.raises(UserError, match="--stamp"):
        parse(tmp_path, "a line\n" * 20 + "01/05/2023, 21:15 - Ann: Hi\n01/05/2023, 21:16 - Ben: Ho\n")
    turns, left_out = parse(tmp_path, "Our chat\n01/05/2023, 21:15 - Ann: Hi\n01/05/2023, 21:16 - Ben: Ho\n")
    assert len(turns) == 2
    assert left_out == {"lines before the first message": 1}


@pytest.mark.parametrize(
    "text",
    [
        "Ann: Hi\nBen: Ho\n",
        "[21:15] Ann: Hi\n[21:16] Ben: Ho\n",
        "=====\nGuild: Home\nChannel: all\n=====\n\n[01/05/2023 21:15] Ann\nHi\n\n[01/05/2023 21:16] Ben\nNote: x\n",
        "2023/05/01(月)\n21:15\tAnn\tHi\n",
        "--------------- 2023년 5월 1일 월요일 ---------------\n[Ann] [오후 9:15] Hi\n",
        "2023년 5월 1일 오후 9:15, Ann : Hi\n",
        "On 1/5/23, 21:15 - Ann wrote: hi\n",
        "[2024-02-01 10:00:00] production.ERROR: no: file\n[2024-02-01 10:00:01] production.INFO: so\n",
        "2024/02/01 10:00:00 - INFO: step 1: done\n2024/02/01 10:00:01 - WARNING: slow\n",
    ],
)
def test_other_kinds_are_not_taken(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    assert not CORPUS.looks_like(head_of(tmp_path / "a.txt"))
    assert transcript.CORPUS.looks_like(head_of(tmp_path / "a.txt"))


def test_who_is_no_contact_has_a_name_without_its_mark(tmp_path):
    lines = ["[01.05.23, 21:15:00] ~\u00a0Ann: Hi", "[01.05.23, 21:16:00] Ben: Hello", "[01.05.23, 21:17:00] ~ Ann: So"]
    turns, _ = parse(tmp_path, "\n".join(lines))
    assert said(turns) == [("Ann", "Hi"), ("Ben", "Hello"), ("Ann", "So")]
