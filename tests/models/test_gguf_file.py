"""GGUF files: llama.cpp cuts text as the tokenizer does, and computes what torch does."""

import contextlib
import http.client
import json
import re
from urllib.parse import urlsplit

import gguf
import numpy as np
import peft
import pytest
import torch
import xllamacpp
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn
from gistchat.errors import UserError
from gistchat.models import ggml_quantize
from gistchat.models.gguf_file import NORMALIZER, QUANTS, write_gguf
from gistchat.models.gguf_lora import LoraBase, lora_fault, read_tensors, write_lora_gguf
from gistchat.models.gguf_vocabulary import SPLITS
from gistchat.prompts.portable import end_of_turn, jinja_template, ollama_template
from gistchat.prompts.speaker_tokens import SpeakerTokens

TEXTS = (
    "Did you see the dog?",
    "  two spaces,\n\n\tand 1234567 things: I'LL say it's 3½!  ",
    "Zürich, 東京 и Москва 🙂🙂 – don't",
    "<bos> typed <|end|> and <sp1>",
    "an <added>token here",
    "\r\n \n x",
)
QWEN, LLAMA3 = SPLITS


def split_by(regex):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
PRE = {
    "gpt-2": BYTES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTES]),
    "qwen2": split_by(QWEN),
    "llama-bpe": split_by(LLAMA3),
}


