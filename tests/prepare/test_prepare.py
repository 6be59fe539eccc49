import dataclasses
import json
from pathlib import Path

import pytest
from conftest import make_dialogue

from gistchat.dialogue.jsonl import load_dialogues, write_jsonl
from gistchat.dialogue.turns import SPLITS, Dialogue, Turn
from gistchat.errors import UserError
from gistchat.examples.targets import sample_targets
from gistchat.prepare.near_duplicates import jaccard, word_pairs
from gistchat.prepare.prepare import prepare
from gistchat.prepare.report import report_lines
from gistchat.recipe.schema import DataConfig, MixConfig


def read_splits(folder: Path):
    return {split: load_dialogues(folder / f"{split}.jsonl") for split in SPLITS}


def test_chitchat_holds_out_participants_and_counts_what_it_drops(tmp_path):
    report, new = prepare(DataConfig(), tmp_path)
    assert new
    assert report["read"] == 7168 == report["kept"] + sum(report["dropped"].values())
    assert 2850 <= report["kept"] <= 2885
    splits = read_splits(tmp_path)
    speakers = {split: {t.speaker for d in splits[split] for t in d.turns} for split in SPLITS}
    held_out = {split: {name for d in splits[split] for name in d.scored_speakers or ()} for split in SPLITS}
    assert not speakers["train"] & (held_out["test"] | held_out["validation"])
    assert not held_out["test"] & held_out["validation"]
    assert 450 <= len(splits["test"]) <= 550
    assert all(d.scored_speakers for split in ("validation", "test") for d in splits[split])
    for d in splits["test"]:
        assert {d.turns[i].speaker for i in d.reply_indices()} <= set(d.scored_speakers)
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
        (folder / f"{split}.jsonl").write_bytes(make_dialogue(i).to_line())
    prepare(config(folder), tmp_path / "out")
    assert {split: [d.id for d in ds] for split, ds in read_splits(tmp_path / "out").items()} == {
        "train": ["d0"],
        "validation": ["d1"],
        "test": ["d2"],
    }


def test_duplicates_short_and_malformed_dialogues_are_counted(tmp_path, dialogue_file):
    lines = dialogue_file.read_text().splitlines()
    short = make_dialogue(99, turns=2)
    dialogue_file.write_text("\n".join([*lines, lines[0], short.to_line().decode().strip(), "{oops"]) + "\n")
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


