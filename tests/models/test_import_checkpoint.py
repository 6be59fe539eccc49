"""Checkpoints of the paper's code and of its parent: imported, they answer as they did; what is none is refused."""

import argparse
import json
import os
import pickle
import re
import resource
import time
import zipfile

import numpy
import pytest
import torch
from conftest import gistchat
from transformers import GPT2Config, GPT2LMHeadModel

from gistchat.chat.session import ChatSession
from gistchat.context.types import Context, GistLine, RoleTurn
from gistchat.errors import UserError
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.import_paper import KNOWN_HEADS, import_checkpoint
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
    done = gistchat("import-ckpt", str(ckpt), "--heads", "1", cwd=tmp_path)
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
        "other.ckpt": "no weights of a GPT-2",
        "part.ckpt": "(missing: transformer.h.1.mlp.c_fc.bias, transformer.h.1.mlp.c_fc.weight, ",
        "plain.ckpt": "its embeddings have 50,257 rows, not the 50,260 of the paper's code",
        "./nowhere": "no such file or folder",
        "nowhere.ckpt": "no such file or folder",
    }.items():
        heads = ["--heads", "1"] if name == "part.ckpt" else []
        done = gistchat("import-ckpt", name, "--out", "run", *heads, cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr, (name, done.stderr)
        assert done.stderr.count("\n") == 1


def claims_more(path, ckpt, before, after):
    """A copy whose pickle says something else."""
    with zipfile.ZipFile(ckpt) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(before, after, 1) if name.endswith("data.pkl") else data)


def wide(value=0.0, **weights):
    """The two weights that tell the shape of a model, of a hundred thousand million numbers that are one."""
    spread = torch.full((1,), value).expand(50260, 2_000_000)
    return {"transformer.wte.weight": spread, "transformer.wpe.weight": spread[:16]} | weights


def write_odd_files(folder):
    """Files that are no checkpoints, by what is said of each."""
    small = {"transformer.wte.weight": torch.ones(4, 4), "transformer.wpe.weight": torch.ones(4, 4)}
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "text.ckpt").write_text("hello\nworld\n" * 100)
    (folder / "letter.ckpt").write_text("x")
    (folder / "zeros.ckpt").write_bytes(bytes(5000))
    (folder / "deep.ckpt").write_bytes(b"\x80\x02" + b"]" * 100_000 + b".")
    with zipfile.ZipFile(folder / "other.ckpt", "w") as archive:
        archive.writestr("a.txt", "x")
    with zipfile.ZipFile(folder / "nothing.ckpt", "w"):
        pass
    torch.save(small, folder / "small.ckpt")
    with (
        zipfile.ZipFile(folder / "small.ckpt") as old,
        zipfile.ZipFile(folder / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    claims_more(folder / "numbers.ckpt", folder / "small.ckpt", b"K\x10", b"J" + (1_500_000_000).to_bytes(4, "little"))
    claims_more(folder / "shape.ckpt", folder / "small.ckpt", b"K\x04K\x04\x86", b"J\0\0\0\x40J\0\0\0\x40\x86")
    torch.save(small, folder / "old.ckpt", _use_new_zipfile_serialization=False)
    old = (folder / "old.ckpt").read_bytes()
    (folder / "old numbers.ckpt").write_bytes(old.replace(b"K\x10", b"\x8a\x06" + (10**13).to_bytes(6, "little")))
    (folder / "old torn.ckpt").write_bytes(old[:-20])
    saved_as(folder / "spread.ckpt", wide())
    saved_as(
        folder / "layers.ckpt",
        {**small, "transformer.wte.weight": torch.ones(50260, 4), "transformer.h.99999.ln_1.bias": torch.ones(4)},
    )
    saved_as(folder / "digits.ckpt", {**small, f"transformer.h.{'9' * 6000}.ln_1.bias": torch.ones(4)})
    saved_as(folder / "meta.ckpt", wide(**{"transformer.wte.weight": torch.empty(50260, 9, device="meta")}))
    sparse = torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (50260, 10**7), check_invariants=True)
    saved_as(folder / "sparse.ckpt", {**small, "transformer.wte.weight": sparse})
    saved_as(folder / "head.ckpt", {**small, "lm_head.weight": torch.ones(1).expand(10**6, 10**6)})
    saved_as(folder / "keys.ckpt", {1: torch.ones(3), ("a",): torch.ones(3)})
    return {
        "empty": "an empty file",
        "text": "cannot be read as a checkpoint (damaged, or of another kind)",
        "letter": "damaged or holds code",
        "zeros": "cannot be read as a checkpoint",
        "deep": "cannot be read as a checkpoint",
        "other": "cannot be read as a checkpoint",
        "nothing": "damaged or holds code",
        "small": "its embeddings have 4 rows",
        "packed": "a zip archive with packed parts",
        "numbers": "cannot be read as a checkpoint (record size",
        "shape": "cannot be read as a checkpoint",
        "old": "its embeddings have 4 rows",
        "old numbers": "cannot be read as a checkpoint",
        "old torn": "cannot be read as a checkpoint",
        "spread": "its tensors claim 402,208,000,000 bytes, and the file has ",
        "layers": "not the weights of a GPT-2 (100,000 layers and 4 tensors)",
        "digits": "not the weights of a GPT-2",
        "meta": "tensors without plain values, as no GPT-2 has (",
        "sparse": "tensors without plain values, as no GPT-2 has (",
        "head": "of another shape than the embedding",
        "keys": "no weights of a GPT-2",
    }


def test_files_that_are_no_checkpoints_or_claim_what_they_do_not_have(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    for name, message in write_odd_files(tmp_path).items():
        with pytest.raises(UserError, match=re.escape(f"{name}.ckpt: ") + ".*" + re.escape(message)) as error:
            import_checkpoint(str(tmp_path / f"{name}.ckpt"), tmp_path / "run", heads=1)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
    assert not (tmp_path / "run").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB
    assert time.monotonic() - start < 100


def test_a_model_of_more_layers_than_the_file_has_takes_no_memory(tmp_path):
    weights = shaped(width=240).state_dict() | {f"transformer.h.{i}.ln_1.bias": torch.ones(240) for i in range(400)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"missing: .* more"):  # of 1.1 GB
        import_checkpoint(saved_as(tmp_path / "a.ckpt", weights), tmp_path / "run", heads=3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_settings_and_numbers_of_any_kind_are_looked_through(tmp_path):
    itself = {"n_head": 3}
    itself["config"] = itself
    path = saved_as(tmp_path / "a.ckpt", shaped().state_dict(), config=itself, loss=10**500, epoch=2)
    checkpoint = import_checkpoint(path, tmp_path / "run")
    loaded = load_checkpoint(checkpoint)
    assert loaded.model.config.n_head == 3
    assert loaded.metadata["imported"] == {"source": "a.ckpt", "epoch": 2.0}
    path = saved_as(tmp_path / "b.ckpt", shaped().state_dict(), config={"n_head": 10**500})
    with pytest.raises(UserError, match="nothing in it says how many attention heads"):
        import_checkpoint(path, tmp_path / "other")


def shaped(width=12, layers=1, heads=3, rows=50260) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_embd=width, n_layer=layers, n_head=heads, n_positions=16))


def saved_as(path, weights, name="model_state_dict", **others):
    torch.save({name: weights, **others} if name else weights, path)
    return str(path)


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor([[5, 6, SP1, 7, 8, 9]])).logits


