"""iMessage: iMazing's CSV, imessage-exporter's TXT."""

from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import imessage

HEADER = "Chat Session,Message Date,Delivered Date,Read Date,Service,Type,Sender ID,Sender Name,Status,Replying to,"
HEADER += "Subject,Text,Attachment,Attachment type\n"


def test_imazing(tmp_path):
    rows = 'Ann,2024-03-05 21:15:00,,,iMessage,Incoming,+49151,Ann,Read,,,"Hi, ""you""\nthere",,\n'
    rows += "Ann,2024-03-05 21:16:00,,,iMessage,Outgoing,,,Read,,,Hello,,\n"
    rows += "Ann,2024-03-05 21:17:00,,,iMessage,Incoming,ann@example.org,Ann,Read,,,Bye,,\n"
    rows += "Ann,2024-03-05 21:18:00,,,iMessage,Incoming,+49151,Ann,Read,,,\ufffc,a.jpg,Image\n"
    rows += "Ann,2024-03-05 21:18:00,,,iMessage,Notification,,,,,,Ann named the conversation,,\n"
    rows += "Ben,2024-03-05 21:18:00,,,SMS,Incoming,+49152,,Read,,,Yes,,\nBen,2024\n"
    path = write(tmp_path / "Messages.csv", "\ufeff" + HEADER + rows)
    assert kinds(path) == ["imessage"]
    assert said(imessage, path) == [[("Ann", 'Hi, "you"\nthere'), ("Me", "Hello"), ("Ann", "Bye")], [("+49152", "Yes")]]
    assert left_out(imessage, path) == {imessage.WORDLESS: 1, imessage.NOTICES: 1}
    assert [dialogue.id for dialogue in dialogues(imessage, path)] == ["Ann", "Ben"]
    assert dialogues(imessage, path)[0].turns[0].date == "2024-03-05 21:15:00"
    assert len(problems(imessage, path)) == 1


def test_imazing_of_whatsapp(tmp_path):
    header = (
        "Chat Session;Message Date;Sent Date;Type;Sender ID;Sender Name;Status;Forwarded;Replying to;Text;Reactions\n"
    )
    rows = "Ann;2024-03-05 21:15:00;;Incoming;49151;Ann;;;;Hi, you;\nAnn;2024-03-05 21:15:00;;Outgoing;;;Read;;;Yes;\n"
    path = write(tmp_path / "WhatsApp.csv", header + rows)
    assert kinds(path) == ["imessage"]
    assert said(imessage, path) == [[("Ann", "Hi, you"), ("Me", "Yes")]]


def test_imessage_exporter(tmp_path):
    text = """May 17, 2022  5:29:42 PM
Me
Hello

two paragraphs

May 17, 2022 11:30:31 PM (Read by you after 49 seconds)
+491510000
Hi
Tapbacks:
    Loved by Me
    May 17, 2022  5:31:42 PM
    Me
    Below

May 17, 2022  5:31:42 PM
Me
Below
This message responded to an earlier message.

May 17, 2022  5:32:00 PM
Me
/Users/me/Library/Messages/Attachments/0f/15/IMG 1.heic

May 17, 2022  5:33:00 PM You named the conversation Cooks

"""
    path = write(tmp_path / "+491510000.txt", text)
    assert kinds(path) == ["imessage"]
    assert said(imessage, path) == [[("Me", "Hello\n\ntwo paragraphs"), ("+491510000", "Hi"), ("Me", "Below")]]
    assert left_out(imessage, path) == {imessage.TWICE: 1, imessage.WORDLESS: 1, imessage.NOTICES: 1}
    assert [turn.date for turn in dialogues(imessage, path)[0].turns][1] == "2022-05-17 23:30:31"


def test_edited_and_unsent_messages(tmp_path):
    edited = "May 17, 2022  5:29:42 PM\nMe\nHelo\nEdited 30 seconds later: Hello\nSent with Confetti\n\n"
    unsent = "May 17, 2022  5:30:42 PM\nAnn\nAnn unsent this message part 3 seconds after sending!\n\n"
    path = write(tmp_path / "Ann.txt", edited + unsent + "May 17, 2022  5:31:42 PM\nAnn\nSent with love\n\n")
    assert said(imessage, path) == [[("Me", "Hello"), ("Ann", "Sent with love")]]
    assert left_out(imessage, path) == {imessage.NOTICES: 1}
