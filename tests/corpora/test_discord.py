"""Discord as DiscordChatExporter writes it."""

import pytest
from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import discord
from gistchat.corpora.kinds import head_of
from gistchat.errors import UserError

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
    rows += '"2","ben","2024-03-05T21:16:00.0000000+00:00","Changed the channel name.","",""\n'
    path = write(tmp_path / "soup.csv", rows)
    assert kinds(path) == ["discord"]
    assert said(discord, path) == [[("ann", 'Hi, "you"\nthere')]]
    assert left_out(discord, path) == {discord.WORDLESS: 1, discord.NOTICES: 2}
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
    about = write(tmp_path / "user.json", {"id": "1", "username": "ann", "email": "x", "discriminator": "0"})
    assert "data package" in discord.refused(head_of(about))
    write(tmp_path / "package" / "messages" / "index.json", {"22": "Direct Message with ann#0"})
    readme = write(tmp_path / "package" / "README.txt", "Hello: this is your data\n")
    assert "data package" in discord.refused(head_of(readme))
    assert kinds(package) == kinds(table) == []
    assert not discord.refused(head_of(write(tmp_path / "b.txt", "Ann: Hi\nBen: Guild: what?\n")))


def test_parts_of_a_channel_have_its_id_and_threads_their_own(tmp_path):
    one = write(tmp_path / "Cooks - soup [22].json", CHANNEL | {"messages": [message("Ann", "Hi")]})
    two = write(tmp_path / "Cooks - soup [22] [part 2].json", CHANNEL | {"messages": [message("Ann", "Bye")]})
    channel = {"id": "23", "type": "GuildPublicThread", "category": "soup", "name": "salt"}
    thread = write(tmp_path / "salt.json", CHANNEL | {"channel": channel, "messages": [message("Ben", "Salt?")]})
    assert [dialogues(discord, path)[0].id for path in (one, two, thread)] == ["soup 22", "soup 22", "salt 23"]
    rows = "AuthorID,Author,Date,Content,Attachments,Reactions\n1,ann,2024-03-05T21:15:00+00:00,Hi,,\n"
    assert dialogues(discord, write(tmp_path / "soup [part 2].csv", rows))[0].id == "soup"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3/5/2024 9:15 PM", "3/25/2024 9:15 PM"),  # in the USA
        ("05/03/2024 9:15 PM", "25/03/2024 9:15 PM"),  # in Australia
        ("05.03.2024 21:15", "25.03.2024 21:15"),
        ("05/03/2024 21:15:00", "25/03/2024 21:15:00"),
        ("2024/03/05 21:15", "2024/03/25 21:15"),
        ("05-Mar-24 09:15 PM", "25-Mar-24 09:15 PM"),
    ],
)
def test_dates_of_older_tables(tmp_path, first, second):
    rows = f"AuthorID,Author,Date,Content,Attachments,Reactions\n1,ann,{first},Hi,,\n2,ben,{second},Yes,,\n"
    dates = [turn.date for turn in dialogues(discord, write(tmp_path / "soup.csv", rows))[0].turns]
    assert dates == ["2024-03-05 21:15:00", "2024-03-25 21:15:00"]


def test_marks_of_people_and_emoji_are_readable(tmp_path):
    text = "<@1> and <@!2>: <:soup:77> <a:pot:78> <b>"
    mentions = [{"id": "1", "name": "ann", "nickname": "Ann"}]
    path = write(tmp_path / "a.json", CHANNEL | {"messages": [message("Ben", text, mentions=mentions)]})
    assert said(discord, path) == [[("Ben", "@Ann and @2: :soup: :pot: <b>")]]


def test_one_bad_message_among_good_and_a_file_that_is_cut(tmp_path):
    bad = [7, message("Ann", "x", date="soon"), {"id": "1"}, message("Ann", ["x"])]
    path = write(tmp_path / "a.json", CHANNEL | {"messages": [message("Ann", "Hi"), *bad, message("Ben", "Yes")]})
    assert said(discord, path) == [[("Ann", "Hi"), ("Ben", "Yes")]]
    assert len(problems(discord, path)) == 4
    with pytest.raises(UserError, match="cut off"):
        list(discord.read(write(tmp_path / "cut.json", path.read_text()[:-200])))
