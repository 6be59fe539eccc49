"""What a user types that needs the hub, against the one on loopback."""

import json

import pytest
from conftest import make_dialogue
from hub_datasets import DAILYDIALOG, DAILYDIALOG_SCRIPT, PERSONACHAT, SAMSUM, exchange, parquet
from hub_models import MODELS

SMOLLM2, GATED = "HuggingFaceTB/SmolLM2-135M-Instruct", "google/gemma-2-2b-it"
TOML = """
[data]
corpus = "jsonl"
source = "talks.jsonl"
folder = "data"
test_share = 0.3
validation_share = 0.15

[context]
budget = 48

[train]
steps = 2
batch_size = 2
evaluate_every = 2
save_every = 2
validation_items = 2
samples = 0
report_to = ["none"]

[evaluate]
strategies = ["last", "recent"]
items = 2
reply_items = 1
max_reply_tokens = 6
resamples = 50

[chat]
max_reply_tokens = 8
"""
OTHERS = [name for name, model in MODELS.items() if model.head in ("AutoModelForSeq2SeqLM", "AutoModelForMaskedLM")]
TRAINED = [name for name in MODELS if name not in OTHERS]


@pytest.fixture
def folder(tmp_path, hub):
    (tmp_path / "talks.jsonl").write_bytes(b"".join(make_dialogue(i).to_line() for i in range(20)))
    (tmp_path / "tiny.toml").write_text(TOML)
    return tmp_path


def train(hub, folder, model, command="train"):
    return hub.gistchat(command, "tiny.toml", "--model", model, "--out", "runs/tiny", cwd=folder)


@pytest.mark.parametrize("model", TRAINED)
def test_a_model_of_the_hub_is_trained_and_talks(hub, folder, model):
    repository = hub[hub.moved.get(model, model)]
    repository.allowed.add("ada")
    hub.log_in()
    done = train(hub, folder, model)
    assert done.returncode == 0, done.stderr
    weights = [file for file in hub.downloads(repository.id) if file.endswith((".bin", ".safetensors"))]
    assert len(weights) == 1
    hub.requests.clear()
    # Random weights may well end a reply before it began; not five in a row.
    done = hub.gistchat("chat", "runs/tiny", "--no-journal", "--seed", "1", cwd=folder, stdin="Hello there\n" * 5)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert hub.downloads() == []


@pytest.mark.parametrize("model", OTHERS)
def test_a_model_of_the_hub_that_cannot_answer_is_refused_before_its_weights_are_fetched(hub, folder, model):
    done = train(hub, folder, model)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith(f"error: model.name: {model}: a model of type ")
    assert "for AutoModelFor" in error
    assert not [file for file in hub.downloads() if file.endswith((".bin", ".safetensors"))]
    assert not list(folder.glob("data*"))


def test_the_whole_way_with_a_model_of_the_hub_and_then_without_a_network(hub, folder):
    done = train(hub, folder, SMOLLM2, "run")
    assert done.returncode == 0, done.stderr
    assert hub.asked_outside() == []
    # Files of other libraries lie beside those that are needed.
    needed = {"config.json", "generation_config.json", "merges.txt", "model.safetensors", "special_tokens_map.json"}
    needed |= {"tokenizer.json", "tokenizer_config.json", "vocab.json"}
    assert sorted(hub.downloads()) == sorted(f"{SMOLLM2}/{name}" for name in needed)
    with hub.offline():
        done = hub.gistchat("chat", "runs/tiny", "--no-journal", cwd=folder, stdin="Hello there\n")
    assert done.returncode == 0, done.stderr


def test_weights_that_break_off_are_fetched_again(hub, folder):
    hub.fault("cut", "model.safetensors", times=1)
    done = train(hub, folder, SMOLLM2)
    assert done.returncode == 0, done.stderr


def test_a_run_is_exported_and_pushed(hub, folder):
    assert train(hub, folder, SMOLLM2).returncode == 0
    hub.log_in()
    done = hub.gistchat("export", "runs/tiny", "exported", "--push", "ada/talker", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.endpoint}/ada/talker" in done.stdout
    pushed = hub["ada/talker"]
    assert pushed.file("model.safetensors") == (folder / "exported" / "model.safetensors").read_bytes()
    assert json.loads(pushed.file("gistchat.json"))["recipe"]["model"]["name"] == SMOLLM2


