"""Signal, as sigtop and signal-export write it."""

import json

from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import signal, signal_text
from gistchat.corpora.corpus import Head
from gistchat.corpora.kinds import head_of

HI = [("Ann", "Hi: you"), ("You", "Two\n\nlines")]


def test_sigtop_json(tmp_path):
    def line(kind, body, **more):
        return {"id": "x", "type": kind, "conversationId": "c1", "body": body, "sent_at": 1709673300000} | more

    values = [line("incoming", "Hi: you", source="Ann"), line("outgoing", "Two\n\nlines"), line("call-history", None)]
    path = write(tmp_path / "Ann.json", [*values, line("incoming", None, source="Ann", attachments=[{}])])
    assert kinds(path) == ["signal"]
    assert said(signal, path) == [[HI[0], ("Me", HI[1][1])]]
    assert left_out(signal, path) == {signal_text.NOTICES: 1, signal.WORDLESS: 1}
    assert (dialogues(signal, path)[0].id, dialogues(signal, path)[0].turns[0].date) == ("Ann", "2024-03-05 21:15:00")


def test_sigtop_text(tmp_path):
    blocks = [
        "Conversation: Ann (+4915100000)\n",
        "From: Ann (+4915100000)\nType: incoming\nSent: Tue, 5 Mar 2024 21:15:00 +0000\n"
        "Received: Tue, 5 Mar 2024 21:15:01 +0000\nReaction: x from You\n"
        "\n> From: You\n> Sent: unknown\n>\n> Old\n\nHi: you\n",
        "From: You\nType: outgoing\nSent: Tue, 5 Mar 2024 22:15:00 +0100\n\nTwo\n\nlines\n",
        "Type: call-history\nSent: Tue, 5 Mar 2024 22:15:00 +0100\nReceived: unknown\n",
        "From: You\nType: outgoing\nSent: Tue, 5 Mar 2024 21:16:00 +0000\nAttachment: a.jpg (image/jpeg, 7 bytes)\n",
        "From: You\nType: outgoing\nSent: Tue, 5 Mar 2024 21:17:00 +0000\nEdited: 2 versions\n\n"
        "| Version: 2\n| Sent: Tue, 5 Mar 2024 21:17:05 +0000\n|\n| new\n|\n| Version: 1\n| Sent: unknown\n|\n| old\n",
    ]
    path = write(tmp_path / "Ann.txt", "\n".join(blocks))
    assert kinds(path) == ["signal"]
    assert said(signal, path) == [[*HI, ("You", "new")]]
    assert [turn.date for turn in dialogues(signal, path)[0].turns][:2] == ["2024-03-05 21:15:00"] * 2
    assert left_out(signal, path) == {signal_text.NOTICES: 1, signal.WORDLESS: 1}


def test_words_that_begin_like_a_field_stay_words(tmp_path):
    head = "From: Ann (+49151)\nType: incoming\nSent: Tue, 5 Mar 2024 21:15:00 +0000\nReceived: unknown\n\n"
    words = "From: here to there\n\nType: slow\nSent: never"
    path = write(tmp_path / "Ann.txt", f"Conversation: Ann (+49151)\n\n{head}{words}\n\n{head}Yes\n\n")
    assert said(signal, path) == [[("Ann", "From: here to there\n\nType: slow\nSent: never"), ("Ann", "Yes")]]


def test_sigtop_short_text(tmp_path):
    text = "2024-03-05 21:15 Ann: [reply to You on 2024-03-05 21:00] Hi: you\n2024-03-05 21:15 You: Two\n\nlines\n"
    text += "2024-03-05 21:16 Ann: [1 attachment]\n2024-03-05 21:17 Ann: [call-history message]\n"
    path = write(tmp_path / "Ann.txt", text + "2024-03-05 21:18 Ann: [sic] yes\n")
    assert kinds(path) == ["signal"]
    assert said(signal, path) == [[*HI, ("Ann", "[sic] yes")]]
    assert left_out(signal, path) == {signal_text.NOTICES: 1, signal.WORDLESS: 1}


def test_signal_export(tmp_path):
    keys = {"quote": "", "sticker": "", "reactions": [], "attachments": []}
    lines = [{"date": "2024-03-05 21:15:00", "sender": name, "body": text} | keys for name, text in (*HI, ("Ann", ""))]
    path = write(tmp_path / "Ann" / "data.json", "".join(json.dumps(line) + "\n" for line in lines))
    assert kinds(path) == ["signal"]
    assert said(signal, path) == [HI]
    assert left_out(signal, path) == {signal.WORDLESS: 1}
    assert dialogues(signal, path)[0].id == "Ann"
    text = "[2024-03-05 21:15] Ann: Hi: you\n[2024-03-05 21:15:09] You: Two\n\nlines\n(- Ann: x -)\n"
    text += "[2024-03-05, 21:16] Ann: ![a.jpg](./media/a.jpg)\n"
    page = write(tmp_path / "Ben" / "index.md", text)
    assert kinds(page) == ["signal"]
    assert said(signal, page) == [HI]


