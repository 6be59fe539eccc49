"""Corpora from the loopback hub: revisions, configurations, missing splits, and a hub that gives nothing."""

import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_datasets import DAILYDIALOG, PERSONACHAT, SEVERAL, THINGS, persona_file

from gistchat import hub as asking
from gistchat.corpora import hub as corpus_hub
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS
from gistchat.errors import UserError
from gistchat.prepare.prepare import prepare
from gistchat.prepare.report import report_lines
from gistchat.recipe.schema import DataConfig
from gistchat.stages import mark_done


@pytest.fixture(autouse=True)
def _hub(hub_in_this_process, monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.05)


def prepared(tmp_path, corpus, source="hub", **settings):
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    report, _ = prepare(DataConfig(corpus=corpus, source=source, **settings), out)
    return report, {split: list(load_dialogues(out / f"{split}.jsonl")) for split in SPLITS}


def counts(report):
    return [report["splits"][split]["dialogues"] for split in SPLITS]


def error_of(tmp_path, corpus, source="hub"):
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, corpus, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def replace_word(repository, old, new, branch="main"):
    """Another version of a data set whose texts have another word of the same length."""
    changes = {}
    for path, file in repository.at("main").files.items():
        if path.endswith(".parquet"):
            rows = pq.read_table(pa.BufferReader(file.data)).to_pylist()
            for row in rows:
                row["dialog"] = [text.replace(old, new) for text in row["dialog"]]
            out = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pylist(rows), out)
            changes[path] = out.getvalue().to_pybytes()
    return repository.commit(changes, "Other words", branch)


def says(splits, word):
    return any(word in turn.text for split in SPLITS for dialogue in splits[split] for turn in dialogue.turns)


def test_a_missing_official_split_is_cut_from_train_and_that_is_said(tmp_path, hub):
    report, splits = prepared(tmp_path, "personachat")
    assert counts(report) == [11, 12, 1]
    said = report_lines(report)
    assert "  personachat has no official test split: cut from train, by data.test_share" in said
    assert f"read from hub {PERSONACHAT}@{hub[f'datasets/{PERSONACHAT}'].at('main').oid} (train)" in said
    assert [dialogue.split for dialogue in splits["test"]] == ["test"]
    again, same = prepared(tmp_path, "personachat", test_share=0.3)
    assert counts(again) == [8, 12, 4]
    assert splits["test"][0] in same["test"]
    assert counts(prepared(tmp_path, "personachat", test_share=0.0)[0]) == [12, 12, 0]


def test_the_json_of_personachat_has_no_test_split_either(tmp_path):
    path = tmp_path / "personachat_self_original.json"
    path.write_bytes(persona_file())
    report, _ = prepared(tmp_path, "personachat", str(path))
    assert counts(report) == [5, 6, 1]
    assert report["dropped"] == {"duplicate of a held-out dialogue": 6}
    assert report["cut"] == {"personachat": ["test"]}


def test_folders_with_two_splits_of_three(tmp_path):
    for name in ("train", "test"):
        lines = [f'{{"turns": [{{"speaker": "a", "text": "hi {name} {i}"}}, ' for i in range(20)]
        lines = [line + '{"speaker": "b", "text": "ho"}]}\n' for line in lines]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    report, splits = prepared(tmp_path, "jsonl", str(tmp_path))
    assert counts(report) == [19, 1, 20]
    assert "hi train" in splits["validation"][0].turns[0].text


def test_a_folder_that_an_earlier_version_prepared_without_test_is_made_anew(tmp_path):
    config, out = DataConfig(corpus="personachat", source="hub"), tmp_path / "out"
    prepare(config, out)
    report = json.loads((out / "report.json").read_text())
    assert prepare(config, out)[1] is False
    del report["cut"]
    report["splits"]["test"]["dialogues"] = 0
    (out / "report.json").write_text(json.dumps(report))
    marker = json.loads((out / "prepared.json").read_text())
    mark_done(out / "prepared.json", marker["key"], [out / f"{split}.jsonl" for split in SPLITS])
    assert prepare(config, out)[1] is True


def test_samsums_empty_row_is_counted_and_left_out(tmp_path):
    report, _ = prepared(tmp_path, "samsum")
    assert counts(report) == [12, 12, 12]
    assert report["dropped"] == {"no turns with text": 1}


def test_a_revision_is_read_or_refused_online_and_offline(tmp_path, hub):
    repository = hub[f"datasets/{DAILYDIALOG}"]
    first = repository.at("main").oid
    repository.tag("v1")
    report, splits = prepared(tmp_path, "dailydialog")
    assert report["read_from"][0] == f"hub {DAILYDIALOG}@{first} (train)"
    second = replace_word(repository, THINGS[0], "yak")
    other, newer = prepared(tmp_path, "dailydialog")
    assert other["read_from"][0] == f"hub {DAILYDIALOG}@{second} (train)"
    assert (says(splits, "yak"), says(newer, "yak")) == (False, True)
    for revision in ("v1", first):
        assert not says(prepared(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@{revision}")[1], "yak")
    replace_word(repository, THINGS[1], "emu", "try")
    with hub.offline():
        start = time.monotonic()
        assert says(prepared(tmp_path, "dailydialog")[1], "yak")
        assert not says(prepared(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@v1")[1], "yak")
        assert not says(prepared(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@{first}")[1], "yak")
        error = error_of(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@try")
        assert "not fetched before, and the hub does not answer" in error
        assert "check the network" in error
        assert time.monotonic() - start < 10
    hub.fault("busy", seconds=600)
    start = time.monotonic()
    assert says(prepared(tmp_path, "dailydialog")[1], "yak")
    assert time.monotonic() - start < 5
    error = error_of(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@try")
    assert "too many requests from here (429): try again in 600 s" in error
    assert "network" not in error
    hub.mend()
    assert "it has no such branch, tag or commit" in error_of(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@v9")
    assert says(prepared(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}@try")[1], "emu")


def test_one_of_several_configurations_is_named(tmp_path, hub):
    error = error_of(tmp_path, "dailydialog", f"hub:{SEVERAL}")
    assert error == (f"{SEVERAL} has several configurations: short, long; name one, as in --from hub:{SEVERAL}/short")
    assert "has no configuration 'big', only short, long" in error_of(tmp_path, "dailydialog", f"hub:{SEVERAL}/big")
    commit = hub[f"datasets/{SEVERAL}"].at("main").oid
    report, splits = prepared(tmp_path, "dailydialog", f"hub:{SEVERAL}/long@main")
    assert report["read_from"][0] == f"hub {SEVERAL}/long@{commit} (train)"
    assert {len(dialogue.turns) for dialogue in splits["test"]} == {8}
    with hub.offline():
        assert counts(prepared(tmp_path, "dailydialog", f"hub:{SEVERAL}/long")[0]) == [12, 12, 12]


def test_a_gated_and_a_missing_data_set(tmp_path, hub):
    repository = hub[f"datasets/{DAILYDIALOG}"]
    repository.gated = True
    page = f"{hub.endpoint}/datasets/{DAILYDIALOG}"
    error = error_of(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}")
    assert f"it is gated: ask for access at {page}, then log in with hf auth login" in error
    assert "network" not in error
    assert "gated" not in corpus_hub.unreachable("ada/nothing")
    assert "no such dataset on the hub" in error_of(tmp_path, "dailydialog", "hub:ada/nothing")
    repository.gated = False
    hub.fault("down", times=2)
    assert counts(prepared(tmp_path, "dailydialog", f"hub:{DAILYDIALOG}")[0]) == [12, 12, 12]
