"""ZIP archives as they are exported, and archives of these."""

import zipfile

import pytest

from gistchat.corpora.archive import origin_of
from gistchat.corpora.kinds import files_in, kinds_at
from gistchat.errors import UserError

CHAT = "13/05/2023, 21:15 - Ann: Hi\n13/05/2023, 21:16 - Ben: Ho\n"


def archived(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_an_archive_of_archives_is_unpacked_and_one_that_was_sent_in_a_chat_is_not(tmp_path):
    chat = archived(tmp_path / "ann.zip", {"_chat.txt": CHAT, "a.jpg": b"\xff\xd8"})
    outer = archived(tmp_path / "all.zip", {"ann.zip": chat.read_bytes()})
    [path] = kinds_at(outer)["whatsapp"]
    assert origin_of(path) == f"{outer}: ann.zip: _chat.txt"
    sent = archived(tmp_path / "b.zip", {"_chat.txt": CHAT, "sent.zip": chat.read_bytes()})
    assert [path.name for path in files_in(sent)] == ["_chat.txt"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("messages.csv", "ID,Timestamp,Contents,Attachments\n1,2023-01-17,hi,\n", "Discord's own data package"),
        ("user.json", '{"name": "Ann"}', "cannot tell what kind of file this is"),
    ],
)
def test_a_file_in_an_archive_is_called_by_its_name_there(tmp_path, name, content, problem):
    package = archived(tmp_path / "package.zip", {name: content})
    with pytest.raises(UserError, match=rf"package\.zip: {name}: {problem}"):
        kinds_at(package)