@pytest.mark.parametrize(
    ("user", "owner", "reason"), [("", "ada", "401"), ("ada", "google", "403")], ids=["no login", "another's name"]
)
def test_a_push_that_is_refused_keeps_what_was_exported(hub, folder, user, owner, reason):
    assert train(hub, folder, SMOLLM2).returncode == 0
    if user:
        hub.log_in(user)
    done = hub.gistchat("export", "runs/tiny", "exported", "--push", f"{owner}/talker", cwd=folder)
    assert done.returncode == 1
    assert f"cannot push to '{owner}/talker'" in done.stderr
    assert "exported is kept" in done.stderr
    assert "hf auth login" in done.stderr
    assert "gistchat export exported --push" in done.stderr
    assert reason in done.stderr
    assert hub.find(f"{owner}/talker") is None


def test_a_model_that_is_gated_or_missing_is_an_error_of_one_line(hub, folder):
    for model in (GATED, "nobody/nothing"):
        done = train(hub, folder, model)
        assert done.returncode == 1
        assert f"cannot get model '{model}'" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (folder / "runs" / "tiny" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("corpus", "place", "dialogues"),
    [
        ("dailydialog", "hub", [12, 12, 12]),
        ("dailydialog", f"hub:{DAILYDIALOG_SCRIPT}@refs/convert/parquet", [12, 12, 12]),
        ("personachat", "hub", [11, 12, 1]),  # two files; the test split is cut from train
    ],
)
def test_a_corpus_of_the_hub_is_prepared(hub, tmp_path, corpus, place, dialogues):
    done = hub.gistchat("prepare", corpus, "--from", place, "--out", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert [report["splits"][split]["dialogues"] for split in ("train", "validation", "test")] == dialogues
    assert len([file for file in hub.downloads() if file.endswith(".parquet")]) == (2 if corpus == "personachat" else 3)


def test_the_next_mirror_of_a_corpus_is_taken(hub, tmp_path):
    hub.remove(DAILYDIALOG, "dataset")
    done = hub.gistchat("prepare", "dailydialog", "--from", "hub", "--out", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {file.rpartition("/default/")[0] for file in hub.downloads()} == {DAILYDIALOG_SCRIPT}


def test_a_revision_of_a_corpus(hub, tmp_path):
    repository = hub[f"datasets/{DAILYDIALOG}"]
    repository.tag("v1")
    later = parquet([exchange("later", number) for number in range(5)])
    repository.commit({"data/test-00000-of-00001.parquet": later}, "Other dialogues for the test")
    counts = []
    for out, place in (("new", "hub"), ("old", f"hub:{DAILYDIALOG}@v1")):
        done = hub.gistchat("prepare", "dailydialog", "--from", place, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        counts.append(len((tmp_path / out / "test.jsonl").read_text().splitlines()))
    assert counts == [5, 12]


def test_an_empty_row_is_counted(hub, tmp_path):
    done = hub.gistchat("prepare", "samsum", "--from", "hub", "--out", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["splits"]["train"]["dialogues"] == 12
    assert report["dropped"] == {"no turns with text": 1}


def test_a_corpus_that_is_gated_is_said_to_be(hub, tmp_path):
    hub[f"datasets/{SAMSUM}"].gated = True
    words = ("prepare", "samsum", "--from", "hub", "--out", "data")
    asked = f"it is gated: ask for access at {hub.endpoint}/datasets/{SAMSUM}"
    assert f"{asked}, then log in with hf auth login" in hub.gistchat(*words, cwd=tmp_path).stderr
    hub.log_in()
    assert f"{asked}; your account has none yet" in hub.gistchat(*words, cwd=tmp_path).stderr


def test_which_corpora_can_be_reached(hub, tmp_path):
    hub.remove(PERSONACHAT, "dataset")
    done = hub.gistchat("corpora", "samsum", "personachat", cwd=tmp_path)
    assert f"{SAMSUM} (reachable now)" in done.stdout
    assert f"{PERSONACHAT} (not reachable now: no such dataset on the hub, or a private one" in done.stdout
