import dataclasses
import json
from pathlib import Path

import pytest
from conftest import make_dialogue

from gistchat.dialogue import SPLITS, load_dialogues, write_jsonl
from gistchat.errors import UserError
from gistchat.prepare import DataConfig, prepare


def read_splits(folder: Path):
    return {split: load_dialogues(folder / f"{split}.jsonl") for split in SPLITS}


def test_chitchat_holds_out_participants_and_counts_what_it_drops(tmp_path):
    report, new = prepare(DataConfig(), tmp_path)
    assert new
    assert report["read"] == 7168 == report["kept"] + sum(report["dropped"].values())
    assert 2850 <= report["kept"] <= 2885
    splits = read_splits(tmp_path)
    speakers = {split: {t.speaker for d in splits[split] for t in d.turns} for split in SPLITS}
    held_out = {split: {name for d in splits[split] for name in d.targets or ()} for split in SPLITS}
    assert not speakers["train"] & (held_out["test"] | held_out["validation"])
    assert not held_out["test"] & held_out["validation"]
    assert 450 <= len(splits["test"]) <= 550
    assert all(d.targets for split in ("validation", "test") for d in splits[split])
    for d in splits["test"]:
        assert {d.turns[i].speaker for i in d.reply_indices()} <= set(d.targets)
    text = (tmp_path / "train.jsonl").read_text() + (tmp_path / "test.jsonl").read_text()
    assert "782-1557" not in text
    assert "@byu.edu" not in text
    assert report["scrubbed"] > 50
    assert prepare(DataConfig(), tmp_path) == (report, False)


def config(source: Path, **changes) -> DataConfig:
    return DataConfig(corpus="jsonl", source=str(source), **changes)


