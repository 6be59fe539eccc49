"""Likelihood, generation, training and checkpoints, on the tiny GPT-2; and the packaged base's conversion."""

import dataclasses
import json
import shutil

import peft
import pytest
import torch
from conftest import make_dialogue, train_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from gistchat.engines.engine import ConversationCache, generate_replies, stream_reply
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.evaluate.items import Condition, build_items
from gistchat.evaluate.predict import Subject, predict
from gistchat.examples.build import Example, ExampleBuilder, TooLong
from gistchat.examples.targets import Target, sample_targets
from gistchat.memory.summary_store import SummaryStore
from gistchat.models import packaged
from gistchat.models.base import fit_embeddings, load_model, load_tokenizer
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.likelihood import IGNORED, collate, score_replies
from gistchat.models.resolve import resolve_base
from gistchat.processes import length_batches
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ContextConfig, ModelConfig, SummaryConfig, default_strategies


@pytest.fixture(scope="module")
def parts(tiny_base, tmp_path_factory):
    """(model, format, examples of every strategy)"""
    tokenizer = load_tokenizer(tiny_base)
    prompt_format = make_format("auto", tokenizer)
    model = load_model(tiny_base)
    fit_embeddings(model, prompt_format)
    dialogues = [make_dialogue(i) for i in range(8)]
    store = SummaryStore(
        tmp_path_factory.mktemp("s"), SummaryConfig("textrank"), ContextConfig(budget=48), prompt_format, "t"
    )
    store.add(dialogues)
    builder = ExampleBuilder(prompt_format, ContextConfig(budget=48), store, 512, dialogues)
    targets = sample_targets(dialogues, 8, 0, 4, turns="one")
    examples = [builder.build(target, strategy) for strategy in default_strategies() for target in targets]
    return model, prompt_format, examples, builder


def plain_nats(model, example: Example) -> float:
    """The textbook way: one item, logits everywhere, the library's own loss over the labelled tokens."""
    ids = torch.tensor([example.ids])
    labels = ids.clone()
    labels[:, : len(example.prompt)] = -100
    with torch.no_grad():
        return model(input_ids=ids, labels=labels).loss.item() * len(example.reply)


def test_batched_likelihood_is_that_of_single_items(parts):
    model, prompt_format, examples, _ = parts
    scores = score_replies(model, prompt_format, examples, batch_tokens=700)
    for example, score in zip(examples, scores, strict=True):
        assert score == pytest.approx(plain_nats(model, example), rel=1e-5)


def test_labels_are_the_reply_and_its_end_only(parts):
    _, prompt_format, examples, _ = parts
    batch = collate(examples[:5], prompt_format)
    for row, example in zip(batch["labels"], examples[:5], strict=True):
        assert row[row != IGNORED].tolist() == example.reply
        assert example.reply[-1] == prompt_format.stop_ids[0]
        assert example.target.gold == prompt_format.decode_reply(example.reply)


def test_length_batches_cover_all_within_the_limit():
    lengths = [5, 90, 30, 31, 8, 200, 7]
    batches = length_batches(lengths, 100)
    assert sorted(i for batch in batches for i in batch) == list(range(7))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 100 for batch in batches)


def test_shuffled_shows_another_dialogues_summary_of_like_size(parts):
    _, _, examples, builder = parts
    by_strategy = {}
    for example in examples:
        by_strategy.setdefault(example.context.strategy, []).append(example)
    for own, other in zip(by_strategy["summary"], by_strategy["shuffled"], strict=True):
        assert builder.donor(own.target).id != own.target.dialogue.id
        text = " ".join(turn.text for turn in own.target.dialogue.turns)
        assert own.context.lines
        assert other.context.lines
        assert all(line.text in text for line in own.context.lines)
        assert not any(line.text in text for line in other.context.lines)
        assert {line.role for line in other.context.lines} <= {"user", "assistant"}
        assert other.context.last == own.context.last


def test_gold_shows_the_corpus_own_lines_with_their_speakers(parts):
    _, prompt_format, _, builder = parts
    plain = make_dialogue(0)
    gold = [{"speaker": plain.turns[7].speaker, "text": "I ski."}, {"speaker": "", "text": "They talk."}]
    example = builder.build(Target(dataclasses.replace(plain, meta={"gold": gold}), 7), "gold")
    assert "<sum>You: I ski.\nThey talk.<sp2>" in prompt_format.tokenizer.decode(example.prompt.ids)
    with pytest.raises(UserError, match="'gold' needs a summary or personas, and dialogue d0 has none"):
        builder.build(Target(plain, 7), "gold")


