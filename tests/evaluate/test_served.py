"""A server's model, or one in llama.cpp, answers a run's held-out items: contexts, budgets, facts, resuming, errors."""

import json
import re
import shutil
from pathlib import Path

import pytest
import xllamacpp
from conftest import gistchat, make_dialogue
from fake_chat_server import ChatServer, begin, delta, event, refuses, send

from gistchat import trusted_hosts
from gistchat.context.types import Context, RoleTurn
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.engines import openai_client
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.evaluate.items import choose_items
from gistchat.evaluate.planted_questions import DISTANCES, facts
from gistchat.examples.small_talk import holds
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import read_metadata
from gistchat.progress import say_once
from gistchat.prompts.wording import PREAMBLE

IN_ORDER = ["last", "full", "recent", "summary", "hybrid", "rolling", "shuffled"]
STRATEGIES = ["last", "recent", "full", "summary", "hybrid", "rolling", "shuffled"]
ALL = f"evaluate.strategies={json.dumps(STRATEGIES)}"
PLANTED = 6


def make_server(patch, folder):
    patch.setenv("XDG_CONFIG_HOME", str(folder))
    patch.setattr(trusted_hosts, "_trusted", set())
    for name, value in {"RETRIES": 0, "FIRST_WAIT": 0.01, "FIRST_PIECE": 20.0, "NEXT_PIECE": 20.0}.items():
        patch.setattr(openai_client, name, value)
    say_once.cache_clear()
    made = ChatServer()
    made.models = [{"id": "llama3.2:latest"}]
    return made


@pytest.fixture
def server(monkeypatch, tmp_path):
    made = make_server(monkeypatch, tmp_path)
    yield made
    made.close()


