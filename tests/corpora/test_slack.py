"""Slack's day files."""

from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import slack
from gistchat.corpora.kinds import head_of

USERS = [
    {"id": "U1", "name": "annlee", "profile": {"display_name": "Ann", "real_name": "Ann Lee"}},
    {"id": "U2", "name": "ben", "real_name": "Ben Ray", "profile": {"display_name": ""}},
]


def message(user, text, second=0, **more):
    return {"type": "message", "user": user, "text": text, "ts": f"1709673300.{second:06}"} | more


def test_a_day_of_a_channel_in_its_export(tmp_path):
    write(tmp_path / "users.json", USERS)
    path = write(
        tmp_path / "soup" / "2024-03-05.json",
        [
            message("U1", "Ask <@U2>: salt &amp; <https://example.org|pepper> &lt;3 <#C1|soup> <!here> <https://a.b>"),
            message("U2", "A list", 1, subtype="file_share", files=[{}]),
            message("U2", "", 2, files=[{}]),
            message("U2", "<@U2> has joined the channel", 3, subtype="channel_join"),
            message("U9", "beep", 4, subtype="bot_message", bot_id="B1"),
        ],
    )
    assert kinds(path) == ["slack"]
    text = "Ask @Ben Ray: salt & pepper <3 #soup @here https://a.b"
    assert said(slack, path) == [[("Ann", text), ("Ben Ray", "A list")]]
    assert sorted(left_out(slack, path).values()) == [1, 1, 1]
    assert dialogues(slack, path)[0].id == "soup"
    assert dialogues(slack, path)[0].turns[0].date == "2024-03-05 21:15:00"
    assert kinds(tmp_path / "users.json") == []


def test_a_thread_is_a_dialogue_of_its_own(tmp_path):
    path = write(
        tmp_path / "soup" / "2024-03-05.json",
        [
            message("U1", "Who has salt?", 1, thread_ts="1709673300.000001", reply_count=1),
            message("U2", "Good morning", 2),
            message("U2", "I have", 3, thread_ts="1709673300.000001"),
            message("U1", "Good morning", 4),
        ],
    )
    talk, thread = said(slack, path)
    assert [text for _, text in talk] == ["Good morning", "Good morning"]
    assert [text for _, text in thread] == ["Who has salt?", "I have"]
    assert len({dialogue.id for dialogue in dialogues(slack, path)}) == 2


def test_a_single_file_names_people_itself(tmp_path):
    profile = {"real_name": "Ann Lee", "display_name": ""}
    values = [message("U1", "Hi", user_profile=profile), message("U2", "Hello", 1), {"type": "message"}]
    path = write(tmp_path / "2024-03-05.json", values)
    assert said(slack, path) == [[("Ann Lee", "Hi"), ("U2", "Hello")]]
    assert len(problems(slack, path)) == 1


def test_words_in_blocks_only_and_channels_by_name(tmp_path):
    write(tmp_path / "users.json", USERS)
    write(tmp_path / "channels.json", [{"id": "C1", "name": "soup"}])
    elements = [
        {"type": "text", "text": "a < b, "},
        {"type": "user", "user_id": "U2"},
        {"type": "text", "text": " in "},
        {"type": "channel", "channel_id": "C1"},
        {"type": "link", "url": "https://example.org", "text": " here "},
        {"type": "emoji", "name": "wave"},
        {"type": "broadcast", "range": "here"},
    ]
    rich = {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": elements}]}
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "*bold* <https://a.b|link>"}}
    values = [message("U1", "", blocks=[rich]), message("U2", "", 1, blocks=[section]), message("U2", "<#C1|>", 2)]
    path = write(tmp_path / "soup" / "2024-03-05.json", values)
    assert [text for _, text in said(slack, path)[0]] == [
        "a < b, @Ben Ray in #soup here :wave:@here",
        "*bold* link",
        "#soup",
    ]


def test_huddles_and_deleted_messages_are_counted_and_a_day_may_be_empty(tmp_path):
    values = [
        message("USLACKBOT", "A huddle started", subtype="huddle_thread"),
        message("USLACKBOT", "This message was deleted.", 1, subtype="tombstone"),
        message("U1", "to all", 2, subtype="thread_broadcast", thread_ts="1709600000.000000"),
        message("U1", "waves", 3, subtype="me_message"),
        message("U9", "poll", 4, bot_id="B2"),
    ]
    path = write(tmp_path / "soup" / "2024-03-05.json", values)
    assert sorted(text for talk in said(slack, path) for _, text in talk) == ["to all", "waves"]
    assert sorted(left_out(slack, path).values()) == [1, 1, 1]
    assert kinds(write(tmp_path / "soup" / "2024-03-06.json", [])) == ["slack"]
    assert kinds(write(tmp_path / "groups.json", [])) == []


def test_the_lists_of_an_export_are_no_conversations(tmp_path):
    for name, values in (("users", USERS), ("channels", [{"id": "C1", "name": "soup"}]), ("groups", [])):
        path = write(tmp_path / f"{name}.json", values)
    assert "Slack" in slack.refused(head_of(path))
    day = write(tmp_path / "soup" / "2024-03-05.json", [message("U1", "Hi")])
    assert not slack.refused(head_of(day))
    assert not slack.refused(head_of(write(tmp_path / "elsewhere" / "groups.json", [])))
