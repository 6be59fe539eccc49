"""Checkpoints of the paper's code and of its parent: imported, they answer as they did; what is none is refused."""

import json
import os
import pickle
import zipfile

import numpy
import pytest
import torch
from conftest import gistchat
from transformers import GPT2Config, GPT2LMHeadModel

from gistchat.chat.session import ChatSession
from gistchat.context.types import Context, GistLine, RoleTurn
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.scratch import gpt2_tokenizer

BOS, SP1, SP2, END = 50257, 50258, 50259, 50256


@pytest.fixture(scope="module")
def old_model():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50260, n_embd=64, n_layer=2, n_head=1, n_positions=512)).eval()
    with torch.no_grad():
        for parameter in model.transformer.h.parameters():
            parameter.mul_(12)  # else it says the token that it just read, for ever
    return model


@pytest.fixture
def ckpt(old_model, tmp_path):
    """As the paper's code saved it with transformers 4.12: causal masks among the weights, the loss from numpy."""
    weights = dict(old_model.state_dict())
    for layer in range(2):
        weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 512, 512, dtype=torch.uint8)
        weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    optimizer = torch.optim.AdamW(old_model.parameters(), lr=2e-5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    path = tmp_path / "best_ckpt_epoch=3_valid_loss=2.6631.ckpt"
    saved = {
        "model_state_dict": weights,
        "optim_state_dict": optimizer.state_dict(),
        "sched_state_dict": schedule.state_dict(),
        "loss": numpy.mean([2.6, 2.7262]),
        "epoch": 3,
    }
    torch.save(saved, path)
    return path


def as_numpy_1_wrote_it(path):
    """The same file with the name that numpy's numbers had when the old files were written."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            if name.endswith("data.pkl"):
                assert data.count(b"numpy._core.multiarray") == 1
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            new.writestr(name, data)


def old_reply(model, ids, types, length):
    """The old way: everything again for each token, the reply under the type given."""
    ids, types, reply = list(ids), list(types), []
    for _ in range(length):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0, -1]
        token = int(logits.argmax())
        if token in (END, BOS, SP1, SP2):
            break
        reply.append(token)
        ids.append(token)
        types.append(types[-1])
    return reply


def test_a_ckpt_answers_in_the_papers_layout_as_it_did(ckpt, old_model, tmp_path):
    as_numpy_1_wrote_it(ckpt)
    done = gistchat("import-ckpt", str(ckpt), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "best_ckpt_epoch=3_valid_loss=2.6631"
    loaded = load_checkpoint(run)
    assert loaded.format.name == "paper"
    assert loaded.metadata["imported"] == {"source": ckpt.name, "loss": pytest.approx(2.6631), "epoch": 3.0}
    context = Context((GistLine("", "They talk of dogs.", 0),), (), RoleTurn("user", "How is yours?", 2), 2, 9)
    encode = gpt2_tokenizer().encode
    summary, last = encode("They talk of dogs."), encode("How is yours?")
    prompt = loaded.format.encode(context)
    assert prompt.ids == [BOS, SP1, *summary, SP2, *last, SP1]
    types = [SP1] * (2 + len(summary)) + [SP2] * (1 + len(last)) + [SP1]
    assert prompt.types == types
    session = ChatSession.open(
        tmp_path / "runs" / "best_ckpt_epoch=3_valid_loss=2.6631", ["chat.temperature=0", "chat.max_reply_tokens=12"]
    )
    said = "".join(session.reply("How is yours?"))
    expected = old_reply(old_model, [BOS, SP1, SP2, *last, SP1], [SP1, SP1, *[SP2] * (1 + len(last)), SP1], 12)
    assert len(expected) > 3
    assert said == gpt2_tokenizer().decode(expected).strip()


def test_a_model_of_the_parent_answers_with_its_own_tokens(old_model, tmp_path):
    """A folder as transformers 4 wrote it; the speakers are told by the order of the additional special tokens."""
    folder = tmp_path / "parent"
    old_model.save_pretrained(folder)
    tokenizer = gpt2_tokenizer()
    (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges))
    names = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "additional_special_tokens": ["<one>", "<two>"]}
    (folder / "special_tokens_map.json").write_text(json.dumps({**names, "unk_token": "<|endoftext|>"}))
    (folder / "added_tokens.json").write_text(json.dumps({"<s>": BOS, "<one>": SP1, "<two>": SP2}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **names}))
    done = gistchat("import-ckpt", "parent", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = ChatSession.open(tmp_path / "run", ["chat.temperature=0", "chat.max_reply_tokens=8"])
    first, second = tokenizer.encode("Hello there."), tokenizer.encode("And you?")
    list(session.reply("Hello there."))
    answer = session.turns[-1].text
    list(session.reply("And you?"))
    history = tokenizer.encode(answer)
    ids = [BOS, SP1, *first, SP2, *history, SP1, *second, SP2]
    types = [SP1] * (2 + len(first)) + [SP2] * (1 + len(history)) + [SP1] * (1 + len(second)) + [SP2]
    expected = tokenizer.decode(old_reply(old_model, ids, types, 8))
    assert session.turns[-1].text == expected.rstrip("\ufffd").strip()  # a character that is not whole is not shown


class Malicious:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_file_that_holds_code_is_refused_and_not_run(ckpt, tmp_path):
    saved = torch.load(ckpt, weights_only=False)
    torch.save({**saved, "epoch": Malicious()}, tmp_path / "bad.ckpt")
    (tmp_path / "worse.ckpt").write_bytes(pickle.dumps({"model_state_dict": Malicious()}))
    for name in ("bad.ckpt", "worse.ckpt"):
        done = gistchat("import-ckpt", name, "--out", "run", cwd=tmp_path)
        assert done.returncode == 1
        assert "refused, as it is damaged or holds code besides weights" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


def test_what_is_no_such_checkpoint_is_one_clear_error(ckpt, old_model, tmp_path):
    (tmp_path / "torn.ckpt").write_bytes(ckpt.read_bytes()[:5000])
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    weights = {name: tensor for name, tensor in old_model.state_dict().items() if "h.1.mlp" not in name}
    torch.save({"model_state_dict": weights}, tmp_path / "part.ckpt")
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=50257, n_embd=64, n_layer=1, n_head=1))
    torch.save({"model_state_dict": plain.state_dict()}, tmp_path / "plain.ckpt")
    for name, message in {
        "torn.ckpt": "cannot be read",
        "other.ckpt": "no model_state_dict of a GPT-2",
        "part.ckpt": "not the weights of a GPT-2",
        "plain.ckpt": "has no embeddings for <bos>",
        "./nowhere": "no such file or folder",
        "nowhere.ckpt": "no such file or folder",
    }.items():
        done = gistchat("import-ckpt", name, "--out", "run", cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr, (name, done.stderr)
        assert done.stderr.count("\n") == 1