@pytest.mark.parametrize(
    ("stated", "option"),
    [
        ({"config": {"n_head": 3}}, 0),
        ({"hyper_parameters": {"lr": 1e-4, "num_attention_heads": 3}}, 0),
        ({"hyper_parameters": {"config": {"n_layer": 1, "n_head": 3}}}, 3),
        ({"args": argparse.Namespace(num_heads=3, gpu="0")}, 0),
        ({}, 3),
    ],
)
def test_heads_are_those_of_the_training(tmp_path, stated, option):
    model = shaped()
    path = saved_as(tmp_path / "a.ckpt", model.state_dict(), **stated)
    loaded = load_checkpoint(import_checkpoint(path, tmp_path / "run", heads=option)).model
    assert loaded.config.n_head == 3
    torch.testing.assert_close(logits(loaded), logits(model))


@pytest.mark.parametrize(("layers", "width", "heads"), [(12, 768, 12), (24, 1024, 16), (36, 1280, 20), (48, 1600, 25)])
def test_heads_of_gpt2s_own_sizes_are_known(layers, width, heads):
    assert KNOWN_HEADS[layers, width] == heads


def test_heads_that_nothing_tells_are_asked_for(tmp_path):
    path = saved_as(tmp_path / "a.ckpt", shaped(width=96).state_dict())
    done = gistchat("import-ckpt", path, "--out", "run", cwd=tmp_path)
    assert "how many attention heads it has (layers: 1, width: 96); give --heads N" in done.stderr
    assert done.stderr.count("\n") == 1
    done = gistchat("import-ckpt", path, "--out", "run", "--heads", "7", cwd=tmp_path)
    assert "7 attention heads cannot share a width of 96" in done.stderr
    assert not (tmp_path / "run").exists()
    path = saved_as(tmp_path / "b.ckpt", shaped().state_dict(), config={"n_head": 3})
    with pytest.raises(UserError, match=r"--heads 4: .*b\.ckpt itself states 3"):
        import_checkpoint(path, tmp_path / "run", heads=4)
    path = saved_as(tmp_path / "c.ckpt", shaped().state_dict(), config={"n_head": -3})
    with pytest.raises(UserError, match="-3 attention heads cannot share"):
        import_checkpoint(path, tmp_path / "run")
    with pytest.raises(UserError, match=r"--heads is for a \.ckpt file"):
        import_checkpoint(str(tmp_path), tmp_path / "run", heads=4)


