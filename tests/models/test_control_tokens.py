"""Rows of a prompt format's own tokens, in models whose embeddings end with the tokenizer and in padded ones."""

import pytest
import torch
from conftest import train_tiny
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from gistchat.errors import UserError
from gistchat.models.base import Base, embedding_layers, fit_embeddings, load_model, load_tokenizer
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.export import export
from gistchat.pipeline import untuned
from gistchat.prompts.format import add_tokens
from gistchat.prompts.formats import make_format
from gistchat.train.train import prepare_model

TOKENS = 257  # GPT-2's bytes and its end token
PADDED = 320  # a multiple of 64, as in Qwen, Phi and forks of GPT-2
CONTROL = [TOKENS, TOKENS + 1, TOKENS + 2, TOKENS + 3]
NARROW = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_model(kind: str, rows: int):
    """Random weights; phi has an output layer of its own, with a bias."""
    torch.manual_seed(0)
    if kind.startswith("gpt2"):
        shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 512}
        return GPT2LMHeadModel(GPT2Config(vocab_size=rows, tie_word_embeddings=kind == "gpt2", **shape))
    if kind == "phi":
        model = PhiForCausalLM(PhiConfig(vocab_size=rows, **NARROW))
        torch.nn.init.normal_(model.lm_head.bias)
        return model
    return LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=kind == "llama", **NARROW))


def save_base(folder, kind: str, rows: int, *names: str, end: int = TOKENS - 1):
    """A model folder whose tokenizer has these tokens already."""
    vocabulary = {token: i for i, token in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = GPT2Tokenizer(vocab={**vocabulary, "<|endoftext|>": end}, merges=[])
    if names:
        add_tokens(tokenizer, names)
    tokenizer.save_pretrained(folder)
    tiny_model(kind, rows).save_pretrained(folder)
    return Base(str(folder), kind)


def weights_of(model) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in embedding_layers(model).items()}


def changed_rows(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    return (before != after).any(1).nonzero().flatten().tolist()


KINDS = ["gpt2", "gpt2-untied", "llama", "llama-untied", "phi"]


@pytest.mark.parametrize("rows", [TOKENS, PADDED, TOKENS + 2])  # the last: two of four have a row
@pytest.mark.parametrize("kind", KINDS)
def test_new_tokens_get_rows_of_their_own_wherever_they_lie(tmp_path, kind, rows):
    base = save_base(tmp_path, kind, rows)
    [first, second] = [load_model(base) for _ in range(2)]
    before = weights_of(first)
    prompt_format = make_format("speaker-tokens", load_tokenizer(base))
    assert prompt_format.control_ids == CONTROL
    torch.manual_seed(1)
    fit_embeddings(first, prompt_format)
    torch.manual_seed(2)
    fit_embeddings(second, prompt_format)
    assert len(before) == (1 if kind in ("gpt2", "llama") else 2)
    for name, weight in weights_of(first).items():
        assert torch.equal(weight, second.get_parameter(f"{name}.weight"))  # whatever the seed
        assert len(weight) == max(rows, TOKENS + 4)
        new = weight[CONTROL]
        assert torch.pdist(new).min() > 0.3 * torch.pdist(weight[:50]).mean()
        assert 0.5 < new.std() / weight[:TOKENS].std() < 2
        assert torch.equal(weight[:TOKENS], before[name][:TOKENS])
        assert torch.equal(weight[TOKENS + 4 :], before[name][TOKENS + 4 :])  # padding stays
    if kind == "phi":
        bias = first.lm_head.bias
        torch.testing.assert_close(bias[CONTROL], bias[:TOKENS].mean().expand(4))


def test_tokens_that_the_base_has_keep_their_rows(tmp_path):
    """Such as those of an exported checkpoint, or `<bos>` of many models."""
    base = save_base(tmp_path, "llama", PADDED, "<bos>", "<sum>")
    model = load_model(base)
    before = weights_of(model)
    prompt_format = make_format("speaker-tokens", load_tokenizer(base))
    fit_embeddings(model, prompt_format)
    for name, weight in weights_of(model).items():
        assert changed_rows(before[name], weight) == CONTROL[2:]


def test_a_chat_template_has_no_tokens_of_its_own(tmp_path):
    base = save_base(tmp_path, "llama", PADDED)
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }}{{ message.content }}{% endfor %}"
    prompt_format = make_format("auto", tokenizer)
    assert prompt_format.name == "chat-template"
    model = load_model(base)
    before = weights_of(model)
    fit_embeddings(model, prompt_format)
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(model).items())


