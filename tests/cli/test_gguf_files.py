"""Chats with a GGUF file: one that goes on, and files of every kind that cannot answer."""

import itertools
import re
import shutil
import struct
import time
from pathlib import Path

import gguf
import pytest
from conftest import gistchat

from gistchat.chat.session import ChatSession
from gistchat.errors import UserError
from gistchat.models import cache
from gistchat.models.checkpoint_folder import PACKAGED
from gistchat.models.export import write_checkpoint_gguf
from gistchat.models.gguf_header import MAGIC, MOST_KEYS, MOST_VALUES, is_gguf, read_header
from gistchat.models.gguf_lora import write_lora_gguf


@pytest.fixture(scope="module")
def model_file(checkpoint, tmp_path_factory):
    """The tiny run, exported."""
    path = tmp_path_factory.mktemp("exported") / "tiny.gguf"
    write_checkpoint_gguf(checkpoint, path, "f16")
    return path


def chat(path, cwd, *options, stdin="Hello\n"):
    return gistchat("chat", str(path), "--seed", "1", "--max-reply-tokens", "6", *options, cwd=cwd, stdin=stdin)


def refusal(path, cwd):
    """The one line that a chat with a file ends with."""
    start = time.monotonic()
    done = chat(path, cwd)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert time.monotonic() - start < 20
    [line] = done.stderr.strip().splitlines()
    assert "Traceback" not in line
    assert str(path) in line or Path(path).name in line
    return line


# ---- chats