@pytest.mark.parametrize(
    "stated",
    [
        {"config": {"n_head": 3}, "encoder": {"num_heads": 6}},
        {"teacher": argparse.Namespace(n_head=6), "args": argparse.Namespace(n_head=3)},
        {"hyper_parameters": {"num_attention_heads": 6, "decoder": {"n_head": 3}}},
    ],
)
def test_heads_that_are_stated_in_two_ways_are_asked_for(tmp_path, stated):
    model = shaped()
    path = saved_as(tmp_path / "a.ckpt", model.state_dict(), **stated)
    with pytest.raises(UserError, match="it states 3 and 6 attention heads; give --heads N"):
        import_checkpoint(path, tmp_path / "run")
    with pytest.raises(UserError, match=r"--heads 4: .* itself states 3 and 6"):
        import_checkpoint(path, tmp_path / "run", heads=4)
    loaded = load_checkpoint(import_checkpoint(path, tmp_path / "run", heads=3)).model
    torch.testing.assert_close(logits(loaded), logits(model))


@pytest.mark.parametrize("rows", [51203, 50257, 50261, 50304])
def test_another_vocabulary_is_refused(tmp_path, rows):
    path = saved_as(tmp_path / "a.ckpt", shaped(rows=rows).state_dict())
    with pytest.raises(UserError, match=f"{rows:,} rows, not the 50,260 of the paper's code"):
        import_checkpoint(path, tmp_path / "run", heads=3)


@pytest.mark.parametrize("rows", [50257, 50304])
def test_a_folder_whose_tokenizer_lacks_the_papers_tokens_is_refused(tmp_path, rows):
    shaped(rows=rows).save_pretrained(tmp_path / "gpt2")
    gpt2_tokenizer().save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UserError, match="its tokenizer has no <bos>, <sp1>, <sp2>"):
        import_checkpoint(str(tmp_path / "gpt2"), tmp_path / "run")


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("", ""),
        ("module.", "model_state_dict"),
        ("model.", "state_dict"),
        ("_orig_mod.", "model_state_dict"),
        ("module._orig_mod.", ""),
        ("model.module.", "state_dict"),
        ("lightning.net.model.", "state_dict"),
    ],
)
def test_prefixes_of_wrappers_are_removed(tmp_path, prefix, name):
    model = shaped()
    weights = {prefix + key: tensor for key, tensor in model.state_dict().items()}
    path = saved_as(tmp_path / "a.ckpt", weights, name)
    loaded = load_checkpoint(import_checkpoint(path, tmp_path / "run", heads=3)).model
    torch.testing.assert_close(logits(loaded), logits(model))


@pytest.mark.parametrize("prefix", ["", "module.", "gpt2."])
def test_a_gpt2_without_output_layer_is_read_too(tmp_path, prefix):
    model = shaped()
    weights = {prefix + key: tensor for key, tensor in model.transformer.state_dict().items()}
    loaded = load_checkpoint(import_checkpoint(saved_as(tmp_path / "a.ckpt", weights), tmp_path / "run", heads=3)).model
    torch.testing.assert_close(logits(loaded), logits(model))


def test_an_output_layer_of_its_own_is_kept(tmp_path):
    model = shaped()
    weights = {**model.state_dict(), "lm_head.weight": torch.randn(50260, 12)}
    loaded = load_checkpoint(import_checkpoint(saved_as(tmp_path / "a.ckpt", weights), tmp_path / "run", heads=3)).model
    assert torch.equal(loaded.lm_head.weight, weights["lm_head.weight"])
    assert torch.equal(loaded.transformer.wte.weight, weights["transformer.wte.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"module.transformer.h.0.ln_1.bias": None}, r"missing: transformer\.h\.0\.ln_1\.bias\)"),
        ({"module.transformer.h.2.ln_1.bias": torch.zeros(12)}, r"missing: transformer\.h\.1\.attn.* and \d+ more"),
        ({"module.classifier.weight": torch.zeros(2, 12)}, r"unknown: classifier\.weight\)"),
        ({"loss.weight": torch.zeros(2)}, r"unknown: loss\.weight\)"),
        ({"module.transformer.ln_f.weight": torch.zeros(3)}, r"of another shape: transformer\.ln_f\.weight\)"),
        ({"module.transformer.ln_f.weight": torch.full((12,), torch.nan)}, r"not finite: transformer\.ln_f\.weight\)"),
        ({"module.transformer.ln_f.bias": torch.tensor([0.0] * 11 + [torch.inf])}, "not finite"),
        ({"module.transformer.ln_f.bias": torch.zeros(12, dtype=torch.int8)}, "of whole numbers"),
        ({"module.transformer.wpe.weight": None}, "not the weights of a GPT-2"),
        ({"module.transformer.h.first.bias": torch.zeros(3)}, r"transformer\.h\.first\.bias"),
        ({"second.transformer.wte.weight": torch.zeros(3, 3)}, "the weights of 2 models"),
    ],
)
def test_missing_and_odd_tensors_are_named(tmp_path, changes, message):
    weights = {"module." + key: tensor for key, tensor in shaped().state_dict().items()} | changes
    path = saved_as(tmp_path / "a.ckpt", {key: tensor for key, tensor in weights.items() if tensor is not None})
    with pytest.raises(UserError, match=message) as error:
        import_checkpoint(path, tmp_path / "run", heads=3)
    assert "\n" not in str(error.value)