@pytest.mark.parametrize("names", [(), ("<bos>", "<sum>", "<sp1>", "<sp2>")], ids=["new", "known"])
@pytest.mark.parametrize("rows", [TOKENS + 4, PADDED])
@pytest.mark.parametrize("kind", KINDS)
def test_lora_trains_their_rows_and_no_others(tiny_recipe, tmp_path, kind, rows, names):
    save_base(tmp_path / "base", kind, rows, *names)
    model = {"name": str(tmp_path / "base"), "init": "pretrained", "format": "speaker-tokens"}
    recipe = tiny_recipe.change(model=model, train={"method": "lora", "steps": 3, "learning_rate": 1e-2})
    workspace = train_tiny(recipe, tmp_path / "run")
    before = weights_of(untuned(workspace))
    trained = load_checkpoint(tmp_path / "run")
    after = weights_of(trained.model)
    assert set(after) == set(before)
    for name in before:
        assert changed_rows(before[name], after[name]) == CONTROL
    stored = load_file(tmp_path / "run" / "checkpoint" / "adapter_model.safetensors")
    assert max(len(tensor) for tensor in stored.values()) < TOKENS  # no copy of the embeddings
    export(tmp_path / "run", tmp_path / "out")
    ids = torch.tensor([[*CONTROL, 5, 7, TOKENS - 1]])
    with torch.no_grad():
        exported = load_checkpoint(tmp_path / "out").model(ids).logits
        torch.testing.assert_close(exported, trained.model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [TOKENS, PADDED])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_computes_the_same_before_lora_has_learned(tiny_recipe, tmp_path, kind, rows):
    base = save_base(tmp_path, kind, rows)
    prompt_format = make_format("speaker-tokens", load_tokenizer(base))
    recipe = tiny_recipe.change(train={"method": "lora"})
    plain, adapted = load_model(base), prepare_model(load_model(base), recipe, prompt_format)
    fit_embeddings(plain, prompt_format)
    ids = torch.tensor([[*CONTROL, 5, 7, TOKENS - 1]])
    with torch.no_grad():
        torch.testing.assert_close(adapted.eval()(ids).logits, plain(ids).logits)


@pytest.mark.parametrize("rows", [TOKENS, PADDED])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama-untied"])
def test_full_training_starts_from_the_same_rows(tiny_recipe, tmp_path, kind, rows):
    base = save_base(tmp_path, kind, rows)
    prompt_format = make_format("speaker-tokens", load_tokenizer(base))
    plain = load_model(base)
    fit_embeddings(plain, prompt_format)
    full = prepare_model(load_model(base), tiny_recipe.change(train={"method": "full"}), prompt_format)
    assert all(torch.equal(weight, weights_of(full)[name]) for name, weight in weights_of(plain).items())
    assert all(parameter.requires_grad for parameter in full.parameters())


@pytest.mark.parametrize("rows", [301, PADDED])
def test_a_vocabulary_may_have_gaps(tmp_path, rows):
    base = save_base(tmp_path, "llama", rows, end=300)
    model = load_model(base)
    before = weights_of(model)
    prompt_format = make_format("speaker-tokens", load_tokenizer(base))
    fit_embeddings(model, prompt_format)
    assert prompt_format.control_ids == [301, 302, 303, 304]
    for name, weight in weights_of(model).items():
        assert len(weight) == max(rows, 305)
        assert changed_rows(before[name][:rows], weight[:rows]) == [id for id in prompt_format.control_ids if id < rows]
    with pytest.raises(UserError, match="the tokenizer has 301 tokens, the model knows 300: not a pair"):
        load_tokenizer(save_base(tmp_path / "short", "llama", 300, end=300))