def test_context_gives_way_to_the_limit_but_last_turn_and_reply_never(parts):
    _, prompt_format, examples, builder = parts
    target = examples[0].target
    bare = len(builder.build(target, "last"))
    tight = ExampleBuilder(prompt_format, builder.config, builder.store, bare + 20, builder.donors)
    for strategy in default_strategies():
        example = tight.build(target, strategy)
        assert len(example) <= bare + 20
        assert example.context.last.text == target.dialogue.turns[target.turn - 1].text
    with pytest.raises(TooLong, match="last turn and reply take"):
        ExampleBuilder(prompt_format, builder.config, builder.store, bare - 1, builder.donors).build(target, "hybrid")


def test_greedy_replies_batched_single_streamed_and_without_cache_agree(parts):
    model, prompt_format, examples, _ = parts
    engine, sampling = TorchEngine(model, prompt_format), Sampling(max_tokens=8)
    batched = generate_replies(engine, [example.context for example in examples[::5]], sampling, batch_tokens=600)
    for example, reply in zip(examples[::5], batched, strict=True):
        [single] = generate_replies(engine, [example.context], sampling)
        streamed = "".join(stream_reply(engine, example.context, sampling, ConversationCache()))
        ids = list(example.prompt.ids)
        for _ in range(8):
            with torch.no_grad():
                token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in prompt_format.stop_ids:
                break
            ids.append(token)
        plain = prompt_format.decode_reply(ids[len(example.prompt) :])
        assert reply.text == single.text == streamed.strip() == plain


