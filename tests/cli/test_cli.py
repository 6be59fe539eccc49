"""The real command line, as a user types it: the whole way, mistakes, interruptions."""

import json
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import forked, gistchat, make_dialogue

from gistchat.cli import app
from gistchat.dialogue.jsonl import write_jsonl
from gistchat.files import file_hash, read_json_lines

REPOSITORY = Path(__file__).parents[2]


def final(folder: Path) -> list[dict]:
    """Everything in metrics.json but wall times."""
    values = json.loads((folder / "metrics.json").read_text())
    values.pop("summary_seconds", None)
    for result in values["results"]:
        result["metrics"].pop("seconds", None)
        result["metrics"].pop("prefill", None)
    return values


def test_the_whole_way_with_real_conversations_and_real_weights(tmp_path):
    small = ["train.steps=2", "train.batch_size=2", "train.validation_items=2", "train.evaluate_every=2"]
    small += ["train.max_tokens=128", "evaluate.items=3", "evaluate.reply_items=2", "evaluate.max_reply_tokens=6"]
    small += ["evaluate.strategies=recent,summary,shuffled", "context.budget=40", "train.strategies=summary"]
    words = ["run", str(REPOSITORY / "gistchat" / "recipes" / "demo.toml")]
    for setting in small:
        words += ["--set", setting]
    done = gistchat(*words, cwd=tmp_path, apart=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ *tuned +summary +\d", done.stdout, re.M)
    assert done.stdout.splitlines()[-1].strip() == "talk to it: gistchat chat runs/demo"
    run = tmp_path / "runs" / "demo"
    report = (run / "report.html").read_text()
    assert report.count("<svg") >= 3  # by strategy, quality by cost, training; by depth where there are several
    assert "http" not in report.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 3 * 3
    assert {"context", "prompt", "gist", "reply", "gold"} <= rows[0].keys()
    tuned = [row for row in rows if row["model"] == "tuned" and row["strategy"] == "summary"]
    assert all("Earlier in this chat" in row["prompt"] and row["gist"] in row["prompt"] for row in tuned)
    results = json.loads((run / "metrics.json").read_text())["results"]
    perplexity = {(r["model"], r["strategy"]): r["metrics"]["perplexity"] for r in results if r["model"] != "control"}
    assert all(p["low"] <= p["value"] <= p["high"] for p in perplexity.values())
    assert perplexity["tuned", "summary"]["value"] < perplexity["base", "summary"]["value"]
    assert "difference" in perplexity["tuned", "summary"]
    assert "difference" not in perplexity["tuned", "recent"]

    again = gistchat(*words, cwd=tmp_path)
    assert again.returncode == 0
    for stage in ("prepare", "train", "evaluate"):
        assert any(line.startswith(stage) and "done before, skipped" in line for line in again.stderr.splitlines())
    assert again.stdout == done.stdout

    chat = gistchat("chat", "runs/demo", "--max-reply-tokens", "5", cwd=tmp_path, stdin="Hi, how are you?\n")
    assert chat.returncode == 0, chat.stderr
    assert chat.stdout.strip()


def run_until(folder: Path, appeared, words: list[str]) -> bool:
    """Start a run and kill it without warning as soon as `appeared()` holds; False when it ended before."""
    with forked(*words, cwd=folder) as process:
        while process.is_alive():
            if appeared():
                process.kill()
                process.join()
                return process.exitcode == -signal.SIGKILL
            time.sleep(0.002)
    return False


def test_a_run_killed_in_every_stage_ends_with_the_same_metrics(tiny_folder):
    words = ["run", "tiny.toml", "--set", "train.method=lora", "--out"]
    undisturbed = gistchat(*words, "calm", "--set", "data.folder=calm-data", cwd=tiny_folder)
    assert undisturbed.returncode == 0, undisturbed.stderr
    run, data = tiny_folder / "hurried", tiny_folder / "data"
    moments = [
        lambda: (data / "train.jsonl").exists(),  # preparing
        lambda: any((data / "summaries").glob("*.jsonl")),  # summarising
        lambda: (run / "train" / "unfinished").exists(),  # while a state is being written
        lambda: (run / "train" / "state-4").exists(),
        lambda: (run / "checkpoint").exists() and (run / "train" / "state-6").exists(),
        lambda: any((run / "evaluation").glob("base-*.jsonl")),
        lambda: any((run / "evaluation").glob("tuned-*.jsonl")),
        lambda: (run / "metrics.json").exists(),
    ]
    killed = [run_until(tiny_folder, moment, [*words, "hurried"]) for moment in moments]
    assert sum(killed) >= len(moments) - 2, killed
    resumed = gistchat(*words, "hurried", cwd=tiny_folder)
    assert resumed.returncode == 0, resumed.stderr
    assert final(run) == final(tiny_folder / "calm")
    assert (run / "report.html").exists()


def test_training_resumes_instead_of_starting_over(tiny_folder):
    words = ["train", "tiny.toml", "--out", "r"]
    assert run_until(tiny_folder, lambda: (tiny_folder / "r" / "train" / "state-2").exists(), words)
    done = gistchat(*words, cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "resuming from r/train/state-" in done.stderr
    # A finished run of another recipe is none to resume.
    other = gistchat(*words, "--set", "train.steps=5", cwd=tiny_folder)
    assert other.returncode == 0
    assert "resuming" not in other.stderr
    assert "done before" not in other.stderr.split("prepare")[-1].split("\n", 1)[1]


MISTAKES = {
    "unknown field": (["run", "tiny.toml", "--set", "train.stps=3"], "did you mean train.steps?"),
    "no recipe": (["run", "nowhere.toml"], "nowhere.toml: no such file"),
    "folder as recipe": (["run", "."], "is a folder"),
    "malformed JSONL": (["prepare", "jsonl", "--from", "bad.jsonl", "--out", "o"], "bad.jsonl:2: not valid JSON"),
    "wrong encoding": (["prepare", "jsonl", "--from", "latin.jsonl", "--out", "o"], "latin.jsonl:1: not UTF-8"),
    "no input": (["prepare", "jsonl", "--out", "o"], "say where the jsonl files are"),
    "unknown corpus": (["prepare", "chitchatt", "--out", "o"], "unknown corpus 'chitchatt'"),
    "missing model": (
        ["run", "tiny.toml", "--init", "pretrained", "--model", "./nowhere"],
        "./nowhere: no such folder",
    ),
    "no network": (["run", "tiny.toml", "--init", "pretrained"], "cannot get model 'gpt2'"),
    "no run": (["chat", "nowhere"], "nowhere: no such folder"),
    "run without checkpoint": (["evaluate", "."], "holds no checkpoint yet"),
    "not prepared": (["summarize", "."], "train.jsonl: no such file"),
    "too little history": (["run", "tiny.toml", "--set", "evaluate.min_history=99"], "lower evaluate.min_history"),
    "too long for the model": (["run", "tiny.toml", "--set", "train.max_tokens=10"], "raise train.max_tokens"),
    "negative budget": (["run", "tiny.toml", "--set", "context.budget=-1"], "context.budget must be at least 0"),
    "file as folder": (["run", "tiny.toml", "--out", "talks.jsonl"], "talks.jsonl"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(tiny_folder, mistake):
    words, message = MISTAKES[mistake]
    good = (tiny_folder / "talks.jsonl").read_text().splitlines()[0]
    (tiny_folder / "bad.jsonl").write_text(f"{good}\n{good[:50]}\n{good}\n")
    (tiny_folder / "latin.jsonl").write_bytes(good.replace("number", "n\xfcmber").encode("latin-1"))
    done = gistchat(*words, cwd=tiny_folder)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr


def test_skipped_input_is_counted_and_listed(tiny_folder):
    good = (tiny_folder / "talks.jsonl").read_text().splitlines()
    (tiny_folder / "bad.jsonl").write_text("\n".join([good[0], "{", good[1], "[]"]) + "\n")
    done = gistchat("prepare", "jsonl", "--from", "bad.jsonl", "--out", "o", "--on-error", "skip", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    assert "read 4 dialogues with 24 turns, kept 2" in done.stdout
    assert "dropped 2: malformed" in done.stdout
    assert "skipped bad.jsonl:2: not valid JSON" in done.stdout
    assert "skipped bad.jsonl:4: expected an object" in done.stdout
    report = json.loads((tiny_folder / "o" / "report.json").read_text())
    assert report["read"] == report["kept"] + sum(report["dropped"].values())


def test_a_full_disk_is_one_clear_line_and_the_run_goes_on_later(tiny_folder):
    def small_files():  # a limit on file size fails a write in mid-file, as a full disk does
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    done = gistchat("run", "tiny.toml", "--out", "r", cwd=tiny_folder, preexec_fn=small_files)
    assert done.returncode == 1
    assert "error: disk full" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tiny_folder / "r" / "checkpoint").exists()
    again = gistchat("run", "tiny.toml", "--out", "r", cwd=tiny_folder)
    assert again.returncode == 0, again.stderr
    assert "prepare: jsonl -> data (done before, skipped)" in again.stderr


def test_two_runs_of_one_folder_do_not_meet(tiny_folder):
    from gistchat.pipeline import only_run

    with only_run(tiny_folder / "r"):
        done = gistchat("run", "tiny.toml", "--out", "r", cwd=tiny_folder, apart=True)
    assert done.returncode == 1
    assert "error: another process is writing to r" in done.stderr


def test_control_c_is_one_line(tiny_folder):
    with forked("run", "tiny.toml", "--out", "r", cwd=tiny_folder) as process:
        while not (tiny_folder / "r" / "train").exists() and process.is_alive():
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        errors = process.files["err"].read_text()
    assert process.exitcode == 130
    assert "error: interrupted; the same command goes on" in errors
    assert "Traceback" not in errors


def test_gpt2_from_a_local_folder_and_evaluate_with_other_settings(tiny_folder, tiny_base):
    os.symlink(tiny_base.source, tiny_folder / "mine")
    words = ["--init", "pretrained", "--model", "./mine", "--out", "r", "--set", "train.method=full"]
    done = gistchat("train", "tiny.toml", *words, cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    metadata = json.loads((tiny_folder / "r" / "checkpoint" / "gistchat.json").read_text())
    assert metadata["format"] == "speaker-tokens"
    done = gistchat("evaluate", "r", "--set", "evaluate.items=2", "--set", "evaluate.base=false", cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    values = json.loads((tiny_folder / "r" / "metrics.json").read_text())
    assert values["items"] == 2
    assert {result["model"] for result in values["results"]} == {"tuned", "control"}
    refused = gistchat("evaluate", "r", "--set", "data.seed=1", cwd=tiny_folder)
    assert "evaluate takes settings of evaluate, context, summary" in refused.stderr
    write_jsonl(
        tiny_folder / "met.jsonl", [make_dialogue(n, 12, meta={"session_turns": [7, 5]}) for n in range(50, 60)]
    )
    elsewhere = ["--from", "met.jsonl", "--set", "data.test_share=0.8"]
    changed = ["--set", "evaluate.turns=openings", "--set", "evaluate.base=false", "--set", "evaluate.items=8"]
    done = gistchat("evaluate", "r", *elsewhere, *changed, cwd=tiny_folder)
    assert done.returncode == 0, done.stderr
    rows = read_json_lines(tiny_folder / "r" / "on" / "jsonl" / "predictions.jsonl")
    assert {row["id"].partition("#")[2] for row in rows} == {"7"}
    assert len({row["dialogue"] for row in rows}) == 8
    assert json.loads((tiny_folder / "r" / "metrics.json").read_text()) == values  # the run's own stay
    refused = gistchat("evaluate", "r", "--from", "gone.jsonl", cwd=tiny_folder)
    assert "gone.jsonl: no such file or folder; what is not yours goes with --corpus" in refused.stderr
    (tiny_folder / "talks.jsonl").write_text((tiny_folder / "talks.jsonl").read_text().replace("garden", "orchard"))
    refused = gistchat("evaluate", "r", cwd=tiny_folder)
    assert "the jsonl data have changed since r was trained" in refused.stderr


def test_another_recipes_half_trained_weights_are_not_taken_for_finished(tiny_folder):
    words = ["run", "tiny.toml", "--out", "r", "--set", "evaluate.base=false"]
    assert gistchat(*words, cwd=tiny_folder).returncode == 0
    first = final(tiny_folder / "r")
    weights = file_hash(tiny_folder / "r" / "checkpoint" / "model.safetensors")
    state = tiny_folder / "r" / "train" / "state-4"
    assert run_until(tiny_folder, state.exists, [*words, "--seed", "5"])
    kept = tiny_folder / "r" / "checkpoint-before"
    assert file_hash(kept / "model.safetensors") == weights
    refused = gistchat(*words, cwd=tiny_folder)
    assert refused.returncode == 1
    assert "was trained with other settings:\n  base.identity: gpt2-scratch-tiny-seed5 -> " in refused.stderr
    assert "\n  seed: 5 -> 0\n" in refused.stderr
    shutil.rmtree(tiny_folder / "r" / "train")  # as the message says
    again = gistchat(*words, cwd=tiny_folder)
    assert again.returncode == 0, again.stderr
    assert final(tiny_folder / "r") == first


def test_summarize_computes_once(tiny_folder):
    gistchat("prepare", "jsonl", "--from", "talks.jsonl", "--out", "p", cwd=tiny_folder)
    first = gistchat("summarize", "p", "--tokens", "40", cwd=tiny_folder)
    second = gistchat("summarize", "p", "--tokens", "40", cwd=tiny_folder)
    assert first.stdout.startswith("20 dialogues summarised, 0 stored before")
    assert second.stdout.startswith("0 dialogues summarised, 20 stored before")


def test_every_option_is_explained():
    from typer.main import get_command

    for name, command in get_command(app).commands.items():
        assert command.help, name
        for parameter in command.params:
            if parameter.name != "help":
                assert parameter.help, f"{name} {parameter.name}"


def test_env_and_version(tmp_path):
    done = gistchat("env", cwd=tmp_path, apart=True)
    assert done.returncode == 0
    for word in ("torch", "transformers", "threads", "devices", "model cache", "hub cache"):
        assert word in done.stdout
    assert gistchat("--version", cwd=tmp_path).stdout.startswith("gistchat 0.")
