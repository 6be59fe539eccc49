"""Corpora as they lie on the hub, read by `datasets` from local folders in the hub's layout: no network here."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gistchat.corpora import hub
from gistchat.corpora.readers import CORPORA
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS
from gistchat.errors import UserError
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def publish(folder, rows, names=SPLITS):
    """A dataset repository: a card that names the splits' files, and a Parquet file for each."""
    (folder / "data").mkdir(parents=True)
    card = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in names)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{card}---\n")
    for name in names:
        table = pa.Table.from_pylist([row | {"mark": name} for row in rows(name)])
        pq.write_table(table, folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def utterances(split):
    rows = []
    for number in range(3):
        for i, (speaker, text) in enumerate([(7, f"I lost_comma_ {split} {number}"), (9, "Oh"), (7, "Yes")], 1):
            rows.append(
                {
                    "conv_id": f"hit:{number}_conv:1",
                    "utterance_idx": i,
                    "context": "sad",
                    "prompt": "I lost_comma_ badly",
                }
                | {"speaker_idx": speaker, "utterance": text, "selfeval": "5", "tags": ""}
            )
    rows[5]["utterance"] = 'Hm"\nhit:9_conv:18,1,sad'
    return rows


def sessions(split):
    return [
        {
            "dataset": "MSC",
            "dialoug_id": number,
            "session_id": session,
            "persona1": [f"i ski {session}."],
            "persona2": [],
        }
        | {"dialogue": [f"{split} {number} {session}", "ok"], "speaker": ["Speaker 1", "Speaker 2"]}
        for number in range(3)
        for session in range(2)
    ]


def messages(split):
    said = [{"role": "user", "content": f"I won {split}"}, {"role": "assistant", "content": "Oh"}]
    return [{"conv_id": f"c{i}", "situation": "s", "emotion": "glad", "conversations": said} for i in range(3)]


LAYOUTS = {
    "dailydialog": (
        lambda split: [{"dialog": [f"Hi {split} {i} .", "Yes ?"], "act": [1, 2], "emotion": [0, 0]} for i in range(3)],
        ["Hi test 0.", "Yes?"],
    ),
    "empathetic_dialogues": (utterances, ["I lost, test 0", "Oh", "Yes"]),
    "personachat": (
        lambda split: [
            {
                "personality": ["i ski ."],
                "utterances": [
                    {"candidates": ["no", "yo"], "history": [f"{split} {i}"]},
                    {"candidates": ["no", "bye"], "history": [f"{split} {i}", "yo", "and ?"]},
                ],
            }
            for i in range(3)
        ],
        ["test 0", "yo", "and?", "bye"],
    ),
    "blended_skill_talk": (
        lambda split: [
            {"personas": ["i ski ."], "additional_context": "", "previous_utterance": [f"{split} {i}", "b"]}
            | {"context": "convai2", "free_messages": ["c"], "guided_messages": ["d"]}
            for i in range(3)
        ],
        ["test 0", "b", "c", "d"],
    ),
    "msc": (sessions, ["test 0 0", "ok", "test 0 1", "ok"]),
    "dialogsum": (
        lambda split: [
            {"id": f"{split}_{i}", "dialogue": f"#Person1#: Hi {split} {i}\n#Person2#: Ho", "summary": "They greet."}
            for i in range(3)
        ],
        ["Hi test 0", "Ho"],
    ),
    "samsum": (
        lambda split: [
            {"id": f"{split}_{i}", "dialogue": f"Ann: Hi {split} {i}\r\nBen: Ho", "summary": "They greet."}
            for i in range(3)
        ],
        ["Hi test 0", "Ho"],
    ),
}


def test_every_corpus_of_the_hub_is_tried_here():
    assert set(LAYOUTS) == {name for name, corpus in CORPORA.items() if corpus.hub}


@pytest.mark.parametrize("corpus", LAYOUTS)
@pytest.mark.parametrize("place", ["hub:", ""])
def test_rows_become_dialogues_with_their_official_splits(tmp_path, corpus, place):
    rows, said = LAYOUTS[corpus]
    folder = publish(tmp_path / "repository", rows)
    report, _ = prepare(DataConfig(corpus=corpus, source=f"{place}{folder}"), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [3, 3, 3]
    first = load_dialogues(tmp_path / "out" / "test.jsonl")[0]
    assert [turn.text for turn in first.turns] == said
    assert first.split == "test"
    if corpus == "empathetic_dialogues":
        assert report["left_out"] == {"utterances that hold other rows of a broken CSV": 3}
        assert first.meta == {"situation": "I lost, badly", "emotion": "sad"}
    elif corpus == "msc":
        assert first.meta == {"session_turns": [2, 2], "gold": [{"speaker": "Speaker 1", "text": "i ski 1."}]}
    elif corpus in ("personachat", "blended_skill_talk"):
        assert first.meta["gold"] == [{"speaker": "B", "text": "i ski."}]  # cleaned as the turns are
    elif corpus in ("dialogsum", "samsum"):
        assert first.meta["gold"] == [{"speaker": "", "text": "They greet."}]


def test_the_other_mirror_of_empathetic_dialogues_has_a_row_a_dialogue(tmp_path):
    folder = publish(tmp_path / "repository", messages, ("train", "valid", "test"))
    report, _ = prepare(DataConfig(corpus="empathetic_dialogues", source=f"hub:{folder}"), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [1, 3, 3]  # train's are all the same
    assert report["dropped"] == {"duplicate": 2}


def test_the_next_mirror_is_taken_where_the_first_cannot_be_had(tmp_path):
    folder = publish(tmp_path / "repository", LAYOUTS["dailydialog"][0])
    found = hub.load("dailydialog", ["no-such/mirror", str(folder)])
    assert {(split, name) for _, split, name in found} == {(split, str(folder)) for split in SPLITS}
    with pytest.raises(
        UserError,
        match=r"cannot get dailydialog .*no-such/mirror@main: not fetched before, and HF_HUB_OFFLINE .*--from",
    ):
        prepare(DataConfig(corpus="dailydialog", source="hub:no-such/mirror@main"), tmp_path / "out")
    with pytest.raises(UserError, match="transcript is not on the hub"):
        prepare(DataConfig(corpus="transcript", source="hub"), tmp_path / "out")


def test_a_dataset_with_train_only_is_cut_by_shares(tmp_path):
    folder = publish(tmp_path / "repository", LAYOUTS["dailydialog"][0], ("train",))
    report, _ = prepare(DataConfig(corpus="dailydialog", source=f"hub:{folder}"), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [1, 1, 1]


TURNS = [{"speaker": "a", "text": "hi"}, {"speaker": "b", "text": "ho"}]


@pytest.mark.parametrize(
    ("corpus", "rows"),
    [
        ("jsonl", [{"id": f"d{i}", "turns": [TURNS[0] | {"text": f"hi {i}"}, TURNS[1]]} for i in range(4)]),
        (
            "chat",
            [{"messages": [{"role": "a", "content": f"hi {i}"}, {"role": "b", "content": "ho"}]} for i in range(4)],
        ),
        ("table", [{"dialogue": i // 2, "speaker": "ab"[i % 2], "message": f"hi {i}"} for i in range(8)]),
    ],
)
def test_parquet_of_ones_own(tmp_path, corpus, rows):
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    report, _ = prepare(DataConfig(corpus=corpus, source=str(path)), tmp_path / "out")
    assert (report["read"], report["turns_read"], report["kept"]) == (4, 8, 4)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"mine\.parquet: cannot be read as parquet .*a truncated download\?"):
        prepare(DataConfig(corpus=corpus, source=str(path)), tmp_path / "out")