def test_sampling_repeats_with_its_seed_only(parts):
    model, prompt_format, examples, _ = parts

    def draw(seed):
        sampling = Sampling(max_tokens=8, temperature=1.0, top_p=0.95, seed=seed)
        engine = TorchEngine(model, prompt_format)
        return "".join(stream_reply(engine, examples[0].context, sampling, ConversationCache()))

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_checkpoint_loads_with_plain_library_calls(tiny_recipe, tmp_path, method, parts):
    tiny_recipe = tiny_recipe.change(train={"method": method})
    train_tiny(tiny_recipe, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoint"
    ours = load_checkpoint(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if method == "lora":
        assert not (folder / "model.safetensors").exists()
        base = AutoModelForCausalLM.from_pretrained(resolve_base(tiny_recipe.model, 0).source)
        base.resize_token_embeddings(len(tokenizer))
        plain = peft.PeftModel.from_pretrained(base, folder)
    else:
        plain = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([parts[2][0].prompt.ids])
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(ids).logits, ours.model(ids).logits, rtol=1e-4, atol=1e-4)
        base_logits = load_model(resolve_base(tiny_recipe.model, 0))(ids.clamp(max=50256)).logits
    assert not torch.allclose(base_logits[..., :50257], ours.model(ids).logits[..., :50257], atol=1e-3)
    metadata = json.loads((folder / "gistchat.json").read_text())
    assert metadata["format"] == "speaker-tokens"
    assert metadata["recipe"] == dataclasses.asdict(tiny_recipe)
    assert metadata["versions"]["torch"] == torch.__version__
    assert {"data", "base", "seed", "validation_loss", "step"} <= metadata.keys()


def test_an_item_is_never_scored_with_anothers_reply(tiny_recipe, tmp_path, parts):
    """Two dialogues end in the same turn, so `last` gives both the same prompt; their gold replies differ."""
    model, prompt_format, _, builder = parts
    one, other = make_dialogue(0), make_dialogue(1)
    turns = [list(d.turns) for d in (one, other)]
    turns[1][6] = turns[1][6]._replace(text=turns[0][6].text)
    pair = [dataclasses.replace(d, turns=tuple(t)) for d, t in zip((one, other), turns, strict=True)]
    builder.store.add(pair)
    targets = [Target(pair[0], 7), Target(pair[1], 7)]
    last, recent = Condition("last", None), Condition("recent", 48)
    items = build_items(targets, [last, recent], {48: builder})
    built = items.examples
    assert built[last][0].prompt == built[last][1].prompt
    config = dataclasses.replace(tiny_recipe.evaluate, reply_items=1)
    rows = predict(Subject("tuned", lambda: model), prompt_format, items, config, tmp_path)
    for row, example in zip(rows, built[last] + built[recent], strict=True):
        assert row["nats"] == pytest.approx(plain_nats(model, example), rel=1e-5)
        assert (row["reply"] is not None) == (row["id"] == targets[0].id)


def test_a_prompt_leaves_room_for_the_reply_within_the_model(parts):
    model, prompt_format, _, builder = parts
    long = make_dialogue(2, turns=90)
    builder.store.add([long])
    wide = ExampleBuilder(prompt_format, builder.config, builder.store, 1024, reserve=40)
    example = wide.build(Target(long, 89), "full")
    assert 960 < len(example.prompt) <= 984
    [reply] = generate_replies(TorchEngine(model, prompt_format), [example.context], Sampling(max_tokens=40))
    assert reply.tokens <= 40


def test_damaged_checkpoints_are_refused(tiny_recipe, tmp_path):
    train_tiny(tiny_recipe, tmp_path / "run")
    weights = tmp_path / "run" / "checkpoint" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors: missing or damaged"):
        load_checkpoint(tmp_path / "run")
    train_tiny(tiny_recipe, tmp_path / "run")  # the message says "train again", and that helps
    load_checkpoint(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint")
    train_tiny(tiny_recipe, tmp_path / "run")
    load_checkpoint(tmp_path / "run")
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")


def test_gguf_is_converted_once_and_again_when_damaged(tmp_path, monkeypatch):
    base = resolve_base(ModelConfig(), 0)
    shutil.copytree(base.source, tmp_path / "models" / base.source.rsplit("/", 1)[1])
    monkeypatch.setattr(packaged, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(packaged.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("again"))
    copied = resolve_base(ModelConfig(), 0)
    assert copied.identity == base.identity
    weights = tmp_path / "models" / base.source.rsplit("/", 1)[1] / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-9, 2)
        file.write(b"\x55")
    error = ValueError("came here")
    monkeypatch.setattr(packaged.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(UserError, match="came here"):
        resolve_base(ModelConfig(), 0)


def test_a_corrupt_gguf_is_one_clear_error(tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\x00" * 2000)
    with pytest.raises(UserError, match=r"bad\.gguf: cannot be read as GGUF"):
        packaged.convert_gguf(bad, tmp_path / "models")
    assert not list((tmp_path / "models").glob("*/*"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="./nowhere"), r"\./nowhere: no such folder"),
        (ModelConfig(name="gpt2", init="scratch", size="huge"), "'huge' is not one of tiny, mini, small"),
        (ModelConfig(name="smollm2", init="scratch"), "write --model gpt2"),
    ],
)
def test_models_that_cannot_be(config, message):
    with pytest.raises(UserError, match=message):
        resolve_base(config, 0)


def test_a_folder_without_a_tokenizer_is_refused(tiny_base, tmp_path):
    shutil.copytree(tiny_base.source, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    with pytest.raises(UserError, match="bare: no tokenizer in this folder"):
        load_tokenizer(resolve_base(ModelConfig(name=str(tmp_path / "bare")), 0))
    (tmp_path / "bare" / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(UserError, match="bare: cannot load the model"):
        load_tokenizer(resolve_base(ModelConfig(name=str(tmp_path / "bare")), 0))


def test_a_tokenizer_of_another_model_is_refused(tiny_base, tmp_path):
    shutil.copytree(tiny_base.source, tmp_path / "pair")
    config = json.loads((tmp_path / "pair" / "config.json").read_text())
    (tmp_path / "pair" / "config.json").write_text(json.dumps({**config, "vocab_size": 32_000}))
    with pytest.raises(UserError, match=r"the tokenizer has 50,257 tokens, the model knows 32,000: not a pair"):
        load_tokenizer(resolve_base(ModelConfig(name=str(tmp_path / "pair")), 0))


def test_a_hub_model_without_network_says_what_to_do():
    with pytest.raises(UserError, match=r"cannot get model 'gpt2'.*--model smollm2.*--init scratch"):
        load_tokenizer(resolve_base(ModelConfig(name="gpt2"), 0))
