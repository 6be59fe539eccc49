"""Discord as DiscordChatExporter writes it."""

from messengers import dialogues, kinds, left_out, said, write

from gistchat.corpora import discord
from gistchat.corpora.kinds import head_of

CHANNEL = {"guild": {"id": "1", "name": "Cooks"}, "channel": {"id": "22", "type": "GuildTextChat", "name": "soup"}}


def message(name, text, kind="Default", date="2024-03-05T21:15:00.123+02:00", bot=False, number="", **more):
    author = {"id": number or f"id{name}", "name": name.lower(), "discriminator": "0000", "isBot": bot}
    value = {"id": "9", "type": kind, "timestamp": date, "timestampEdited": None, "content": text}
    return value | {"author": author | {"nickname": name}, "attachments": [], "embeds": []} | more


def test_json_with_notices_bots_and_a_changed_nickname(tmp_path):
    messages = [
        message("Ann", "Hi", number="1"),
        message("Ben", "Hello", "Reply"),
        message("Annie", "Bye", number="1", date="2024-03-05T19:16:00+00:00"),
        message("Ben", "Pinned a message.", "ChannelPinnedMessage"),
        message("Robot", "beep", bot=True),
        message("Ben", "", attachments=[{"url": "x"}]),
        message("Ben", "", stickers=[{"name": "x"}]),
        message("Ben", "", forwardedMessage={"content": "x"}),
    ]
    path = write(tmp_path / "soup.json", CHANNEL | {"messages": messages, "messageCount": 8})
    assert kinds(path) == ["discord"]
    assert said(discord, path) == [[("Annie", "Hi"), ("Ben", "Hello"), ("Annie", "Bye")]]
    assert left_out(discord, path) == {
        discord.NOTICES: 1, discord.BOTS: 1, discord.WORDLESS: 2, discord.FORWARDED: 1,
    }  # fmt: skip
    dialogue = dialogues(discord, path)[0]
    assert dialogue.id == "soup 22"
    assert [turn.date for turn in dialogue.turns][::2] == ["2024-03-05 19:15:00", "2024-03-05 19:16:00"]


def test_json_of_before_nicknames(tmp_path):
    old = message("ann", "Hi")
    del old["author"]["nickname"]
    assert said(discord, write(tmp_path / "a.json", CHANNEL | {"messages": [old]})) == [[("ann", "Hi")]]


def test_tables(tmp_path):
    rows = "AuthorID,Author,Date,Content,Attachments,Reactions\n"
    rows += '"1","ann#1234","2024-03-05T21:15:00.0000000+00:00","Hi, ""you""\nthere","",""\n'
    rows += '"2","ben","2024-03-05T21:16:00.0000000+00:00","","x.png",""\n'
    rows += '"2","ben","2024-03-05T21:16:00.0000000+00:00","Joined the server.","",""\n'
    path = write(tmp_path / "soup.csv", rows)
    assert kinds(path) == ["discord"]
    assert said(discord, path) == [[("ann", 'Hi, "you"\nthere')]]
    assert left_out(discord, path) == {discord.WORDLESS: 1, discord.NOTICES: 1}
    old = write(tmp_path / "old.csv", "Author;Date;Content;Attachments;\nann#1234;05-Jan-19 09:15 PM;Hi;;\n")
    assert kinds(old) == ["discord"]
    assert [turn.date for turn in dialogues(discord, old)[0].turns] == ["2019-01-05 21:15:00"]


def test_what_cannot_be_read_is_refused_by_name(tmp_path):
    rule = "=" * 62
    text = write(
        tmp_path / "a.txt", f"{rule}\nGuild: Cooks\nChannel: soup / all\n{rule}\n\n[05-Mar-24 09:15 PM] ann\nHi\n"
    )
    assert "TXT" in discord.refused(head_of(text))
    page = write(tmp_path / "a.html", '<!DOCTYPE html>\n<div class="chatlog"></div>')
    assert "HTML" in discord.refused(head_of(page))
    package = write(tmp_path / "messages.json", [{"ID": 1, "Timestamp": "2024-03-05 21:15:00", "Contents": "Hi"}])
    assert "data package" in discord.refused(head_of(package))
    table = write(tmp_path / "messages.csv", "ID,Timestamp,Contents,Attachments\n1,2024-03-05,Hi,\n")
    assert "data package" in discord.refused(head_of(table))
    assert kinds(package) == kinds(table) == []
    assert not discord.refused(head_of(write(tmp_path / "b.txt", "Ann: Hi\nBen: Guild: what?\n")))
