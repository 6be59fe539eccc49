"""Facebook's and Instagram's message_1.json."""

import pytest
from messengers import dialogues, kinds, left_out, problems, said, write

from gistchat.corpora import facebook
from gistchat.corpora.kinds import kind_of_file
from gistchat.errors import UserError

MOMENT = 1709673300000  # 2024-03-05 21:15:00


def message(name, text=None, **more):
    return {"sender_name": name, "timestamp_ms": MOMENT} | ({"content": text} if text is not None else {}) | more


def thread(*messages, path="inbox/annlee_77"):
    people = [{"name": "Ann Lee"}, {"name": "Ben"}]
    return {"participants": people, "messages": list(messages), "title": "Ann Lee", "thread_path": path}


def test_facebook(tmp_path):
    path = write(
        tmp_path / "message_1.json",
        thread(
            message("Ann Lee", "Hi", reactions=[{"reaction": "x", "actor": "Ben"}]),
            message("Ben", "Look", share={"link": "https://example.org"}),
            message("Ann Lee", "Ann Lee sent an attachment.", share={"link": "x"}),
            message("Ben", "You named the group Cooks."),
            message("Ann Lee", "Ann changed the theme to Love."),
            message("Ann Lee", "Reacted \u2764\ufe0f to your message "),
            message("Ben", photos=[{"uri": "x.jpg"}]),
            message("Ben", "The video chat ended.", call_duration=7),
            message("Ben", is_unsent=True),
            message("Ben", "You changed the subject again!"),
            message("Ann Lee", "Sch\u00c3\u00b6n"),
        ),
    )
    assert kinds(path) == ["facebook"]
    words = [
        ("Ann Lee", "Hi"),
        ("Ben", "Look"),
        ("Ben", "You changed the subject again!"),
        ("Ann Lee", "Sch\u00c3\u00b6n"),
    ]
    assert said(facebook, path) == [words]
    assert left_out(facebook, path) == {
        facebook.WORDLESS: 2, facebook.NOTICES: 2, facebook.REACTIONS: 1, facebook.CALLS: 1, facebook.UNSENT: 1,
    }  # fmt: skip
    assert dialogues(facebook, path)[0].turns[0].date == "2024-03-05 21:15:00"


def test_other_languages_name_the_sender(tmp_path):
    german = message("Ann Lee", "Ann Lee hat ein Foto gesendet.", photos=[{"uri": "x"}])
    yours = message("Ben", "Du hast einen Anhang gesendet.", share={"link": "x"})
    reaction = message("Ann Lee", "Hat mit \u2764 auf deine Nachricht reagiert")
    path = write(tmp_path / "message_1.json", thread(german, yours, reaction, message("Ben", "Du hast recht.")))
    assert said(facebook, path) == [[("Ben", "Du hast recht.")]]
    assert left_out(facebook, path) == {facebook.WORDLESS: 2, facebook.REACTIONS: 1}


def test_files_of_one_thread_have_its_id(tmp_path):
    ids = []
    for folder in ("ann_1", "ben_2"):
        for name in ("message_1.json", "message_2.json"):
            path = write(tmp_path / folder / name, thread(message("Ben", "Hi"), path=f"inbox/{folder}"))
            ids.append(dialogues(facebook, path)[0].id)
    assert ids == ["ann_1", "ann_1", "ben_2", "ben_2"]


def test_sentences_of_the_service_and_those_that_only_resemble_them(tmp_path):
    theirs = (
        "You are now connected on Messenger",
        "Say hi to your new Facebook friend, Ben.",
        "You created a poll: Soup?",
        'Ann voted for "Yes" in the poll: Soup?',
        "Ann Lee set the nickname for Ben to Benny.",
        "Ben waved at you!",
        "This poll is no longer available.",
        "You pinned a message.",
    )
    ours = ("You set the table, I cook", "Say hi to your mother", "Ann said so.", "You named it", "This group is fun")
    path = write(tmp_path / "message_1.json", thread(*(message("Ann Lee", text) for text in (*theirs, *ours))))
    assert [text for _, text in said(facebook, path)[0] if text in theirs] == []
    assert [text for _, text in said(facebook, path)[0]] == list(ours)


def test_somebody_whose_account_is_gone(tmp_path):
    path = write(tmp_path / "message_1.json", thread(message("", "Hi"), message("Facebook user", "Yes")))
    assert said(facebook, path) == [[("Facebook user", "Hi"), ("Facebook user", "Yes")]]


def test_instagram_speaks_of_people_by_their_handles(tmp_path):
    share = {"link": "https://www.instagram.com/p/x", "share_text": "Somebody else's words"}
    path = write(
        tmp_path / "message_1.json",
        thread(
            message("ben.r", "Liked a message"),
            message("ann_l", "ann_l sent an attachment.", share=share),
            message("ann_l", "ann_l hat einen Anhang gesendet.", share=share),
            message("ann_l", "Look at this", share=share),
        ),
    )
    assert said(facebook, path) == [[("ann_l", "Look at this")]]


def test_calls_and_attachments_that_instagram_writes_without_a_full_stop(tmp_path):
    path = write(
        tmp_path / "message_1.json",
        thread(
            message("Ben", "You started a video chat"),
            message("Ben", "Ann Lee missed a video call"),
            message("Ann Lee", "Video chat ended"),
            message("Ben", "You unsent a message"),
            message("Ben", "Ben a envoy\u00c3\u00a9 une pi\u00c3\u00a8ce jointe."),
            message("Ann Lee", "Sorry I missed your call"),
            message("Ben", "Ben has sent an attachment?"),
            message("Ben", "ok, you started a video chat"),
        ),
    )
    assert [text for _, text in said(facebook, path)[0]] == [
        "Sorry I missed your call", "Ben has sent an attachment?", "ok, you started a video chat",
    ]  # fmt: skip
    assert left_out(facebook, path) == {facebook.CALLS: 3, facebook.NOTICES: 1, facebook.WORDLESS: 1}


def test_web_pages_are_refused(tmp_path):
    page = "<html><head><title>Ann</title></head><body class='_5vb_'><div class='_3-95 _a6-g'>Hi</div></body></html>"
    with pytest.raises(UserError, match="JSON"):
        kind_of_file(write(tmp_path / "message_1.html", page))


def test_encrypted_chats_as_messenger_writes_them(tmp_path):
    def line(name, text, **more):
        value = {"isUnsent": False, "media": [], "reactions": [], "senderName": name, "text": text}
        return value | {"timestamp": MOMENT, "type": "text"} | more

    media = line("Ben", "", media=[{"uri": "x"}], type="media")
    messages = [line("Ann", "Hi"), line("Ben", "Yes"), media, line("Ben", "", isUnsent=True), 7]
    path = write(tmp_path / "Ann_3.json", {"participants": ["Ann", "Ben"], "threadName": "Ann_3", "messages": messages})
    assert kinds(path) == ["facebook"]
    assert said(facebook, path) == [[("Ann", "Hi"), ("Ben", "Yes")]]
    assert left_out(facebook, path) == {facebook.WORDLESS: 1, facebook.UNSENT: 1}
    assert len(problems(facebook, path)) == 1
