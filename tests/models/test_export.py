"""What is exported loads with plain transformers, or with llama.cpp, and answers as the run does."""

import dataclasses
import json
from pathlib import Path

import gguf
import pytest
import torch
from conftest import gistchat, train_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from gistchat.chat.session import ChatSession
from gistchat.engines.self_test import ASKED, Agreement, Parting, compare_with_torch
from gistchat.errors import UserError
from gistchat.models import export as export_module
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import PACKAGED
from gistchat.models.export import export_adapter, export_gguf
from gistchat.models.modelfile import modelfile_text
from gistchat.models.packaged_file import packaged_file
from gistchat.models.sharing import shareable
from gistchat.prompts.chat_template import ChatTemplate
from gistchat.prompts.paper import Paper
from gistchat.prompts.wording import PREAMBLE
from gistchat.recipe.load import recipe_from_dict


@pytest.mark.parametrize("method", ["lora", "full"])
def test_plain_transformers_gives_the_same_greedy_reply(tiny_recipe, tmp_path, method):
    tiny_recipe = tiny_recipe.change(train={"method": method, "learning_rate": 1e-3, "steps": 3})
    train_tiny(tiny_recipe, tmp_path / "run")
    done = gistchat("export", "run", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    greedy = ["chat.temperature=0", "chat.max_reply_tokens=8"]
    sessions = [ChatSession.open(tmp_path / folder, greedy) for folder in ("run", "out")]
    said = ["".join(session.reply("Did you see the dog?")) for session in sessions]
    assert said[0]
    assert said[0] == said[1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = sessions[0].model.engine.format.encode(sessions[0].context).ids
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, pad_token_id=0)[0, len(prompt) :]
    stops = sessions[0].model.engine.format.stop_ids
    kept = ids[: next((i for i, token in enumerate(ids.tolist()) if token in stops), len(ids))]
    assert tokenizer.decode(kept, skip_special_tokens=True).strip().startswith(said[0].rstrip("\ufffd").strip())
    assert "out is not empty" in gistchat("export", "run", "out", cwd=tmp_path).stderr


@pytest.fixture(scope="module")
def exported(run_folder, tmp_path_factory):
    """A folder with a GGUF file of the tiny run, and what the command said."""
    folder = tmp_path_factory.mktemp("gguf")
    return folder, gistchat("export", str(run_folder), "out.gguf", "--quant", "f32", cwd=folder)


def test_a_gguf_file_is_written_tested_and_answers_as_the_run_does(run_folder, exported):
    folder, done = exported
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "exported: out.gguf",
        "for Ollama: ollama create NAME -f out.Modelfile",
        "self-test: 20 of 20 greedy replies equal torch's",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["out.Modelfile", "out.gguf"]
    fields = gguf.GGUFReader(folder / "out.gguf").fields
    checkpoint = load_checkpoint(run_folder)
    assert fields["gistchat.format"].contents() == "speaker-tokens"
    stored = fields["gistchat.recipe"].contents()
    assert recipe_from_dict(json.loads(stored), "") == shareable(checkpoint.recipe)
    assert str(folder.parent) not in stored
    assert json.loads(fields["gistchat.weights"].contents()) == checkpoint.metadata["weights"]
    assert "<sp2>" in fields["tokenizer.chat_template"].contents()


def test_what_is_there_is_not_replaced(run_folder, exported):
    folder, _ = exported
    before = (folder / "out.gguf").read_bytes()
    done = gistchat("export", str(run_folder), "out.gguf", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "error: out.gguf is there already; give another name\n")
    assert (folder / "out.gguf").read_bytes() == before


def test_a_modelfile_of_somebody_else_is_kept(run_folder, tmp_path):
    (tmp_path / "out.Modelfile").write_text("FROM llama3\n")
    done = gistchat("export", str(run_folder), "out.gguf", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: out.Modelfile is there already, and not of gistchat's")
    assert (tmp_path / "out.Modelfile").read_text() == "FROM llama3\n"
    assert not (tmp_path / "out.gguf").exists()
    (tmp_path / "out.Modelfile").write_text("# Written by gistchat for out.gguf: of a file that is gone\n")
    export_gguf(run_folder, tmp_path / "out.gguf")
    assert "FROM ./out.gguf" in (tmp_path / "out.Modelfile").read_text()


def test_the_modelfile_says_how_the_run_talks(exported):
    folder, _ = exported
    lines = (folder / "out.Modelfile").read_text().splitlines()
    assert lines[0] == "# Written by gistchat for out.gguf: ollama create NAME -f out.Modelfile"
    assert lines[1] == "FROM ./out.gguf"
    assert lines[2].startswith('TEMPLATE """<bos>{{ if .System }}<sum>{{ .System }}{{ end }}{{ range .Messages }}')
    assert {"PARAMETER temperature 0.8", "PARAMETER num_predict 60", "PARAMETER num_ctx 1024"} <= set(lines)
    stops = [line.removeprefix("PARAMETER stop ") for line in lines if line.startswith("PARAMETER stop")]
    assert {'"<|endoftext|>"', '"<sp1>"', '"<sp2>"', '"<sum>"', '"<bos>"'} <= set(stops)
    assert 'PARAMETER stop """\nUser:"""' in "\n".join(lines)


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NUMBERED = (
    "{% for message in messages %}{{ loop.index }}. {{ message.role }}: {{ message.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.mark.parametrize(("template", "translated"), [(CHATML, True), (NUMBERED, False)])
def test_a_chat_template_is_translated_or_left_to_ollama(run_folder, template, translated):
    loaded = load_checkpoint(run_folder)
    loaded.tokenizer.chat_template = template
    checkpoint = dataclasses.replace(loaded, format=ChatTemplate(loaded.tokenizer))
    text, lacks = modelfile_text(checkpoint, Path("my model.gguf"), None)
    assert 'FROM "./my model.gguf"' in text
    assert f'SYSTEM "{PREAMBLE}"' in text
    assert bool(lacks) != translated
    if translated:
        turns = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        assert f'TEMPLATE """{turns}<|im_start|>assistant\n"""' in text
    else:
        assert "# No TEMPLATE: the model's chat template is none that gistchat can translate" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x.gguf", "--quant", "q3"], "--quant: 'q3' is not one of f32, f16, q8_0, q4_k_m"),
        (["x", "--quant", "f16"], "--quant is for a file: give OUT a name that ends in .gguf"),
        (["x", "--adapter-only"], "--adapter-only is for a file"),
        (["x.gguf", "--adapter-only", "--quant", "f16"], "--quant is for whole models"),
        (["x.gguf", "--adapter-only"], "--adapter-only is for adapters of the packaged model; this run's is 'gpt2'"),
    ],
)
def test_what_cannot_be_written_is_one_line(run_folder, tmp_path, words, message):
    done = gistchat("export", str(run_folder), *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_format_with_token_types_is_refused(run_folder, tmp_path, monkeypatch):
    loaded = load_checkpoint(run_folder)
    paper = dataclasses.replace(loaded, format=Paper(loaded.tokenizer))
    monkeypatch.setattr(export_module, "load_checkpoint", lambda run: paper)
    with pytest.raises(UserError, match="'paper' has token types"):
        export_gguf(run_folder, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(run_folder, tmp_path, monkeypatch):
    write, seen = export_module.write_gguf, []

    def interrupted(path, *args):
        write(path, *args)
        seen.append(path.stat().st_size)
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "write_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_gguf(run_folder, tmp_path / "out.gguf")
    assert seen[0] > 1_000_000
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_told_of(run_folder, exported):
    checkpoint = load_checkpoint(run_folder)
    with torch.no_grad():
        checkpoint.model.transformer.h[1].mlp.c_proj.weight.mul_(-3)
    agreement = compare_with_torch(checkpoint, exported[0] / "out.gguf", asked=ASKED[:4])
    assert agreement.equal < agreement.count == 4
    exact, rounded = agreement.sentences(exact=True), agreement.sentences(exact=False)
    assert exact[0] == f"warning: self-test: {agreement.equal} of 4 greedy replies equal torch's"
    assert "the first that parts, to 'Hi!'" in exact[1]
    assert "nats apart" in exact[1]
    assert "warning" not in rounded[0]
    assert "nats" not in rounded[1]


def test_a_near_tie_is_called_one():
    parting = Parting("Hi!", " there", "", 0.003)
    [_, line] = Agreement(19, 20, parting).sentences(exact=True)
    assert line == (
        "the first that parts, to 'Hi!': torch goes on with ' there', the file ends; torch's two likeliest tokens "
        "there are 0.0030 nats apart, so near that rounding decides"
    )
    [_, line] = Agreement(19, 20, dataclasses.replace(parting, margin=1.0)).sentences(exact=True)
    assert line.endswith("no near tie: do not rely on this file")


@pytest.fixture(scope="module")
def packaged_adapter(tmp_path_factory):
    """The packaged adapter, exported alone."""
    out = tmp_path_factory.mktemp("adapter") / "lora.gguf"
    return export_adapter(PACKAGED, out)


def test_the_packaged_adapter_alone_is_for_the_packaged_file(packaged_adapter):
    done = packaged_adapter
    text = done.modelfile.read_text()
    assert f"FROM {packaged_file()}\nADAPTER ./lora.gguf\n" in text
    assert not done.lacks  # its chat template is translated
    asked = ASKED[:1] + ASKED[7:10]
    with_adapter = compare_with_torch(done.checkpoint, packaged_file(), done.path, asked)
    without = compare_with_torch(done.checkpoint, packaged_file(), asked=asked)
    assert with_adapter.equal >= 2  # weights of four bits: llama.cpp rounds activations, too
    assert without.equal == 0
