"""Models of many families: they train, load and answer the same with and without what they keep, or are refused."""

import copy
from types import SimpleNamespace

import gguf
import psutil
import pytest
import torch
from families import ATTENTION, PADDED, RECURRENT, REFUSED, TOKENS, WITH_PICTURES, byte_tokenizer, config_of
from tokenizers import AddedToken
from transformers import AutoConfig, AutoModelForCausalLM

from gistchat.context.types import ASSISTANT, USER, Context, RoleTurn
from gistchat.engines.engine import ConversationCache, stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.evaluate.costs import cache_bytes_per_token
from gistchat.models import base as base_module
from gistchat.models.architecture import causal_fault
from gistchat.models.base import Base, embedding_layers, load_model, load_tokenizer, model_limit, require_causal
from gistchat.models.checkpoint import load_checkpoint, save_checkpoint
from gistchat.models.export import export, export_gguf
from gistchat.models.gguf_file import write_gguf
from gistchat.models.key_values import empty_cache, is_divisible
from gistchat.models.likelihood import IGNORED, ScoredReply, collate, label_losses, score_replies
from gistchat.pipeline import open_workspace, run_evaluate, run_train
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import Recipe
from gistchat.train.train import prepare_model

FAMILIES = [*ATTENTION, *RECURRENT, *WITH_PICTURES]
DETAILS = {"name": "tiny", "chat_template": "", "end_of_turn": None}
GREEDY = Sampling(max_tokens=8)