def test_other_corpora_are_split_by_dialogue_whatever_their_order(tmp_path, dialogue_file):
    prepare(config(dialogue_file, test_share=0.2, validation_share=0.1), tmp_path / "a")
    lines = dialogue_file.read_text().splitlines()
    (tmp_path / "turned.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    prepare(config(tmp_path / "turned.jsonl", test_share=0.2, validation_share=0.1), tmp_path / "b")
    first, second = read_splits(tmp_path / "a"), read_splits(tmp_path / "b")
    ids = {split: {d.id for d in first[split]} for split in SPLITS}
    assert ids == {split: {d.id for d in second[split]} for split in SPLITS}
    assert [len(ids[split]) for split in SPLITS] == [14, 2, 4]
    assert len(set.union(*ids.values())) == 20


def test_official_splits_are_kept(tmp_path):
    folder = tmp_path / "official"
    folder.mkdir()
    for i, split in enumerate(SPLITS):
        (folder / f"{split}.jsonl").write_text(json.dumps(make_dialogue(i).to_json()) + "\n")
    prepare(config(folder), tmp_path / "out")
    assert {split: [d.id for d in ds] for split, ds in read_splits(tmp_path / "out").items()} == {
        "train": ["d0"],
        "validation": ["d1"],
        "test": ["d2"],
    }


def test_duplicates_short_and_malformed_dialogues_are_counted(tmp_path, dialogue_file):
    lines = dialogue_file.read_text().splitlines()
    short = make_dialogue(99, turns=2)
    dialogue_file.write_text("\n".join([*lines, lines[0], json.dumps(short.to_json()), "{oops"]) + "\n")
    with pytest.raises(UserError, match=r"talks\.jsonl:23: not valid JSON.*--on-error skip"):
        prepare(config(dialogue_file, min_turns=4), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report, _ = prepare(config(dialogue_file, min_turns=4, on_error="skip"), tmp_path / "out")
    assert report["read"] == 23
    assert report["dropped"] == {"duplicate": 1, "fewer than 4 turns": 1, "malformed": 1}
    assert any("talks.jsonl:23" in line for line in report["skipped"])


def test_consecutive_turns_of_a_speaker_are_joined_and_counted(tmp_path):
    turns = [{"speaker": s, "text": t} for s, t in [("a", "one"), ("a", "two"), ("b", "three")]]
    (tmp_path / "d.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    report, _ = prepare(config(tmp_path / "d.jsonl"), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn.text for turn in dialogue.turns] == ["one two", "three"]
    assert report["merged_turns"] == 1


def test_nothing_left_is_an_error_that_says_why(tmp_path, dialogue_file):
    with pytest.raises(UserError, match=r"no dialogue is left of 20 read .*20 fewer than 50 turns"):
        prepare(config(dialogue_file, min_turns=50), tmp_path / "out")


def test_changed_input_is_prepared_again(tmp_path, dialogue_file):
    prepare(config(dialogue_file), tmp_path / "out")
    dialogue_file.write_text("\n".join(dialogue_file.read_text().splitlines()[:10]) + "\n")
    report, new = prepare(config(dialogue_file), tmp_path / "out")
    assert new
    assert report["kept"] == 10


def test_a_file_named_after_a_split_is_not_a_split_by_itself(tmp_path, dialogue_file):
    (tmp_path / "train.jsonl").write_text(dialogue_file.read_text())
    report, _ = prepare(config(tmp_path / "train.jsonl"), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [17, 1, 2]


def test_names_of_files_tell_the_splits_of_all_or_of_none(tmp_path, dialogues):
    folder = tmp_path / "f"
    folder.mkdir()
    for i, name in enumerate(("train", "dev", "test-00")):
        write_jsonl(folder / f"{name}.jsonl", dialogues[i * 5 : i * 5 + 5])
    report, _ = prepare(config(folder), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [5, 5, 5]
    write_jsonl(folder / "more.jsonl", dialogues[15:])
    with pytest.raises(UserError, match="15 of 20 dialogues have a split, by their field 'split' or their file's name"):
        prepare(config(folder), tmp_path / "out")


def test_input_is_never_overwritten(tmp_path, dialogue_file):
    before = dialogue_file.read_bytes()
    with pytest.raises(UserError, match="holds the input"):
        prepare(config(dialogue_file), tmp_path)
    assert dialogue_file.read_bytes() == before


def test_few_dialogues_still_fill_every_split(tmp_path, dialogue_file):
    dialogue_file.write_text("\n".join(dialogue_file.read_text().splitlines()[:4]) + "\n")
    report, _ = prepare(config(dialogue_file), tmp_path / "out")
    assert [report["splits"][split]["dialogues"] for split in SPLITS] == [2, 1, 1]


def test_audit_finds_near_duplicates_across_splits_and_drops_them_from_train(tmp_path, dialogues):
    folder = tmp_path / "f"
    folder.mkdir()
    twin = dialogues[0]
    changed = twin.turns[3]._replace(text=twin.turns[3].text + " Well.")
    twin = dataclasses.replace(twin, id="twin", turns=(*twin.turns[:3], changed, *twin.turns[4:]))
    within = dataclasses.replace(twin, id="within", turns=(*twin.turns[:-1], dialogues[1].turns[-1]))
    write_jsonl(folder / "train.jsonl", dialogues[:10])
    write_jsonl(folder / "validation.jsonl", dialogues[10:12])
    write_jsonl(folder / "test.jsonl", [*dialogues[12:], twin, within])
    report, _ = prepare(config(folder, audit="report"), tmp_path / "a")
    assert [{pair["first"], pair["second"]} for pair in report["twins"]] == [{"d0", "twin"}, {"d0", "within"}]
    assert all(0.8 <= pair["similarity"] < 1 for pair in report["twins"])
    assert report["splits"]["train"]["dialogues"] == 10
    report, _ = prepare(config(folder, audit="drop"), tmp_path / "b")
    assert report["splits"]["train"]["dialogues"] == 9
    assert report["dropped"] == {"near duplicate of a held-out dialogue": 1}
    assert report["read"] == report["kept"] + 1 == 22
    assert "d0" not in {dialogue.id for dialogue in load_dialogues(tmp_path / "b" / "train.jsonl")}