@pytest.fixture
def run(run_folder, tmp_path):
    """A copy, to be written to."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def answered(run_folder, tmp_path_factory):
    """A run whose items and planted facts a server answered; what the command said; what the server was sent."""
    folder = tmp_path_factory.mktemp("answered")
    shutil.copytree(run_folder, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        server = make_server(patch, folder)
        server.kind, server.answers = "llama.cpp", [recalls]
        server.models[0]["max_model_len"] = 100_000  # the longest of the dialogues with planted facts
        done = evaluate(server, folder / "run", "--model", "llama3.2", set_=[ALL, f"evaluate.probe_items={PLANTED}"])
        server.close()
    assert done.returncode == 0, done.stderr
    return folder / "run" / "served" / "llama3.2", done, [texts_of(body) for body in server.chats]


def evaluate(server, run, *options, **more):
    settings = [word for setting in more.get("set_", ()) for word in ("--set", setting)]
    return gistchat("evaluate", str(run), "--url", server.url, *options, *settings, cwd=run.parent)


def rows_of(folder, name="predictions.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def says(handler, body, text):
    begin(handler)
    delta(handler, text)
    delta(handler, finish="stop")
    event(handler, b"[DONE]")


def texts_of(body):
    return "\n".join(message["content"] for message in body["messages"])


def recalls(handler, body):
    """Says the fact that is asked for where it was sent, else that it has no idea; to what is no question, anything."""
    question, sent = body["messages"][-1]["content"], texts_of(body)
    words = [word for fact in facts() if question in (fact.asked, fact.reworded) for word in fact.words]
    known = next((word for word in words if holds(sent, word)), "No idea.")
    says(handler, body, known if words else make_dialogue(len(sent)).turns[0].text)


def test_every_strategy_answers_what_the_run_was_asked(answered):
    folder, _, sent = answered
    rows, run = rows_of(folder), folder.parents[1]
    assert [row["strategy"] for row in rows] == [name for name in IN_ORDER for _ in range(3)]
    assert {row["model"] for row in rows} == {"served"}
    assert not {"nats", "rank"} & set().union(*rows)
    assert not (run / "predictions.jsonl").exists()
    recipe, _ = read_metadata(run / "checkpoint")
    items = choose_items(recipe, load_dialogues(Path(recipe.data.folder) / "test.jsonl"))[:3]
    assert {(row["id"], row["gold"]) for row in rows} == {(item.id, item.gold) for item in items}
    for row in rows:  # what was sent is what the rows say
        spoken = [text for text in (row["gist"], *(turn["text"] for turn in row["context"])) if text]
        assert any(all(text in one for text in spoken) for one in sent)
        assert all(text in row["prompt"] for text in spoken)
    by_strategy = {name: [row for row in rows if row["strategy"] == name] for name in STRATEGIES}
    assert all(row["gist"] for name in ("summary", "shuffled") for row in by_strategy[name])
    assert not any(row["gist"] for name in ("last", "recent", "full") for row in by_strategy[name])
    assert all(len(row["context"]) == 1 for row in by_strategy["last"])
    assert all(len(row["context"]) == row["turn"] for row in by_strategy["full"])


def test_planted_facts_are_answered_where_they_are_shown(answered):
    folder, done, _ = answered
    answers = rows_of(folder, "probe.jsonl")
    assert len(answers) == PLANTED * len(STRATEGIES)
    by_strategy = {name: [row for row in answers if row["strategy"] == name] for name in STRATEGIES}
    assert all(row["right"] and row["shown"] for row in by_strategy["full"])
    assert not any(row["right"] or row["shown"] for row in by_strategy["last"])
    assert {row["distance"] for row in answers} == set(DISTANCES)
    assert all(row["right"] == row["shown"] for row in answers if row["strategy"] != "shuffled")
    metrics = json.loads((folder / "metrics.json").read_text())
    shares = {entry["strategy"]: entry["right"]["value"] for entry in metrics["probe"]}
    assert (shares["full"], shares["last"]) == (100, 0)
    told = " ".join(done.stdout.split())
    assert shares["recent"] < 50
    raised = f"Planted facts: served full has {100 - shares['recent']:.1f} points higher recall of planted facts than "
    assert re.search(re.escape(raised) + r"served recent \[.* Holm p = 0\.0\d+: it is better\.", told)
    assert "Planted facts, served model without a budget: in the prompt where the question shares a word with " in told
    assert re.search(r"served +full +100\.0 \[\d+\.\d, 100\.0\] \+", done.stdout)


@pytest.mark.parametrize("kind", ["llama.cpp", ""])
def test_the_budget_is_kept_in_what_is_sent(server, run, kind):
    """By the server's own count, where it counts for us and where it is estimated."""
    server.kind, server.hidden = kind, 11
    done = evaluate(server, run, set_=[ALL, "evaluate.budgets=[24, 48]"])
    assert done.returncode == 0, done.stderr
    rows = rows_of(run / "served" / "llama3.2-latest")
    bare = {row["id"]: row["prompt_tokens"] for row in rows if row["strategy"] == "last"}
    assert {row["budget"] for row in rows} == {None, 24, 48}
    for row in rows:
        if row["budget"]:
            assert row["context_tokens"] <= row["budget"]
            filler = 6  # a window that begins with the model's turn has a message before it
            assert row["prompt_tokens"] - bare[row["id"]] <= row["budget"] + filler * (kind == "")
    widest = [row for row in rows if row["strategy"] == "recent" and row["budget"] == 48]
    assert max(row["prompt_tokens"] - bare[row["id"]] for row in widest) > 24
    assert min(bare.values()) > 11 + server.tokens(PREAMBLE)  # hidden tokens and all: as the server counts