def test_signal_export_writes_calls_as_if_said(tmp_path):
    text = "[2024-03-05 21:15:00] Me: Outgoing voice call (accepted, 3m 2s)  \n"
    text += "[2024-03-05 21:16:00] Ann: Missed call  \n[2024-03-05 21:17:00] Ann: (This message was deleted)\n"
    text += "[2024-03-05 21:18:00] Ann: \n\n> Old\n\nIncoming call?  \n"
    path = write(tmp_path / "Ann" / "chat.md", text)
    assert said(signal, path) == [[("Ann", "Incoming call?")]]
    assert left_out(signal, path) == {signal_text.NOTICES: 2, signal_text.DELETED: 1}
    assert dialogues(signal, path)[0].id == "Ann"
    call = {
        "date": "2024-03-05T21:15:00",
        "sender": "Me",
        "body": "Outgoing call  ",
        "reactions": [],
        "attachments": [],
    }
    data = write(tmp_path / "Ann" / "data.json", json.dumps(call) + "\n")
    assert left_out(signal, data) == {signal_text.NOTICES: 1}
    assert "data.json" in signal.refused(head_of(path))  # the same chat would be read twice


def test_sigtop_names_the_file_by_whom_its_messages_know_by_number(tmp_path):
    value = {"type": "incoming", "conversationId": "c", "body": "Hi", "sent_at": 1709673300000, "source": "+49151"}
    assert said(signal, write(tmp_path / "Ann Lee (+49151).json", [value])) == [[("Ann Lee", "Hi")]]
    assert said(signal, write(tmp_path / "Cooks (group).json", [value])) == [[("+49151", "Hi")]]


def test_signalbackup_tools(tmp_path):
    text = """[Mar 05, 2024 21:15:00] *** Messages are now secured
[Mar 05, 2024 21:15:00] <Ann> Hi: you (👍 from Ben Ray)
[Mar 05, 2024 21:16:00] *** <Ben Ray> sent file "a.jpg"
[Mar 05, 2024 21:16:00] <Ben Ray> Two

lines (of soup)
[Mar 05, 2024 21:17:00] <Ann> Poll: Soup?
                                  [1] Yes
"""
    path = write(tmp_path / "Ann (_id5).txt", text)
    assert kinds(path) == ["signal"]
    assert said(signal, path) == [[("Ann", "Hi: you"), ("Ben Ray", "Two\n\nlines (of soup)")]]
    assert left_out(signal, path) == {signal_text.NOTICES: 1, signal.WORDLESS: 1, signal_text.POLLS: 1}
    assert dialogues(signal, path)[0].turns[1].date == "2024-03-05 21:16:00"
    digits = write(tmp_path / "b.txt", "[2024-03-05 21:15] *** <Ann> sent file\n[2024-03-05 21:15] <Ann> Hi: you\n")
    assert kinds(digits) == ["signal"]
    assert said(signal, digits) == [[("Ann", "Hi: you")]]


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    assert "encrypted" in signal.refused(Head(tmp_path / "signal-2024-03-05-21-15-00.backup"))
    table = write(tmp_path / "message.csv", "_id,thread_id,date_sent,from_recipient_id,body\n1,2,3,4,Hi\n")
    assert "numbers for names" in signal.refused(head_of(table))
    assert not signal.refused(head_of(write(tmp_path / "a.txt", "Ann: Hi\n")))


def test_whatsapp_with_dates_of_the_same_form_is_not_taken(tmp_path):
    assert kinds(write(tmp_path / "a.txt", "2024-03-05 21:15 - Ann: Hi\n2024-03-05 21:16 - Ben: Hello\n")) == []


def test_a_date_that_is_none_is_a_bad_piece_among_good(tmp_path):
    short = "2024-13-45 21:15 Ann: a\n2024-03-05 21:15 Ann: b\n"
    long = "Conversation: Ann (+49151)\n\n"
    for day in ("Tue, 45 Mar", "Tue, 5 Mar"):
        long += f"From: Ann (+49151)\nType: incoming\nSent: {day} 2024 21:15:00 +0000\nReceived: unknown\n\nb\n\n"
    for name, text in (("short.txt", "2024-03-05 21:15 Ann: b\n" + short), ("long.txt", long)):
        path = write(tmp_path / name, text)
        assert len(problems(signal, path)) == 1
        assert {text for _, text in said(signal, path)[0]} == {"b"}