def save_base(folder, config, tokenizer=None, dtype=torch.float32) -> Base:
    """A folder with a random model whose logits are far apart, and output biases that count."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(3)
            elif name.endswith("lm_head.bias"):
                weight.normal_()
    model.to(dtype).save_pretrained(folder)
    (tokenizer or byte_tokenizer()).save_pretrained(folder)
    return Base(str(folder), "tiny")


def recipe_of(base: Base, method="lora") -> Recipe:
    model = {"name": base.source, "init": "pretrained", "format": "speaker-tokens"}
    return Recipe(name="tiny").change(model=model, train={"method": method})


def context(*texts: str) -> Context:
    roles = [USER if (len(texts) - i) % 2 else ASSISTANT for i in range(len(texts))]
    turns = [RoleTurn(role, text, i) for i, (role, text) in enumerate(zip(roles, texts, strict=True))]
    return Context((), tuple(turns[:-1]), turns[-1], 0, 0)


TALKS = [context("hello there"), context("how are you", "fine, and you?", "good"), context("x")]
LATER = context("how are you", "fine, and you?", "good", "well then " * 3, "and what now?")


def train_two_steps(base: Base, folder, method="lora"):
    """Train, and save; the model as it was before that, in evaluation mode."""
    prompt_format, recipe = make_format("speaker-tokens", load_tokenizer(base)), recipe_of(base, method)
    model = prepare_model(load_model(base, all_trained=method == "full"), recipe, prompt_format).train()
    rows = [ScoredReply.of(prompt_format.encode(talk), prompt_format.encode_reply("yes I do")) for talk in TALKS]
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(2):
        label_losses(model, collate(rows, prompt_format)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    save_checkpoint(folder, model, prompt_format, recipe, {})
    return model.eval()


@torch.no_grad()
def logits(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request, tmp_path_factory):
    """A base, LoRA that was trained on it and not saved, and the checkpoint."""
    folder = tmp_path_factory.mktemp("family")
    base = save_base(folder / "base", config_of(request.param))
    adapted = train_two_steps(base, folder / "checkpoint")
    loaded = load_checkpoint(folder / "checkpoint")
    return SimpleNamespace(base=base, adapted=adapted, folder=folder / "checkpoint", loaded=loaded, name=request.param)


def test_a_checkpoint_computes_as_the_trained_model_and_the_same_at_every_load(trained):
    ids = [*trained.loaded.format.encode(LATER).ids, *trained.loaded.format.encode_text("so it is")]
    own, again = logits(trained.loaded.model, ids), logits(load_checkpoint(trained.folder).model, ids)
    assert torch.equal(own, again)
    before = logits(trained.adapted, ids)
    torch.testing.assert_close(own, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))
    assert not torch.allclose(own, logits(load_model(trained.base), ids), atol=1e-3)


def test_the_rows_of_control_tokens_are_trained_in_all_embeddings(trained):
    untrained, control = embedding_layers(load_model(trained.base)), trained.loaded.format.control_ids
    assert len(untrained) == (1 if trained.adapted.config.get_text_config().tie_word_embeddings else 2)
    for name, layer in embedding_layers(trained.loaded.model).items():
        changed = (layer.weight != untrained[name].weight).any(1).nonzero().flatten().tolist()
        assert changed == list(control)


def plain_reply(model, prompt_format, talk) -> list[int]:
    """A greedy reply, for each token of which everything is read again."""
    prompt = prompt_format.encode(talk).ids
    ids = list(prompt)
    while len(ids) < len(prompt) + GREEDY.max_tokens:
        ids.append(int(logits(model, ids)[-1].argmax()))
    return ids[len(prompt) :]


def test_replies_are_the_same_batched_alone_streamed_and_read_anew(trained):
    model, prompt_format = trained.loaded.model, copy.copy(trained.loaded.format)
    prompt_format.stop_ids = [PADDED - 1]  # so that replies go on
    with torch.no_grad():
        model.get_output_embeddings().weight[PADDED - 1] = 0
    engine = TorchEngine(model, prompt_format)
    prompts = [prompt_format.encode(talk) for talk in TALKS]
    batched = engine.generate_prompts(prompts, GREEDY, range(3))
    assert [reply.ids for reply in batched] == [plain_reply(model, prompt_format, talk) for talk in TALKS]
    cache = ConversationCache()
    for talk in (*TALKS[1:], LATER):  # the cache holds the conversation before it
        reply = PartialReply(prompt_format, GREEDY)
        list(engine.stream_prompt(prompt_format.encode(talk), GREEDY, cache, reply))
        assert reply.ids == plain_reply(model, prompt_format, talk)


def test_what_was_read_is_kept_where_a_model_attends_and_else_read_again(trained):
    checkpoint, cache = trained.loaded, ConversationCache()
    engine = TorchEngine(checkpoint.model, checkpoint.format)
    for talk in (TALKS[1], LATER):
        list(stream_reply(engine, talk, GREEDY, cache))
    shared = len(checkpoint.format.encode(TALKS[1])) - 1
    whole = len(checkpoint.format.encode(LATER))
    assert cache.prefilled <= whole - shared if trained.name not in RECURRENT and "3.5" not in trained.name else whole
    assert is_divisible(empty_cache(checkpoint.model)) == (cache.prefilled < whole)
    kept = cache_bytes_per_token(checkpoint.model)
    assert kept > 0 or trained.name in ("Mamba", "Mamba 2", "Falcon-Mamba")


def test_the_likelihood_of_replies_is_that_of_one_plain_pass_each(trained):
    checkpoint = trained.loaded
    prompt = checkpoint.format.encode(LATER)
    texts = ("yes", "no, never", "maybe so", "yes")
    rows = [ScoredReply.of(prompt, checkpoint.format.encode_reply(text)) for text in texts]
    for row, nats in zip(rows, score_replies(checkpoint.model, checkpoint.format, rows), strict=True):
        likelihoods = logits(checkpoint.model, row.ids).log_softmax(-1)
        places = [i for i, label in enumerate(row.labels) if label != IGNORED]
        assert nats == pytest.approx(-sum(float(likelihoods[i - 1, row.labels[i]]) for i in places), rel=1e-4)


@pytest.mark.parametrize("family", ["Phi-2", "GPT-J", "Gemma 3", "Llama"])
def test_control_tokens_behind_the_last_row_and_full_training(tmp_path, family):
    base = save_base(tmp_path / "base", config_of(family, TOKENS))
    for method in ("lora", "full"):
        model = train_two_steps(base, tmp_path / method, method)
        loaded, again = load_checkpoint(tmp_path / method), load_checkpoint(tmp_path / method)
        ids = loaded.format.encode(LATER).ids
        assert torch.equal(logits(loaded.model, ids), logits(again.model, ids))
        torch.testing.assert_close(logits(loaded.model, ids), logits(model, ids), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", ["Gemma 3", "Mamba"])
def test_a_whole_run(tiny_recipe, tmp_path, family):
    base = save_base(tmp_path / "base", config_of(family))
    model = {"name": base.source, "init": "pretrained", "format": "speaker-tokens"}
    recipe = tiny_recipe.change(model=model, train={"method": "lora", "max_tokens": 240})
    recipe = recipe.change(evaluate={"items": 2, "reply_items": 2, "rank_items": 0, "probe_items": 0})
    workspace = open_workspace(recipe, tmp_path / "run")
    run_train(workspace)
    run_evaluate(workspace)
    assert (tmp_path / "run" / "metrics.json").is_file()
    checkpoint = load_checkpoint(tmp_path / "run")
    ids = checkpoint.format.encode(LATER).ids
    exported = load_checkpoint(export(tmp_path / "run", tmp_path / "out"))
    assert torch.equal(logits(exported.model, ids), logits(checkpoint.model, ids))
    with pytest.raises(UserError, match="cannot be written as GGUF, only llama, qwen2, qwen3, gpt2"):
        export_gguf(tmp_path / "run", tmp_path / "x.gguf")


def test_lora_leaves_out_what_text_does_not_pass(tmp_path):
    base = save_base(tmp_path / "base", config_of("Gemma 3"))
    model = train_two_steps(base, tmp_path / "lora")
    adapted = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert any("q_proj" in name for name in adapted)
    assert not any("vision" in name or "projector" in name for name in adapted)


# --- refused


@pytest.mark.parametrize(("kind", "named"), REFUSED.items())
def test_a_model_of_another_kind_is_refused_in_one_line_that_names_its_class(kind, named):
    fault = causal_fault(AutoConfig.for_model(kind))
    assert named in fault
    assert repr(kind) in fault
    assert "\n" not in fault


def test_it_is_refused_before_anything_else_is_done(tiny_recipe, tmp_path):
    AutoConfig.for_model("bert").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"")
    base = Base(str(tmp_path / "base"), "bert")
    with pytest.raises(UserError, match="AutoModelForMaskedLM"):
        open_workspace(tiny_recipe.change(model={"name": base.source, "init": "pretrained"}), tmp_path / "run")
    assert not (tmp_path / "data").exists()
    with pytest.raises(UserError, match="AutoModelForMaskedLM"):
        load_model(base)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_others_are_taken_by_their_configuration_alone(family):
    assert causal_fault(config_of(family)) == ""


# --- how much is read


ROPE = {"rope_theta": 1e4, "factor": 4.0}
LIMITS = {
    "positions": ("llama", {"max_position_embeddings": 256}, 256),
    "GPT-2": ("gpt2", {"n_positions": 128}, 128),
    "MPT": ("mpt", {"max_seq_len": 300}, 300),
    "BLOOM": ("bloom", {}, 2048),
    "BLOOM that says": ("bloom", {"seq_length": 512}, 512),
    "Mamba": ("mamba", {}, 2048),
    "Qwen 2.5 with YaRN": (
        "qwen2",
        {"rope_parameters": {**ROPE, "rope_type": "yarn", "original_max_position_embeddings": 256}}
        | {"max_position_embeddings": 256},
        1024,
    ),
    "GPT-OSS": (
        "llama",
        {"rope_parameters": {**ROPE, "rope_type": "yarn", "original_max_position_embeddings": 256}}
        | {"max_position_embeddings": 1024},
        1024,
    ),
    "dynamic": ("llama", {"max_position_embeddings": 256, "rope_parameters": {**ROPE, "rope_type": "dynamic"}}, 1024),
    "Vicuna 16k": (
        "llama",
        {"max_position_embeddings": 256, "max_sequence_length": 1024}
        | {"rope_parameters": {**ROPE, "rope_type": "linear"}},
        1024,
    ),
    "LLaMA 1": ("llama", {"max_position_embeddings": 256, "max_sequence_length": 2048}, 256),
    "Llama 3.2": (
        "llama",
        {"rope_parameters": {**ROPE, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}}
        | {"max_position_embeddings": 512},
        512,
    ),
    "Mistral": ("mistral", {"max_position_embeddings": 512, "sliding_window": 16}, 512),
}


@pytest.mark.parametrize(("kind", "settings", "limit"), LIMITS.values(), ids=LIMITS)
def test_the_longest_input(kind, settings, limit):
    assert model_limit(AutoConfig.for_model(kind, **copy.deepcopy(settings))) == limit


@pytest.mark.parametrize("family", WITH_PICTURES)
def test_the_longest_input_of_a_model_for_pictures_is_its_texts(family):
    assert model_limit(config_of(family)) == 256


# --- precision and memory


@pytest.fixture
def large(monkeypatch):
    """Every model counts as large."""
    monkeypatch.setattr(base_module, "LARGE", 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["Llama 3.2", "Phi-2", "Gemma 3", "Qwen 3.5 text"])
def test_a_large_model_stays_in_16_bits_and_its_adapter_is_trained_in_32(tmp_path, large, family, dtype):
    base = save_base(tmp_path / "base", config_of(family), dtype=dtype)
    model = train_two_steps(base, tmp_path / "lora")
    kinds = {weight.requires_grad: weight.dtype for weight in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    loaded = load_checkpoint(tmp_path / "lora")
    assert loaded.model.dtype == torch.bfloat16
    ids = loaded.format.encode(LATER).ids
    assert torch.equal(logits(loaded.model, ids), logits(load_checkpoint(tmp_path / "lora").model, ids))
    assert len(plain_reply(loaded.model, loaded.format, LATER)) == GREEDY.max_tokens
    TorchEngine(loaded.model, loaded.format).generate_prompts([loaded.format.encode(LATER)], GREEDY, [0])
    near = logits(model, ids)
    torch.testing.assert_close(logits(loaded.model, ids), near, rtol=0.1, atol=0.1 * float(near.abs().max()))
    assert load_model(base, all_trained=True).dtype == torch.float32


def test_a_large_model_in_32_bits_and_a_small_one_in_16_are_computed_with_in_32(tmp_path, monkeypatch):
    half = save_base(tmp_path / "half", config_of("Llama"), dtype=torch.bfloat16)
    assert load_model(half).dtype == torch.float32
    monkeypatch.setattr(base_module, "LARGE", 0)
    assert load_model(save_base(tmp_path / "whole", config_of("Llama"))).dtype == torch.float32


def test_a_model_for_which_there_is_too_little_memory_is_not_loaded(tmp_path, monkeypatch):
    base = save_base(tmp_path / "base", config_of("Llama"))
    (tmp_path / "base" / "model.safetensors").write_bytes(b"never read")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=100_000))
    with pytest.raises(UserError, match=r"base: the weights take 0\.\d GB of memory, and 0\.0 GB are free") as caught:
        load_model(base)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"training all weights takes .* train\.method = lora takes a part"):
        load_model(base, all_trained=True)


# --- tokenizers with more tokens than the embeddings have rows


def with_tokens(*names, special=True):
    return byte_tokenizer(lambda tokenizer: tokenizer.add_tokens([AddedToken(name, special=special) for name in names]))


def test_a_control_token_without_a_row_is_never_used(tmp_path, capsys):
    base = save_base(tmp_path / "base", config_of("Gemma 3 text", TOKENS), with_tokens("<image_soft_token>"))
    tokenizer = load_tokenizer(base)
    assert "the model has no rows for <image_soft_token>; no text becomes these tokens" in capsys.readouterr().err
    tokenizer.chat_template = "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    prompt_format = make_format("chat-template", tokenizer)
    model = load_model(base)
    before = len(model.get_input_embeddings().weight)
    base_module.fit_embeddings(model, prompt_format)
    assert len(model.get_input_embeddings().weight) == before == TOKENS
    assert max(prompt_format.encode(context("see <image_soft_token>")).ids) < TOKENS


@pytest.mark.parametrize("method", ["lora", "full"])
def test_control_tokens_come_behind_it_and_a_checkpoint_loads(tmp_path, method):
    base = save_base(tmp_path / "base", config_of("Gemma 3 text", TOKENS), with_tokens("<image_soft_token>"))
    model = train_two_steps(base, tmp_path / "run", method)
    loaded = load_checkpoint(tmp_path / "run")
    assert list(loaded.format.control_ids) == [TOKENS + 1 + i for i in range(4)]
    ids = loaded.format.encode(LATER).ids
    torch.testing.assert_close(logits(loaded.model, ids), logits(model, ids), rtol=1e-4, atol=1e-3)
    weight = loaded.model.get_output_embeddings().weight
    if method == "lora":
        torch.testing.assert_close(weight[TOKENS], weight[:TOKENS].mean(0))


def test_gguf_has_no_place_for_it(tmp_path):
    base = save_base(tmp_path / "base", config_of("Llama 3.2", TOKENS), with_tokens("<image_soft_token>"))
    write_gguf(tmp_path / "x.gguf", load_model(base), load_tokenizer(base), "f32", DETAILS)
    tokens = gguf.GGUFReader(tmp_path / "x.gguf").fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == TOKENS
    assert "<image_soft_token>" not in tokens


TOO_MANY = {
    "words": lambda: with_tokens("more", "words", special=False),
    "words and control": lambda: with_tokens("more", special=False),
    "its end": lambda: byte_tokenizer(lambda tokenizer: tokenizer.add_special_tokens({"eos_token": "<end>"})),
}


@pytest.mark.parametrize("make", TOO_MANY.values(), ids=TOO_MANY)
def test_a_tokenizer_of_another_model_is_refused(tmp_path, make):
    base = save_base(tmp_path / "base", config_of("Llama", TOKENS), make())
    with pytest.raises(UserError, match=rf"the tokenizer has 25\d tokens, the model knows {TOKENS}: not a pair"):
        load_tokenizer(base)


def test_a_template_that_writes_a_token_without_a_row_is_refused(tmp_path):
    base = save_base(tmp_path / "base", config_of("Llama", TOKENS), with_tokens("<turn>"))
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{% for message in messages %}<turn>{{ message.role }}{{ message.content }}{% endfor %}"
    with pytest.raises(UserError, match=r"'chat-template' writes <turn>, for which the model has no row"):
        base_module.fit_embeddings(load_model(base), make_format("chat-template", tokenizer))


def test_a_base_that_can_answer_is_taken(tmp_path):
    require_causal(save_base(tmp_path / "base", config_of("Llama", PADDED)))