def test_tables_and_report_have_intervals_and_no_perplexity(answered):
    folder, done, _ = answered
    head = done.stdout.split("held-out replies")[0]
    assert "perplexity" not in head
    assert "hits" not in head
    assert re.search(r"served +recent +\d+\.\d \[\d+\.\d, \d+\.\d\]", head)
    assert "higher ROUGE-L is better. The model gives replies but no likelihoods" in " ".join(done.stdout.split())
    report = (folder / "report.md").read_text()
    results = next(line for line in report.splitlines() if line.startswith("| model"))
    assert results.split(" | ")[2:5] == ["ROUGE-1", "ROUGE-2", "ROUGE-L"]
    assert "## Costs" in report
    costs = next(line for line in report.splitlines() if "prompt tokens" in line)
    assert "cache" not in costs
    assert "s per reply" in costs
    assert "| echo |" in report
    assert "| random-reply |" in report
    page = (folder / "report.html").read_text()
    assert "ROUGE-L by strategy" in page
    assert "nats per token</option>" not in page
    said = json.loads((folder / "metrics.json").read_text())
    pairs = [pair for pair in said["comparisons"] if pair["family"] == "strategy"]
    assert {pair["of"] for pair in pairs} == {f"served {name}" for name in STRATEGIES} - {
        "served recent",
        "served shuffled",
    }
    assert {pair["metric"] for pair in pairs} == {"rougeL"}
    told = " ".join(done.stdout.split())
    assert re.search(r"Served summary is not shown to differ from served recent: at most \d+\.\d points worse", told)
    assert (
        "In short, the served model against recent by ROUGE-L: summary, hybrid and rolling are not shown to differ."
        in told
    )


def test_a_judge_compares_what_a_server_said(server, answered):
    folder, _, _ = answered
    verdict = {"choices": [{"message": {"role": "assistant", "content": "A"}, "finish_reason": "stop"}]}
    server.answers = [lambda handler, body: send(handler, verdict)]
    options = ("--of", "served hybrid", "--against", "served recent", "--url", server.url, "--model", "m")
    done = gistchat("judge", str(folder), *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "served hybrid 48 against served recent 48, judged by m: 3 of 3 items" in done.stdout
    assert len(server.chats) in (2, 4, 6)  # each pair in both orders, unless the replies are the same


def test_a_server_that_goes_down_loses_little(server, run):
    """What was answered is asked for once, and what is sent is the same as without the break."""
    server.kind = ""
    usual, refuse = server.usual, refuses("loading", 503)
    server.answers = [usual] * 17 + [refuse]
    done = evaluate(server, run, set_=[ALL])
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: {server.url}: ")
    assert line.endswith("; what was answered is kept, and the same command goes on")
    assert not (run / "served" / "llama3.2-latest" / "predictions.jsonl").exists()
    stored = run / "served" / "llama3.2-latest" / "evaluation" / "replies.jsonl"
    kept = len(stored.read_text().splitlines())
    assert kept > 8
    first, server.chats, server.answers = [texts_of(body) for body in server.chats[:17]], [], [None]
    done = evaluate(server, run, set_=[ALL])
    assert done.returncode == 0, done.stderr
    whole = [texts_of(body) for body in server.chats]
    again = [text for text in whole if text in first]
    assert len(again) <= 8
    server.chats = []
    done = evaluate(server, run, set_=[ALL])
    assert "done before, skipped" in done.stderr
    assert not server.chats
    shutil.rmtree(run / "served")
    assert evaluate(server, run, set_=[ALL]).returncode == 0
    assert {texts_of(body) for body in server.chats} == {*first, *whole}


def test_the_runs_own_results_and_another_servers_stay(server, run):
    for name in ("predictions.jsonl", "probe.jsonl", "metrics.json", "report.html", "report.md", "evaluated.json"):
        (run / name).write_text("the run's own")
    (run / "evaluation").mkdir()
    (run / "evaluation" / "tuned.jsonl").write_text("the run's own")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert evaluate(server, run).returncode == 0
    other = ChatServer()
    try:
        other.models, other.words = server.models, ["Other", " words."]
        done = evaluate(other, run)
    finally:
        other.close()
    assert done.returncode == 0, done.stderr
    assert "holds results of another model" in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in run.iterdir() if path not in {b for a in before for b in a.parents}} <= {
        *(path.name for path in before),
        "served",
    }
    folder = run / "served" / "llama3.2-latest"
    assert {row["reply"] for row in rows_of(folder)} == {"Other words."}
    assert {row["reply"] for row in rows_of(folder.with_name(f"{folder.name}-before"))} == {"Fine, thanks."}