def test_a_file_answers_as_the_run_that_it_was_exported_from(model_file, run_folder, tmp_path):
    said = chat(model_file, tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stdout == chat(run_folder, tmp_path).stdout != ""


def test_a_chat_with_a_file_goes_on_from_anywhere(model_file, tmp_path, state):
    first = chat(model_file, tmp_path, stdin="My dog is called Biscuit.\n/pin Biscuit is a dog.\n")
    assert first.returncode == 0, first.stderr
    (tmp_path / "elsewhere").mkdir()
    done = gistchat("chat", "--continue", cwd=tmp_path / "elsewhere", stdin="/turns 9\n/gist\nAnd now?\n")
    assert done.returncode == 0, done.stderr
    assert "My dog is called Biscuit." in done.stdout
    assert "Biscuit is a dog." in done.stdout


def test_a_chat_goes_on_with_another_file(model_file, run_folder, tmp_path):
    other = shutil.copy(model_file, tmp_path / "other.gguf")
    session = ChatSession.open(run_folder, ["chat.max_reply_tokens=4"], seed=1)
    session.say("My dog is called Biscuit.")
    session.pin("Biscuit is a dog.")
    turns = list(session.turns)
    session.switch_model(other)
    assert (session.turns, session.model.source) == (turns, tmp_path / "other.gguf")
    assert [line.text for line in session.memory.pinned] == ["Biscuit is a dog."]
    session.say("And now?")
    with pytest.raises(UserError, match=r"no\.gguf: no such file"):
        session.switch_model(tmp_path / "no.gguf")
    assert session.model.source == tmp_path / "other.gguf"
    done = chat(run_folder, tmp_path, stdin="Hello\n/model other.gguf\nAnd now?\n/model no.gguf\n/turns 9\n")
    assert done.returncode == 0, done.stderr
    assert "no.gguf: no such file" in done.stdout + done.stderr
    assert "And now?" in done.stdout


# ---- files that cannot answer


def written(path, architecture="llama", **values):
    """A GGUF file with these values, and a vocabulary, but without weights."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "<|end|>"])
    writer.add_token_types([1, 1, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(2)
    for name, value in values.items():
        name = name.replace("__", ".")
        add = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32}[type(value)]
        add(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


TEMPLATE = {"tokenizer__chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"}


def test_what_is_no_model_that_can_answer_is_said_in_one_line(tmp_path):
    cases = {
        r"an embedding model \(bert\), which writes no text": written(tmp_path / "bert.gguf", "bert"),
        r"an embedding model \(qwen3\)": written(tmp_path / "pool.gguf", "qwen3", qwen3__pooling_type=1, **TEMPLATE),
        r"an embedding model \(gemma\)": written(
            tmp_path / "both.gguf", "gemma", gemma__attention__causal=False, **TEMPLATE
        ),
        r"a model of another kind \(t5\)": written(tmp_path / "t5.gguf", "t5", **TEMPLATE),
        r"the part of a model that reads images": written(tmp_path / "eyes.gguf", "clip", general__type="mmproj"),
        r"no chat template in this file": written(tmp_path / "base.gguf"),
        r"llama\.cpp cannot open it \(unknown model architecture: 'nonsense'\)": written(
            tmp_path / "new.gguf", "nonsense", **TEMPLATE
        ),
        r"llama\.cpp cannot open it \(": written(tmp_path / "empty-model.gguf", "llama", **TEMPLATE),
        r"gistchat\.recipe in this file is damaged": written(tmp_path / "r.gguf", gistchat__recipe="{", **TEMPLATE),
    }
    for message, path in cases.items():
        line = refusal(path, tmp_path)
        assert re.search(message, line), line


def test_an_adapter_alone_is_no_model(tmp_path):
    write_lora_gguf(PACKAGED, tmp_path / "adapter.gguf")
    assert "an adapter without its model, which cannot answer alone" in refusal(tmp_path / "adapter.gguf", tmp_path)


def test_damaged_files_are_refused(model_file, tmp_path):
    data = model_file.read_bytes()
    for name, damaged in {
        "middle": data[: len(data) * 2 // 3],
        "header": data[:30_000],
        "first": data[:20],
        "magic": data[:4],
        "html": b"<!DOCTYPE html><html><body>404: not found</body></html>",
        "empty": b"",
        "zeros": bytes(5000),
        "version": MAGIC + struct.pack("<I", 77) + data[8:],
        "big-endian": MAGIC + struct.pack(">I", 3) + data[8:],
    }.items():
        (tmp_path / f"{name}.gguf").write_bytes(damaged)
        line = refusal(tmp_path / f"{name}.gguf", tmp_path)
        assert "damaged" in line or "cut off" in line or "not within the file bounds" in line, line
    (tmp_path / "folder.gguf").mkdir()
    refusal(tmp_path / "folder.gguf", tmp_path)
    refusal(tmp_path / "nowhere.gguf", tmp_path)


def test_weights_of_another_model_than_the_header_says_are_refused(model_file, tmp_path):
    """The header of one model, the tensors of another: as many layers as there are not, or of another width."""
    data = bytearray(model_file.read_bytes())
    for name, value in (("gpt2.block_count", 3), ("gpt2.embedding_length", 96), ("gpt2.context_length", 0)):
        changed, key = bytearray(data), name.encode()
        place = changed.index(key) + len(key)
        [kind] = struct.unpack_from("<I", changed, place)
        assert kind == gguf.GGUFValueType.UINT32
        struct.pack_into("<I", changed, place + 4, value)
        (tmp_path / "mixed.gguf").write_bytes(changed)
        refusal(tmp_path / "mixed.gguf", tmp_path)


def test_sizes_at_which_llama_cpp_would_end_the_process_are_refused(model_file, tmp_path):
    for name, value in itertools.product(("context_length", "block_count"), (0, 2**31, 2**32 - 1)):
        line = refusal(written(tmp_path / "x.gguf", **{f"llama__{name}": value}, **TEMPLATE), tmp_path)
        assert f"damaged, as llama.{name} is {value}" in line


def head(count, *pairs, version=3, tensors=0):
    return MAGIC + struct.pack("<IQQ", version, tensors, count) + b"".join(pairs)


def name_of(text, length=None):
    return struct.pack("<Q", len(text) if length is None else length) + text


def listed(kind, count, data=b""):
    return name_of(b"x") + struct.pack("<IIQ", 9, kind, count) + data


HOSTILE = {
    "keys": head(2**63),
    "many keys": head(MOST_KEYS + 1, *[name_of(b"a") + struct.pack("<IB", 0, 1)] * (MOST_KEYS + 1)),
    "long name": head(1, name_of(b"a", 2**63)),
    "longer name": head(1, name_of(b"a", 2**64 - 1)),
    "long text": head(1, name_of(b"a") + struct.pack("<I", 8) + name_of(b"b", 2**40)),
    "huge list": head(1, listed(4, 2**62)),
    "list past the end": head(1, listed(4, MOST_VALUES)),
    "list of texts": head(1, listed(8, 2**50)),
    "texts past the end": head(1, listed(8, MOST_VALUES, name_of(b"") * 1000)),
    "list of lists": head(1, listed(9, 1, struct.pack("<IQ", 9, 1) * 1000)),
    "unknown kind": head(1, name_of(b"a") + struct.pack("<I", 99)),
    "unknown kind in a list": head(1, listed(99, 1)),
    "NUL": head(1, name_of(b"general.architecture") + struct.pack("<I", 8) + name_of(b"lla\0ma\x1b[2J")),
    "not UTF-8": head(1, name_of(b"general.architecture") + struct.pack("<I", 8) + name_of(b"\xff\xfe")),
    "wrong kind": head(1, name_of(b"general.architecture") + struct.pack("<II", 4, 7)),
    "template of numbers": head(1, name_of(b"tokenizer.chat_template") + struct.pack("<II", 4, 7)),
    "tensors": head(0, tensors=2**60),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.gguf"
    path.write_bytes(HOSTILE[kind] + bytes(64))
    line = refusal(path, tmp_path)
    assert not set("\x1b\0") & set(line)


def test_a_header_of_wrong_kinds_of_values_is_refused(tmp_path):
    """Values under known names, but of other kinds than they should be."""
    for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "llama.context_length", "gistchat.recipe"):
        number = name_of(name.encode()) + struct.pack("<II", 4, 7)
        architecture = name_of(b"general.architecture") + struct.pack("<I", 8) + name_of(b"llama")
        template = name_of(b"tokenizer.chat_template") + struct.pack("<I", 8) + name_of(b"{{ messages }}")
        (tmp_path / "x.gguf").write_bytes(head(3, architecture, template, number) + bytes(64))
        refusal(tmp_path / "x.gguf", tmp_path)


def test_a_header_says_what_package_gguf_says(tmp_path):
    path = written(tmp_path / "x.gguf", x__yes=True, x__number=2**31, x__empty="", x__text="Zürich 🙂", **TEMPLATE)
    header = read_header(path)
    fields = gguf.GGUFReader(path).fields
    assert header.values.keys() == {name for name in fields if not name.startswith("GGUF.")}
    for name, value in header.values.items():
        assert (list(value) if isinstance(value, tuple) else value) == fields[name].contents(), name
    assert (header.architecture, header.tokens, header.token_id("eos")) == ("llama", ["a", "b", "<|end|>"], 2)
    assert (header.ids_of_type(3), header.token_id("bos"), header.context_length) == ([2], None, 0)


def test_files_are_told_by_their_beginning_too(model_file, tmp_path):
    (tmp_path / "noname").write_bytes(model_file.read_bytes()[:100])
    (tmp_path / "text").write_text("GGU")
    assert is_gguf(tmp_path / "noname")
    assert not is_gguf(tmp_path / "text")
    assert not is_gguf(tmp_path / "nowhere")
    assert is_gguf(tmp_path / "nowhere.gguf")
    assert not is_gguf(tmp_path)


# ---- what is kept of a run


@pytest.mark.parametrize("damage", ["cut", "changed", "no record"])
def test_a_kept_file_that_is_damaged_is_made_anew(run_folder, tmp_path, monkeypatch, damage, capsys):
    monkeypatch.setattr(cache.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    first = ChatSession.open(run_folder, ["chat.max_reply_tokens=6"], seed=1)
    assert "converting the model for llama.cpp, once" in capsys.readouterr().err
    said = first.say("Hello")
    [kept] = (tmp_path / "cache").rglob("model.gguf")
    data = bytearray(kept.read_bytes())
    again = ChatSession.open(run_folder, ["chat.max_reply_tokens=6"], seed=1)
    assert capsys.readouterr().err == ""
    assert again.say("Hello") == said
    if damage == "no record":
        (kept.parent / cache.RECORD).unlink()
    else:
        data[-1000:-900] = bytes(100)
        kept.write_bytes(data[:-5000] if damage == "cut" else data)
    mended = ChatSession.open(run_folder, ["chat.max_reply_tokens=6"], seed=1)
    said_of_it = capsys.readouterr().err
    assert ("model.gguf is missing or damaged; making it anew" in said_of_it) == (damage != "no record")
    assert "converting the model for llama.cpp, once" in said_of_it
    assert mended.say("Hello") == said
