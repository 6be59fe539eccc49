"""iMessage: iMazing's CSV, imessage-exporter's TXT."""

import pytest
from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import imessage, imessage_text
from gistchat.corpora.kinds import kind_of_file
from gistchat.errors import UserError

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
    assert left_out(imessage, path) == {imessage_text.WORDLESS: 1, imessage_text.NOTICES: 1}
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
    assert left_out(imessage, path) == {imessage_text.TWICE: 1, imessage_text.WORDLESS: 1, imessage_text.NOTICES: 1}
    assert [turn.date for turn in dialogues(imessage, path)[0].turns][1] == "2022-05-17 23:30:31"


def test_edited_and_unsent_messages(tmp_path):
    edited = "May 17, 2022  5:29:42 PM\nMe\nHelo\nEdited 30 seconds later: Hello\nSent with Confetti\n\n"
    unsent = "May 17, 2022  5:30:42 PM\nAnn\nAnn unsent this message part 3 seconds after sending!\n\n"
    path = write(tmp_path / "Ann.txt", edited + unsent + "May 17, 2022  5:31:42 PM\nAnn\nSent with love\n\n")
    assert said(imessage, path) == [[("Me", "Hello"), ("Ann", "Sent with love")]]
    assert left_out(imessage, path) == {imessage_text.NOTICES: 1}


LANGUAGES = {
    "de": (
        "Chat-Sitzung;Nachrichtendatum;Zustelldatum;Lesedatum;Dienst;Typ;Absender-ID;Absendername;Status;Antwort auf;"
        "Betreff;Text;Anhang;Anhangtyp",
        ("Eingehend", "Ausgehend", "Benachrichtigung"),
    ),
    "fr": (
        "Session de chat;Date du message;Date de lecture;Service;Type;ID de l'expéditeur;Nom de l'expéditeur;Statut;"
        "En réponse à;Sujet;Texte;Pièce jointe;Type de pièce jointe",
        ("Entrant", "Sortant", "Notification"),
    ),
    "es": (
        "Sesión;Fecha del mensaje;Servicio;Tipo;Nombre del remitente;ID del remitente;Estado;Respuesta a;Asunto;Texto;"
        "Adjunto;Tipo de adjunto",
        ("Entrante", "Saliente", "Notificación"),
    ),
    "ja": (
        "チャット,メッセージの日付,サービス,タイプ,送信者 ID,送信者名,ステータス,返信先,件名,テキスト,添付ファイル",
        ("受信", "送信", "通知"),
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_imazing_in_other_languages(tmp_path, language):
    header, (incoming, outgoing, notice) = LANGUAGES[language]
    mark = ";" if ";" in header else ","
    names = header.split(mark)
    kind = next(place for place, name in enumerate(names) if name.lower() in imessage.TYPE)
    text = next(place for place, name in enumerate(names) if name.lower() in imessage.TEXT and place > kind)

    def row(word, sender, status, words, second):
        cells = ["Ann", f"2024-03-05 21:15:0{second}"] + [""] * (len(names) - 2)
        cells[kind], cells[kind + 3], cells[text] = word, status, words
        ids = ("Ann Lee", "+49151") if "Nombre" in names[kind + 1] else ("+49151", "Ann Lee")
        cells[kind + 1], cells[kind + 2] = ids if sender else ("", "")
        return mark.join(cells)

    rows = [row(incoming, True, "x", "Hi", 1), row(outgoing, False, "x", "Yes", 2), row(notice, False, "", "Left", 3)]
    path = write(tmp_path / "Messages.csv", "\n".join([header, *rows]) + "\n")
    assert kinds(path) == ["imessage"]
    assert said(imessage, path) == [[("Ann Lee", "Hi"), ("Me", "Yes")]]
    assert left_out(imessage, path) == {imessage_text.NOTICES: 1}
    assert dialogues(imessage, path)[0].turns[1].date == "2024-03-05 21:15:02"


def test_other_tables_are_not_taken(tmp_path):
    for header in ("id,date,type,speaker,name,text", "Author,Date,Type,From,To,Text,Likes", "a,b,type,c,d,e,text"):
        assert kinds(write(tmp_path / "t.csv", header + "\n1,2,3,4,5,6,7\n")) == []


def test_reactions_that_came_as_texts(tmp_path):
    rows = "Ann,2024-03-05 21:15:00,,,SMS,Incoming,+49151,Ann,,,,Liked “Hi, you”,,\n".replace("Hi, you", "Hi")
    rows += "Ann,2024-03-05 21:15:01,,,SMS,Incoming,+49151,Ann,,,,Loved an image,,\n"
    rows += "Ann,2024-03-05 21:15:02,,,SMS,Incoming,+49151,Ann,,,,Loved the soup,,\n"
    path = write(tmp_path / "Messages.csv", HEADER + rows)
    assert said(imessage, path) == [[("Ann", "Loved the soup")]]
    assert left_out(imessage, path) == {imessage_text.REACTIONS: 2}


def test_pages_are_refused(tmp_path):
    page = '<html>\n<body>\n<div class="message"><div class="sent iMessage"><p>Hi</p></div></div></body></html>'
    with pytest.raises(UserError, match="txt"):
        kind_of_file(write(tmp_path / "Ann.html", page))


def test_a_date_that_is_none(tmp_path):
    text = "Feb 31, 2022  5:29:42 PM\nMe\nHi\n\nMay 17, 2022  5:30:42 PM\nAnn\nYes\n\n"
    turns = dialogues(imessage, write(tmp_path / "Ann.txt", text))[0].turns
    assert [turn.date for turn in turns] == ["", "2022-05-17 17:30:42"]