@pytest.mark.parametrize(
    ("options", "set_", "message"),
    [
        (["--model", "qwen"], (), "no model 'qwen'; it has llama3.2:latest"),
        (["--gguf", "x.gguf"], (), "--url, --gguf and --engine each say who answers; give one of them"),
        ([], ["evaluate.reply_items=0"], "evaluate.reply_items is 0"),
        ([], ["chat.temperature=1"], "evaluate takes settings of evaluate, context, summary"),
        ([], ["evaluate.max_reply_tokens=4090"], "every test item is longer than the model takes"),
    ],
)
def test_mistakes_are_said_in_one_line(server, run, options, set_, message):
    done = evaluate(server, run, *options, set_=set_)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert message in line
    assert not server.chats


def test_a_model_name_needs_an_address(run):
    done = gistchat("evaluate", str(run), "--model", "m", cwd=run.parent)
    assert done.stderr.startswith("error: --model names a model of a server")


def test_no_file_to_answer(run):
    for name, problem in (("none.gguf", "no such file"), ("trained.json", "not a GGUF file")):
        done = gistchat("evaluate", str(run), "--gguf", str(run / name), cwd=run.parent)
        assert done.stderr.splitlines()[-1] == f"error: {run / name}: {problem}"
    done = gistchat("evaluate", str(run), "--engine", "fast", cwd=run.parent)
    assert done.stderr == "error: --engine fast: evaluation takes torch or llamacpp\n"


def test_a_servers_name_for_its_model_stays_a_name(server, run):
    server.models = [{"id": "../../<b>\x1b[31m\nred"}]
    done = evaluate(server, run, set_=['evaluate.strategies=["last", "recent"]'])
    assert done.returncode == 0, done.stderr
    [folder] = (run / "served").iterdir()
    assert (folder / "report.html").is_file()
    assert "<b>" not in (folder / "report.html").read_text().split("<script")[0]
    assert "\x1b" not in done.stdout + done.stderr + (folder / "report.md").read_text()
    assert (folder / "report.md").read_text().startswith("# tiny: ../../<b>")


def test_nothing_answers(server, run):
    server.close()
    done = evaluate(server, run)
    assert done.returncode == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("error")]) == 1
    assert not (run / "served").exists()


# ---- the real thing


@pytest.fixture(scope="module")
def gguf_file(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny one.gguf"
    done = gistchat("export", str(run_folder), str(path), "--quant", "f32", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return path


def test_a_real_llama_cpp_server(run, gguf_file, server):
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = str(gguf_file), 512, 1, -1
    params.warmup = params.ui = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    real = xllamacpp.Server(params)
    done = gistchat("evaluate", str(run), "--url", f"{real.listening_address}/v1", *TWO, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    [folder] = (run / "served").iterdir()
    rows = rows_of(folder)
    bare = {row["id"]: row["prompt_tokens"] for row in rows if row["strategy"] == "last"}
    for row in rows:
        if row["strategy"] == "recent":
            assert 20 < row["prompt_tokens"] - bare[row["id"]] <= row["budget"]
            assert row["seconds"] > 0
    assert all(row["reply"] for row in rows)


TWO = ("--set", 'evaluate.strategies=["last", "recent"]')


@pytest.mark.parametrize("who", ["--engine", "--gguf"])
def test_llama_cpp_in_this_process(run, gguf_file, who):
    """The run's own replies, which torch gives as well; and those of a file, here of the same model."""
    value, name = {"--engine": ("llamacpp", "llamacpp"), "--gguf": (str(gguf_file), "tiny-one")}[who]
    done = gistchat("evaluate", str(run), who, value, *TWO, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    rows = rows_of(run / "served" / name)
    assert {row["model"] for row in rows} == {"served"}
    made = load_checkpoint(run / "checkpoint")
    for row in rows:
        turns = [RoleTurn(turn["role"], turn["text"], 0) for turn in row["context"]]
        context = Context((), tuple(turns[:-1]), turns[-1], 0, 0)
        engine = TorchEngine(made.model, made.format)
        [expected] = engine.generate_batch([context], Sampling(max_tokens=6), [0])
        assert row["reply"] == expected.text
        assert row["prompt"] == made.format.tokenizer.decode(made.format.encode(context).ids)
        assert row["prompt_tokens"] == engine.count_tokens(context)