def test_dates_and_sessions_stay_with_their_turns(tmp_path):
    said = [("a", "one"), ("a", "two"), ("b", "three"), ("b", "\u200b"), ("a", "four"), ("a", "five"), ("b", "six")]
    turns = [{"speaker": s, "text": t, "date": f"{day} May 2026, 20:15:00"} for day, (s, t) in enumerate(said, 1)]
    lines = [
        {"id": "met", "turns": turns, "meta": {"session_turns": [3, 2, 2]}},
        {"id": "wrong", "turns": [*turns, {"speaker": "a", "text": "seven"}], "meta": {"session_turns": [3, 2, 2]}},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepare(config(tmp_path / "d.jsonl", scrub="yes", test_share=0.0, validation_share=0.0), tmp_path / "out")
    dialogues = {dialogue.id: dialogue for dialogue in load_dialogues(tmp_path / "out" / "train.jsonl")}
    met = dialogues["met"]
    assert [(turn.text, turn.date[:1]) for turn in met.turns] == [
        ("one two", "1"), ("three", "3"), ("four five", "5"), ("six", "7"),
    ]  # fmt: skip
    assert met.turns[0].date == "1 May 2026, 20:15:00"
    assert met.meta["session_turns"] == [2, 1, 1]  # "five" is of the third session, but joined to "four"
    assert met.session_starts() == [0, 2, 3]
    assert met.openings() == [2, 3]
    assert dialogues["wrong"].meta["session_turns"] == [3, 2, 2]
    assert dialogues["wrong"].openings() == []


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


def test_batches_on_several_cores_come_out_as_on_one(tmp_path, monkeypatch):
    path = tmp_path / "talks.jsonl"
    write_jsonl(path, [make_dialogue(i, turns=6) for i in range(60)])
    with path.open("a") as file:
        file.write("{oops\n" + path.read_text().splitlines()[0] + "\n")
    monkeypatch.setattr("gistchat.prepare.prepare.TURNS_PER_BATCH", 50)
    written = []
    for cores in (1, 2):
        monkeypatch.setattr("gistchat.processes.cores", lambda cores=cores: cores)
        report, _ = prepare(config(path, on_error="skip"), tmp_path / str(cores))
        assert report["read"] == 62 == report["kept"] + 2
        assert report["turns_read"] == 61 * 6
        written.append([(tmp_path / str(cores) / f"{split}.jsonl").read_bytes() for split in SPLITS])
    assert written[0] == written[1]
    assert sum(map(len, written[0])) > 0


def test_an_error_in_a_late_batch_names_its_line_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "talks.jsonl"
    write_jsonl(path, [make_dialogue(i, turns=6) for i in range(60)])
    with path.open("a") as file:
        file.write("{oops\n")
    monkeypatch.setattr("gistchat.prepare.prepare.TURNS_PER_BATCH", 50)
    with pytest.raises(UserError, match=r"talks\.jsonl:61: not valid JSON"):
        prepare(config(path), tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["talks.jsonl"]


def mixed(*parts: tuple[str, Path], **changes) -> DataConfig:
    return DataConfig(mix=[MixConfig("jsonl", str(path), name) for name, path in parts], **changes)


def test_corpora_of_a_mix_keep_their_own_splits_and_names(tmp_path, dialogues):
    official = tmp_path / "official"
    official.mkdir()
    write_jsonl(official / "train.jsonl", dialogues[:4])
    write_jsonl(official / "valid.jsonl", dialogues[4:5])
    write_jsonl(official / "test.jsonl", dialogues[5:7])
    write_jsonl(tmp_path / "more.jsonl", [dialogues[5], *dialogues[10:]])
    report, _ = prepare(mixed(("a", official), ("b", tmp_path / "more.jsonl")), tmp_path / "out")
    assert report["corpora"] == {"a": {"read": 7, "kept": 7}, "b": {"read": 11, "kept": 10}}
    assert report["dropped"] == {"duplicate": 1}  # it is in the other's test split
    names = {split: {d.id for d in ds} for split, ds in read_splits(tmp_path / "out").items()}
    assert {name for name in names["test"] if name.startswith("a/")} == {"a/d5", "a/d6"}
    assert {name for name in names["validation"] if name.startswith("a/")} == {"a/d4"}
    assert all(any(name.startswith("b/") for name in names[split]) for split in SPLITS)
    assert {d.corpus for ds in read_splits(tmp_path / "out").values() for d in ds} == {"a", "b"}


def test_a_train_dialogue_that_an_official_test_holds_is_dropped_whatever_comes_first(tmp_path, dialogues):
    official = tmp_path / "official"
    official.mkdir()
    write_jsonl(tmp_path / "more.jsonl", [*dialogues[5:6], *dialogues[10:]])
    write_jsonl(official / "train.jsonl", dialogues[:4])
    write_jsonl(official / "test.jsonl", dialogues[5:7])
    parts = (("b", tmp_path / "more.jsonl"), ("a", official))
    report, _ = prepare(mixed(*parts, test_share=0, validation_share=0), tmp_path / "out")
    assert report["dropped"] == {"duplicate of a held-out dialogue": 1}
    assert report["read"] == report["kept"] + 1
    splits = read_splits(tmp_path / "out")
    assert sum(map(len, splits.values())) == report["kept"]
    assert not {d.id for d in splits["train"]} & {"b/d5"}


@pytest.mark.parametrize(
    "text", ["我昨天去了超市", "昨日りんごを買いました", "เมื่อวานฉันไปตลาด", "मैं कल बाज़ार गया और सेब लाया"]
)
def test_near_duplicates_are_compared_in_words_of_any_script(text):
    turns = (Turn("a", text), Turn("b", text[::-1]), Turn("a", text * 2))
    changed = (*turns[:2], turns[2]._replace(text=turns[2].text + "好"))
    pairs = [word_pairs(Dialogue("x", each)) for each in (turns, changed)]
    assert 0.8 <= jaccard(*pairs) < 1


def test_twins_are_found_across_corpora(tmp_path, dialogues):
    twin = dataclasses.replace(dialogues[0], turns=(*dialogues[0].turns, dialogues[1].turns[0]))
    write_jsonl(tmp_path / "a.jsonl", dialogues[:3])
    write_jsonl(tmp_path / "b.jsonl", [twin, *dialogues[3:6]])
    parts = (("a", tmp_path / "a.jsonl"), ("b", tmp_path / "b.jsonl"))
    report, _ = prepare(mixed(*parts, test_share=0, validation_share=0, audit="report"), tmp_path / "out")
    assert [{pair["first"], pair["second"]} for pair in report["twins"]] == [{"a/d0", "b/d0"}]


def test_a_mix_must_be_clear(tmp_path):
    with pytest.raises(UserError, match="not both"):
        prepare(mixed(("a", tmp_path), source="x"), tmp_path / "out")
    with pytest.raises(UserError, match="a is there twice; give each a name"):
        prepare(mixed(("a", tmp_path), ("a", tmp_path)), tmp_path / "out")


def test_weights_say_how_often_a_corpus_is_drawn(dialogues):
    named = [dataclasses.replace(d, corpus="ab"[i % 2]) for i, d in enumerate(dialogues)]
    plain = sample_targets(named, 10**9, 0)
    count = {name: sum(t.dialogue.corpus == name for t in plain) for name in "ab"}
    drawn = sample_targets(named, 10**9, 0, weights={"a": 2.0, "b": 0.5})
    assert sum(t.dialogue.corpus == "a" for t in drawn) == 2 * count["a"]
    assert 0.3 * count["b"] < sum(t.dialogue.corpus == "b" for t in drawn) < 0.7 * count["b"]
    assert len({t.id for t in drawn if t.dialogue.corpus == "a"}) == count["a"]


def test_lines_that_are_too_long_and_odd_characters(tmp_path, monkeypatch, dialogue_file):
    monkeypatch.setattr("gistchat.dialogue.lines.LONGEST_LINE", 5000)
    good = dialogue_file.read_bytes()
    nul = b'{"turns": [{"speaker": "a\\u0000", "text": "hi\\u0000 there"}, {"speaker": "b", "text": "\\u0007"}]}\n'
    raw = b'{"turns": [{"speaker": "a", "text": "hi\x00"}, {"speaker": "b", "text": "ho"}]}\n'
    dialogue_file.write_bytes(good + b"[" * 12_345 + b"\n" + nul + raw + b'{"id": "\\ud800", "turns": []}\n')
    report, _ = prepare(config(dialogue_file, on_error="skip"), tmp_path / "out")
    assert report["read"] == 24 == report["kept"] + 4
    assert report["dropped"] == {"malformed": 3, "fewer than 2 turns": 1}
    assert report["left_out"] == {"turns without text": 1}
    assert report["skipped"][0] == f"{dialogue_file}:21: 12,345 bytes long; at most 5,000 are read"
    assert [problem.rsplit(":", 2)[1] for problem in report["skipped"]] == ["21", "23", "24"]


def test_one_speaker_and_files_for_folders(tmp_path, dialogue_file):
    path = tmp_path / "chat.txt"
    path.write_text("Ann: one\nAnn: two\n\nAnn: hi\nBen: ho\n")
    report, _ = prepare(DataConfig(corpus="transcript", source=str(path)), tmp_path / "out")
    assert report["dropped"] == {"only one speaker": 1}
    with pytest.raises(UserError, match=r"chat\.txt: is a file; give a folder"):
        prepare(config(dialogue_file), path)


CODE_TURNS = [
    "Try this:\n```python\ndef f(x):\n    return {'a': x}\n\n\nprint(f('')) ; x\n```\nOk ?",
    "first  `git add .`\n\tthen `x = ''`",
    "| name  | n |\n|:------|--:|\n| a  b  | 1 |",
    "Plan:\n- milk: 2\n    - and `eggs` ?\n1. go: now",
]


def as_jsonl(turns):
    return json.dumps({"turns": [{"speaker": speaker, "text": text} for speaker, text in turns]})


def as_chat(turns):
    return json.dumps({"messages": [{"role": speaker, "content": text} for speaker, text in turns]})


def as_transcript(turns):
    return "\n".join(f"{speaker}: {text}" for speaker, text in turns)


def as_export(turns):
    return "\n".join(f"12/31/23, 9:{i:02} PM - {speaker}: {text}" for i, (speaker, text) in enumerate(turns))


def as_table(turns):
    rows = [("d", speaker, '"' + text.replace('"', '""') + '"') for speaker, text in turns]
    return "\n".join(map(",".join, [("dialogue", "speaker", "text"), *rows]))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("corpus", "name", "write"),
    [
        ("jsonl", "d.jsonl", as_jsonl),
        ("chat", "d.jsonl", as_chat),
        ("transcript", "d.txt", as_transcript),
        ("whatsapp", "d.txt", as_export),
        ("table", "d.csv", as_table),
    ],
)
def test_code_and_markdown_are_prepared_byte_for_byte(tmp_path, corpus, name, write, line_end):
    turns = [("Ann" if i % 2 else "Ben", text) for i, text in enumerate(CODE_TURNS)]
    (tmp_path / name).write_bytes(write([(who, text.replace("\n", line_end)) for who, text in turns]).encode())
    prepare(DataConfig(corpus=corpus, source=str(tmp_path / name)), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn[:2] for turn in dialogue.turns] == turns


@pytest.mark.parametrize("text", ["voilà", "non, 😅", "é à", "così è à Å"])
@pytest.mark.parametrize(
    ("corpus", "name", "write"),
    [
        ("jsonl", "d.jsonl", as_jsonl),
        ("chat", "d.jsonl", as_chat),
        ("transcript", "d.txt", as_transcript),
        ("whatsapp", "d.txt", as_export),
        ("table", "d.csv", as_table),
        ("samsum", "d.jsonl", lambda turns: json.dumps({"id": "1", "dialogue": as_transcript(turns)})),
    ],
)
def test_no_reader_strips_bytes_of_a_broken_encoding(tmp_path, corpus, name, write, text):
    turns = [("Noà", text), ("Ben", "ok"), ("Noà", f"{text}\nand {text}")]
    broken = [(who.encode().decode("latin-1"), said.encode().decode("latin-1")) for who, said in turns]
    (tmp_path / name).write_text(write(broken))
    prepare(DataConfig(corpus=corpus, source=str(tmp_path / name)), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn[:2] for turn in dialogue.turns] == turns


@pytest.mark.parametrize(
    ("corpus", "name", "content"),
    [
        ("dailydialog", "dialogues_train.txt", "Hi , it ' s {} . __eou__ Yes?No way . __eou__\n"),
        ("personachat", "train_self_original.txt", "1 your persona: i ski .\n2 hi , it ' s {} .\tyes ?  no way .\n"),
        ("triples", "summarized.json", '[["i ski .", "hi , it \' s {} .", "yes ? no way ."]]'),
    ],
)
def test_tokenised_corpora_are_put_together(tmp_path, corpus, name, content):
    (tmp_path / name).write_text(content.format("late"))
    prepare(DataConfig(corpus=corpus, source=str(tmp_path / name)), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn.text.lower() for turn in dialogue.turns] == ["hi, it's late.", "yes? no way."]
    assert [line["text"] for line in dialogue.meta.get("gold", [])] in ([], ["i ski."])


@pytest.mark.parametrize("text", ["Tu viens ?", "Hello , Ann !", "我们走吧，好吗？", "“so” it ' s"])
def test_peoples_own_text_is_not_taken_for_tokenised(tmp_path, text):
    (tmp_path / "d.txt").write_text(f"Ann: {text}\nBen: {text}")
    prepare(DataConfig(corpus="transcript", source=str(tmp_path / "d.txt")), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn.text for turn in dialogue.turns] == [text, text]


@pytest.mark.parametrize("name", ["Ren\u00c3\u00a9e", "Rene\u0301e ", "+49 170 1234567"])
def test_gold_lines_keep_the_name_that_their_speaker_has(tmp_path, name):
    turns = [{"speaker": name, "text": "hi"}, {"speaker": "b", "text": "ho"}]
    gold = [{"speaker": name, "text": "I ski."}, {"speaker": "", "text": "They talk."}]
    (tmp_path / "d.jsonl").write_text(json.dumps({"turns": turns, "meta": {"gold": gold}}))
    prepare(DataConfig(corpus="jsonl", source=str(tmp_path / "d.jsonl"), scrub="yes"), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [line["speaker"] for line in dialogue.meta["gold"]] == [dialogue.turns[0].speaker, ""]


def test_dialogues_that_differ_in_white_space_only_are_duplicates(tmp_path):
    said = ["Hi there,\n  Ann", "Hi  there, Ann", "Hi there, Ann", "Hi the re, Ann"]
    (tmp_path / "d.jsonl").write_text("\n".join(as_jsonl([("a", text), ("b", "yes")]) for text in said))
    report, _ = prepare(config(tmp_path / "d.jsonl"), tmp_path / "out")
    assert report["dropped"] == {"duplicate": 2}


def test_joined_turns_keep_code_on_lines_of_its_own(tmp_path):
    turns = [("a", "look"), ("a", "```\nx = 1\n```"), ("a", "ok ?"), ("b", "one"), ("b", "two")]
    (tmp_path / "d.jsonl").write_text(as_jsonl(turns))
    prepare(config(tmp_path / "d.jsonl"), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert [turn.text for turn in dialogue.turns] == ["look\n```\nx = 1\n```\nok ?", "one two"]


def test_gold_lines_are_cleaned_as_turns_are(tmp_path):
    gold = [{"speaker": "a", "text": "“i ski” ,\n call 555-123-4567\x07"}]
    value = {"turns": [{"speaker": "a", "text": "hi"}, {"speaker": "b", "text": "ho"}], "meta": {"gold": gold}}
    (tmp_path / "d.jsonl").write_text(json.dumps(value) + "\n")
    prepare(config(tmp_path / "d.jsonl", scrub="yes"), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    assert dialogue.meta["gold"] == [{"speaker": "a", "text": "“i ski” , call [phone]"}]


def test_people_who_are_called_by_their_numbers_get_other_names(tmp_path):
    lines = ["+49 170 1234567: hi", "Ben: ho", "+49 171 7654321: hey"]
    (tmp_path / "chat.txt").write_text("\n".join(lines) + "\n")
    prepare(DataConfig(corpus="transcript", source=str(tmp_path / "chat.txt")), tmp_path / "out")
    [dialogue] = load_dialogues(tmp_path / "out" / "train.jsonl")
    names = [turn.speaker for turn in dialogue.turns]
    assert len(set(names)) == 3
    assert names[1] == "Ben"
    assert all(name.startswith("person ") for name in names[::2])


def test_empty_splits_are_said(tmp_path, dialogue_file):
    dialogue_file.write_text(dialogue_file.read_text().splitlines()[0] + "\n")
    report, _ = prepare(config(dialogue_file), tmp_path / "out")
    assert "  validation and test empty: a run needs a dialogue in each, better dozens" in report_lines(report)