def make_tokenizer(pre="gpt-2", **changes):
    """A byte-level BPE with a few merges."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = BYTES
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, "say 1234567 things, the dog, it's I'll Zürich"] * 3, trainer)
    tokenizer.pre_tokenizer = PRE[pre]  # now: with merges across its bounds it matters where a text is split
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.add_tokens([AddedToken("<added>", special=False)])
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


SIZES = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
ROPE = {"rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
KINDS = {
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama with biases": lambda: LlamaConfig(**SIZES, attention_bias=True),
    "llama 3": lambda: LlamaConfig(**SIZES, rope_parameters={**ROPE, "original_max_position_embeddings": 64}),
    "llama 3.2": lambda: LlamaConfig(
        **SIZES, tie_word_embeddings=True, rope_parameters={**ROPE, "original_max_position_embeddings": 64}
    ),
    "qwen2": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=32),
    "gpt2": lambda: GPT2Config(n_embd=64, n_head=4, n_layer=3, n_positions=256, initializer_range=0.3),
}
PRE_OF = {"llama": "smollm", "llama 3": "llama-bpe", "llama 3.2": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2"}


def make_model(config, rows):
    torch.manual_seed(0)
    config.vocab_size = rows
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:  # norms and biases that would be missed if they were lost
                weight.add_(torch.rand_like(weight) / 4, alpha=1 if "norm" in name or "ln" in name else 2)
    return model


def details(prompt_format=None):
    template = jinja_template(prompt_format) if prompt_format else ""
    return {"name": "tiny", "chat_template": template, "end_of_turn": prompt_format and end_of_turn(prompt_format)}


class Llama:
    """llama.cpp with a file."""

    def __init__(self, path, adapter=None):
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(path), 256, 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = params.ui = False
        params.verbosity = -1
        params.flash_attn_type = xllamacpp.llama_flash_attn_type(0)
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(0)  # 32-bit floats, as torch has them
        if adapter:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
        self.server = xllamacpp.Server(params)
        self.post("/completion", prompt=[0], n_predict=1)  # one that is closed before its loop began never ends

    def post(self, path, **values):
        connection = http.client.HTTPConnection(urlsplit(self.server.listening_address).netloc, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(values), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())

    def tokenize(self, text, control=False):
        return self.post("/tokenize", content=text, add_special=False, parse_special=control)["tokens"]

    def continuation(self, ids, count=8):
        """Greedy ids, and those with their log-likelihoods that finish a character."""
        fixed = {"temperature": 0, "samplers": ["temperature"], "n_probs": 1, "ignore_eos": False}
        answer = self.post("/completion", prompt=ids, n_predict=count, return_tokens=True, **fixed)
        return answer["tokens"], [
            (token["id"], token["logprob"]) for token in answer.get("completion_probabilities", [])
        ]


@torch.inference_mode()
def by_torch(model, ids, count=8):
    """The same by torch."""
    ids, likelihoods = list(ids), []
    for _ in range(count):
        row = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        ids.append(int(row.argmax()))
        likelihoods.append(float(row.max()))
    return ids[-count:], likelihoods


def assert_same(llama, model, ids, tolerance, count=8):
    found, scores = llama.continuation(ids, count)
    expected, likelihoods = by_torch(model, ids, count)
    assert found == expected
    assert scores
    rest = iter(zip(expected, likelihoods, strict=True))
    for token, score in scores:
        assert score == pytest.approx(next(own for number, own in rest if number == token), abs=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_reads_and_computes_as_transformers(tmp_path, kind):
    prompt_format = SpeakerTokens(make_tokenizer(PRE_OF.get(kind, "gpt-2")))
    tokenizer = prompt_format.tokenizer
    model = make_model(KINDS[kind](), len(tokenizer) + 3)  # more rows than tokens
    write_gguf(tmp_path / "x.gguf", model, tokenizer, "f32", details(prompt_format))
    llama = Llama(tmp_path / "x.gguf")
    for text in TEXTS:
        assert llama.tokenize(text) == prompt_format.encode_text(text), text
        assert llama.tokenize(text, control=True) == tokenizer(text, add_special_tokens=False)["input_ids"], text
    with torch.no_grad():
        model.get_output_embeddings().weight[tokenizer.eos_token_id] = 0  # so that replies go on
        model.get_output_embeddings().weight[prompt_format.other] = 0
    write_gguf(tmp_path / "y.gguf", model, tokenizer, "f32", details(prompt_format))
    llama = Llama(tmp_path / "y.gguf")
    # llama.cpp looks GELU up in a table of 16-bit floats.
    for text in TEXTS[:3]:
        assert_same(llama, model, prompt_format.encode_text(text), 0.03 if kind == "gpt2" else 2e-3)


def test_text_that_is_not_in_form_nfc_is_told_of(tmp_path):
    tokenizer = make_tokenizer("qwen2")
    write_gguf(tmp_path / "x.gguf", make_model(KINDS["qwen2"](), len(tokenizer)), tokenizer, "f32", details())
    assert read(tmp_path / "x.gguf").fields[NORMALIZER].contents() == "NFC"
    decomposed = "Zu\u0308rich"
    assert Llama(tmp_path / "x.gguf").tokenize(decomposed) != tokenizer(decomposed)["input_ids"]  # hence the key


def read(path):
    return gguf.GGUFReader(path)


def kinds_of(path):
    return {tensor.name: tensor.tensor_type.name for tensor in read(path).tensors}


def test_the_vocabulary_has_types_and_names_for_all_rows(tmp_path):
    prompt_format = SpeakerTokens(make_tokenizer())
    rows = len(prompt_format.tokenizer) + 2
    model = make_model(KINDS["gpt2"](), rows)
    write_gguf(tmp_path / "x.gguf", model, prompt_format.tokenizer, "f16", details(prompt_format))
    fields = read(tmp_path / "x.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    control, user_defined, unused = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.UNUSED
    assert len(tokens) == rows
    assert tokens[-2:] == [f"[PAD{rows - 2}]", f"[PAD{rows - 1}]"]
    assert types[-2:] == [unused, unused]
    assert [types[i] for i in prompt_format.control_ids] == [control] * 4
    assert types[tokens.index("<added>")] == user_defined
    assert fields["tokenizer.ggml.eos_token_id"].contents() == prompt_format.tokenizer.eos_token_id
    assert fields["tokenizer.ggml.eot_token_id"].contents() == prompt_format.other
    assert not fields["tokenizer.ggml.add_bos_token"].contents()
    kinds = kinds_of(tmp_path / "x.gguf")
    assert "output.weight" not in kinds  # tied
    assert {kinds["position_embd.weight"], kinds["blk.0.attn_norm.weight"], kinds["blk.0.attn_qkv.bias"]} == {"F32"}
    assert {kinds["token_embd.weight"], kinds["blk.0.attn_qkv.weight"]} == {"F16"}


LARGER = {**SIZES, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8}


@pytest.mark.parametrize("quant", QUANTS)
def test_every_quant_computes_nearly_the_same(tmp_path, quant):
    tokenizer = make_tokenizer("smollm")
    config = LlamaConfig(**{**LARGER, "initializer_range": 0.05})
    model = make_model(config, len(tokenizer))
    write_gguf(tmp_path / "x.gguf", model, tokenizer, quant, details())
    llama = Llama(tmp_path / "x.gguf")
    ids = tokenizer(TEXTS[1])["input_ids"]
    _, [(found, score)] = llama.continuation(ids, 1)
    row = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert score == pytest.approx(
        float(row[found].detach()), abs={"f32": 1e-3, "f16": 0.01, "q8_0": 0.05}.get(quant, 0.4)
    )
    kinds = kinds_of(tmp_path / "x.gguf")
    if quant == "q4_k_m":
        more = {name for name, kind in kinds.items() if kind == "Q6_K"}
        layers = (0, 3, 6, 7)  # the first and last eighth of eight, and every third between
        assert more == {"output.weight", *(f"blk.{i}.{part}.weight" for i in layers for part in ("attn_v", "ffn_down"))}
        assert kinds["token_embd.weight"] == kinds["blk.1.attn_v.weight"] == kinds["blk.0.attn_q.weight"] == "Q4_K"


@pytest.mark.parametrize(
    ("width", "plain", "output"), [(256, "Q4_K", "Q6_K"), (64, "Q5_0", "Q8_0"), (80, "F16", "F16")]
)
def test_rows_that_are_no_whole_blocks_fall_back(tmp_path, width, plain, output):
    tokenizer = make_tokenizer()
    config = GPT2Config(n_embd=width, n_head=2, n_layer=2, n_positions=64)
    write_gguf(tmp_path / "x.gguf", make_model(config, len(tokenizer)), tokenizer, "q4_k_m", details())
    kinds = kinds_of(tmp_path / "x.gguf")
    assert kinds["blk.0.attn_output.weight"] == plain
    assert kinds["token_embd.weight"] == output
    assert kinds["blk.0.attn_qkv.weight"] == {"Q4_K": "Q5_K", "Q5_0": "Q5_1"}.get(plain, plain)
    assert Llama(tmp_path / "x.gguf").continuation([1, 2, 3], 2)[0]


def test_a_library_without_the_function_is_told_of(monkeypatch):
    monkeypatch.setattr(ggml_quantize, "NAME", "ggml_no_such_function")
    ggml_quantize._function.cache_clear()
    with pytest.raises(UserError, match=r"this version of xllamacpp cannot quantise .*; use q8_0 or f16"):
        ggml_quantize.quantize(np.zeros((2, 256), np.float32), gguf.GGMLQuantizationType.Q4_K)
    ggml_quantize._function.cache_clear()


def with_rope(**rope):
    return LlamaConfig(**SIZES, rope_parameters={"rope_theta": 1000.0, **rope})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: MistralConfig(**SIZES), "of type 'mistral'"),
        (lambda: LlamaConfig(**SIZES, hidden_act="gelu"), "hidden_act is 'gelu'"),
        (
            lambda: GPT2Config(n_embd=64, n_head=4, n_layer=1, activation_function="relu"),
            "activation_function is 'relu'",
        ),
        (lambda: Qwen2Config(**SIZES, use_sliding_window=True, max_window_layers=1), "use_sliding_window is True"),
        (lambda: with_rope(rope_type="dynamic", factor=2.0), "rotary embeddings are of type 'dynamic'"),
        (lambda: with_rope(rope_type="yarn", factor=4.0), "rotary embeddings are of type 'yarn'"),
        (
            lambda: Qwen2Config(**SIZES, rope_parameters={"rope_theta": 1e3, "rope_type": "linear", "factor": 2.0}),
            "linear",
        ),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path, config, message):
    tokenizer = make_tokenizer()
    with pytest.raises(UserError, match=message) as caught:
        write_gguf(tmp_path / "x.gguf", make_model(config(), len(tokenizer)), tokenizer, "f16", details())
    assert "\n" not in str(caught.value)
    assert "export to a folder instead" in str(caught.value)


def unigram():
    tokenizer = Tokenizer(models.Unigram([("a", -1.0), ("<|end|>", -2.0)], unk_id=0))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def with_added(**flags):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<mask>", **flags)])
    return tokenizer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unigram, "splits text by rules|Unigram"),
        (lambda: make_tokenizer(pre_tokenizer=split_by(r"\w+")), "rules that are not known"),
        (
            lambda: make_tokenizer(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
            "rules that are not known",
        ),
        (lambda: make_tokenizer(pre_tokenizer=pre_tokenizers.Metaspace()), "rules that are not known"),
        (lambda: make_tokenizer(normalizer=normalizers.Lowercase()), "normalizes text"),
        (lambda: make_tokenizer(normalizer=normalizers.NFC()), "normalizes text"),
        (lambda: make_tokenizer(pre_tokenizer=PRE["llama-bpe"]), "ignore_merges"),
        (lambda: with_added(lstrip=True), "'<mask>' has lstrip"),
    ],
)
def test_a_tokenizer_that_may_differ_is_refused(tmp_path, make, message):
    tokenizer = make()
    model = make_model(KINDS["gpt2"](), len(tokenizer))
    with pytest.raises(UserError, match=message) as caught:
        write_gguf(tmp_path / "x.gguf", model, tokenizer, "f16", details())
    assert "\n" not in str(caught.value)


# --- layouts for other programs


def context(gist, turns):
    roles = [USER if (len(turns) - i) % 2 else ASSISTANT for i in range(len(turns))]
    window = [RoleTurn(role, text, i) for i, (role, text) in enumerate(zip(roles, turns, strict=True))]
    lines = [GistLine(USER, gist, 0)] if gist else []
    return Context(tuple(lines), tuple(window[:-1]), window[-1], 0, 0)


def messages_of(prompt_format, gist, turns):
    made = context(gist, turns)
    names = {USER: "user", ASSISTANT: "assistant"}
    shown = [{"role": names[turn.role], "content": turn.text} for turn in (*made.turns, made.last)]
    return [{"role": "system", "content": f"User: {gist}"}, *shown] if gist else shown


CONVERSATIONS = [("", ["Hi!"]), ("I have a dog.", ["Hi!"]), ("A dog.", ["  one", "two\n", "three"]), ("", ["a", "b"])]


@pytest.mark.parametrize(("gist", "turns"), CONVERSATIONS)
def test_the_jinja_template_renders_the_layout(tmp_path, gist, turns):
    prompt_format = SpeakerTokens(make_tokenizer())
    expected = prompt_format.encode(context(gist, turns)).ids
    messages = messages_of(prompt_format, gist, turns)
    tokenizer = prompt_format.tokenizer
    tokenizer.chat_template = jinja_template(prompt_format)
    assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == expected
    # and in llama.cpp, which has a Jinja of its own
    model = make_model(KINDS["gpt2"](), len(tokenizer))
    write_gguf(tmp_path / "x.gguf", model, tokenizer, "f16", details(prompt_format))
    llama = Llama(tmp_path / "x.gguf")
    prompt = llama.post("/apply-template", messages=messages, add_generation_prompt=True)["prompt"]
    assert llama.tokenize(prompt, control=True) == expected


def render_go(template, messages):
    """The few words of Go's templates that are used, in Jinja's."""
    words = {
        r"\{\{ if \.System \}\}": "{% if system %}",
        r"\{\{ \.System \}\}": "{{ system }}",
        r"\{\{ range \.Messages \}\}": "{% for one in messages %}",
        r"\{\{ if eq \.Role \"(\w+)\" \}\}": r"{% if one.role == '\1' %}",
        r"\{\{ else if eq \.Role \"(\w+)\" \}\}": r"{% elif one.role == '\1' %}",
        r"\{\{ \.(Role|Content) \}\}": lambda match: "{{ one." + match[1].lower() + " }}",
    }
    for pattern, jinja in words.items():
        template = re.sub(pattern, jinja, template)
    opened = []

    def close(match):
        if match[1] != "end":
            opened.append(match[1])
            return match[0]
        return "{% end" + opened.pop() + " %}"

    template = re.sub(r"\{[{%] (for|if|end)\b[^}]*\}\}?", close, template)
    from jinja2 import Environment

    system = "\n\n".join(one["content"] for one in messages if one["role"] == "system")
    environment = Environment(keep_trailing_newline=True)
    return environment.from_string(template).render(messages=messages, system=system)


@pytest.mark.parametrize(("gist", "turns"), CONVERSATIONS)
def test_ollamas_template_renders_the_layout(gist, turns):
    prompt_format = SpeakerTokens(make_tokenizer())
    text = render_go(ollama_template(prompt_format), messages_of(prompt_format, gist, turns))
    ids = prompt_format.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == prompt_format.encode(context(gist, turns)).ids


# --- adapters


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A tiny Llama, its file, and folders of random adapters for it, each with the merged model."""
    folder = tmp_path_factory.mktemp("lora")
    tokenizer = make_tokenizer()
    config = LlamaConfig(**SIZES)
    write_gguf(folder / "base.gguf", make_model(config, len(tokenizer)), tokenizer, "f32", details())

    def make(name, dtype=torch.float32, **options):
        model = make_model(LlamaConfig(**SIZES), len(tokenizer))
        lora = peft.LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM", **options)
        model = peft.get_peft_model(model, lora)
        with torch.no_grad():
            for part, weight in model.named_parameters():
                if "lora_B" in part:
                    weight.normal_(0, 0.3).copy_(weight.to(dtype))
                elif "lora_A" in part:
                    weight.copy_(weight.to(dtype))
        model.save_pretrained(folder / name)
        path = folder / name / "adapter_model.safetensors"
        save_file({key: tensor.to(dtype) for key, tensor in load_file(path).items()}, path)
        return model.merge_and_unload().eval()

    return folder, make


BASE = LoraBase("llama", layers=3, heads=4, kv_heads=2, interleaved=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [("plain", {}), ("rslora", {"use_rslora": True}), ("bfloat16", {"dtype": torch.bfloat16})],
)
def test_an_adapter_alone_computes_as_the_merged_model(adapted, name, options):
    folder, make = adapted
    merged = make(name, **options)
    assert lora_fault(folder / name) == ""
    write_lora_gguf(folder / name, folder / f"{name}.gguf", BASE)
    ids = [5, 300, 17, 42, 99]
    assert_same(Llama(folder / "base.gguf", folder / f"{name}.gguf"), merged, ids, 3e-3)
    assert by_torch(merged, ids) != Llama(folder / "base.gguf").continuation(ids)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"use_dora": True}, "it has use_dora"),
        ({"trainable_token_indices": [1, 2]}, "it has trainable_token_indices"),
        ({"modules_to_save": ["lm_head"]}, "it has modules_to_save"),
        ({"alpha_pattern": {"q_proj": 3}}, "it has alpha_pattern"),
        ({"bias": "all"}, "it has biases"),
        ({"peft_type": "IA3"}, "no LoRA adapter"),
        ({"r": None}, "does not state its rank"),
    ],
)
def test_an_adapter_that_is_more_than_lora_is_refused(adapted, tmp_path, change, why):
    folder, make = adapted
    if not (folder / "refused").exists():
        make("refused")
    config = json.loads((folder / "refused" / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    (tmp_path / "adapter_model.safetensors").write_bytes((folder / "refused/adapter_model.safetensors").read_bytes())
    assert why in lora_fault(tmp_path)
    with pytest.raises(UserError, match=why):
        write_lora_gguf(tmp_path, tmp_path / "x.gguf", BASE)
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("base", [LoraBase("llama", 1, 4, 2, True), LoraBase("llama", 3, 5, 2, True)])
def test_an_adapter_of_another_model_is_refused(adapted, tmp_path, base):
    folder, make = adapted
    if not (folder / "other").exists():
        make("other")
    with pytest.raises(UserError, match="an adapter of another model"):
        write_lora_gguf(folder / "other", tmp_path / "x.gguf", base)


def test_weights_that_no_number_of_16_bits_can_be_are_told_of(tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(KINDS["gpt2"](), len(tokenizer))
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight[0, 0] = 1e6
    with pytest.raises(UserError, match="too large for 16-bit floats"):
        write_gguf(tmp_path / "x.gguf", model, tokenizer, "f16", details())


def test_weights_that_are_not_loras_are_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 4}')
    name = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
    save_file({name: torch.zeros(2, 2)}, tmp_path / "adapter_model.safetensors")
    assert "trainable_tokens_delta" in lora_fault(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="cannot be read"):
        lora_fault(tmp_path)


def test_bfloat16_is_read_exactly(tmp_path):
    values = torch.randn(3, 5).bfloat16()
    save_file({"x": values}, tmp_path / "x.safetensors")
    assert np.array_equal(read_tensors(tmp_path / "x.safetensors")["x"], values.float().numpy())
