"""Replies: cached and whole, one and many, streamed, and by the second engine."""

import dataclasses

import pytest
import torch

from gistchat.engines.ctranslate2_engine import CTranslate2Engine
from gistchat.engines.engine import generate_replies, stream_reply
from gistchat.engines.open import open_engine
from gistchat.engines.sampling import Sampling, TokenSampler
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.models.checkpoint import load_checkpoint

TEXT = "what do you think about the small garden near my house today and will they keep that old red car"
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def checkpoint(run_folder):
    return load_checkpoint(run_folder)


@pytest.fixture(scope="module")
def engine(checkpoint):
    return TorchEngine(checkpoint.model, checkpoint.format)


def prompts_of(prompt_format, count):
    """Prompts of 3 to about 60 tokens, each another one."""
    rows = []
    for i in range(count):
        words = [WORDS[(i * 7 + j * (1 + i % 5)) % len(WORDS)] for j in range(1 + (i * 13) % 55)]
        rows.append([prompt_format.other, *prompt_format.encode_text(" ".join(words)), prompt_format.own])
    return rows


def without_cache(checkpoint, prompt, count):
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            token = int(checkpoint.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in checkpoint.format.stop_ids:
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_a_hundred_greedy_replies_are_the_same_with_and_without_cache_and_batched(checkpoint, engine):
    prompts = prompts_of(checkpoint.format, 100)
    sampling = Sampling(max_tokens=12)
    batched = [draft.ids for draft in engine.fill(prompts, sampling, range(100))]
    assert batched == [without_cache(checkpoint, prompt, 12) for prompt in prompts]
    single = [draft.ids for prompt in prompts for draft in engine.fill([prompt], sampling, [0])]
    assert batched == single
    assert len(set(map(tuple, batched))) > 10  # they are not all the same
    assert sum(len(ids) for ids in batched) > 500
    replies = generate_replies(engine, prompts, sampling, batch_tokens=500)
    assert [reply.text for reply in replies] == ["".join(stream_reply(engine, prompt, sampling)) for prompt in prompts]
    assert [reply.tokens for reply in replies] == [len(ids) for ids in batched]


def test_a_prompt_that_goes_on_from_the_last_costs_only_what_is_new(checkpoint):
    engine = TorchEngine(checkpoint.model, checkpoint.format)
    sampling = Sampling(max_tokens=5)
    first, *_ = prompts_of(checkpoint.format, 30)[20:]
    draft = PartialReply(checkpoint.format, sampling)
    list(engine.stream(first, sampling, draft))
    assert engine.prefilled == len(first)
    new = [checkpoint.format.other, *checkpoint.format.encode_text("and then?"), checkpoint.format.own]
    second = first + draft.ids + new
    again = PartialReply(checkpoint.format, sampling)
    list(engine.stream(second, sampling, again))
    # The last token of a reply that ran to its length was never read.
    assert engine.prefilled == len(new) + (draft.ended == "length")
    assert again.ids == without_cache(checkpoint, second, 5)
    list(engine.stream(first, sampling, draft := PartialReply(checkpoint.format, sampling)))
    assert engine.prefilled == 1
    assert draft.ids == without_cache(checkpoint, first, 5)


def test_a_forward_pass_that_is_broken_off_leaves_nothing_behind(checkpoint, monkeypatch):
    engine = TorchEngine(checkpoint.model, checkpoint.format)
    sampling = Sampling(max_tokens=5)
    prompt = prompts_of(checkpoint.format, 30)[20]
    block = checkpoint.model.transformer.h[1]
    handle = block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        list(engine.stream(prompt, sampling, PartialReply(checkpoint.format, sampling)))
    handle.remove()
    list(engine.stream(prompt, sampling, draft := PartialReply(checkpoint.format, sampling)))
    assert draft.ids == without_cache(checkpoint, prompt, 5)


def test_a_draw_does_not_depend_on_its_batch(checkpoint, engine):
    prompts = prompts_of(checkpoint.format, 6)
    sampling = Sampling(max_tokens=6, temperature=1.0, top_k=50, top_p=0.95, seed=4)
    together = engine.fill(prompts, sampling, range(6))
    alone = [engine.fill([prompt], sampling, [i])[0] for i, prompt in enumerate(prompts)]
    assert [draft.ids for draft in together] == [draft.ids for draft in alone]
    same = engine.fill([prompts[0]] * 4, sampling, range(4))
    assert len({tuple(draft.ids) for draft in same}) > 1


def test_rules_of_choosing():
    logits = torch.tensor([[5.0, 4.0, 3.0, -1.0]])
    none = torch.empty((1, 0), dtype=torch.long)

    def drawn(sampling, replies=none):
        return {TokenSampler(dataclasses.replace(sampling, seed=i), [0])(logits, replies)[0][0] for i in range(60)}

    hot = Sampling(temperature=3.0)
    assert drawn(hot) == {0, 1, 2, 3}
    assert drawn(dataclasses.replace(hot, top_k=2)) == {0, 1}
    assert drawn(dataclasses.replace(hot, temperature=1.0, top_p=0.6)) == {0}
    assert drawn(Sampling(repetition_penalty=2.0), torch.tensor([[0]])) == {1}
    assert drawn(Sampling(no_repeat_ngram=2), torch.tensor([[0, 0]])) == {1}
    [token], [score] = TokenSampler(Sampling(), [0])(logits, none)
    assert (token, score) == (0, pytest.approx(float(logits.log_softmax(-1)[0, 0])))
    for temperature in (0.0, 1.0):
        with pytest.raises(UserError, match="not a number"):
            TokenSampler(Sampling(temperature=temperature), [0])(logits * torch.nan, none)


def grow(checkpoint, text, stop=(), max_tokens=99):
    draft = PartialReply(checkpoint.format, Sampling(max_tokens=max_tokens, stop=stop))
    pieces = []
    for token in [*checkpoint.format.encode_text(text), checkpoint.format.stop_ids[0]]:
        pieces.append(draft.add(token))
        if draft.ended:
            break
    return draft, [piece for piece in pieces if piece]


def test_streams_whole_characters_and_holds_back_what_may_stop(checkpoint):
    text = "Grüße 👩‍🚀 und 日本語 \u200d ok"
    draft, pieces = grow(checkpoint, text)
    assert "".join(pieces) == draft.text == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert draft.ended == "end"
    draft, pieces = grow(checkpoint, "Fine.\nUser: and you?", stop=("\nUser:",))
    assert "".join(pieces) == draft.text == "Fine."
    assert draft.ended == "stop"
    draft, pieces = grow(checkpoint, "Fine.\nUsers like it", stop=("\nUser:",))
    assert "".join(pieces) == "Fine.\nUsers like it"
    draft, _ = grow(checkpoint, "one two three four", max_tokens=2)
    assert (draft.text, draft.ended) == ("one two", "length")
    emoji = checkpoint.format.encode_text("a👩")
    draft, pieces = grow(checkpoint, "a👩", max_tokens=len(emoji) - 1)
    assert "".join(pieces) == draft.text == "a"  # the character that was begun is not shown


def test_the_best_of_several_draws_is_the_likeliest_per_token(checkpoint, engine):
    prompt = prompts_of(checkpoint.format, 5)[4]
    sampling = Sampling(max_tokens=6, temperature=1.0, seed=1, n_best=4)
    drafts = engine.fill([prompt] * 4, sampling, range(4))
    best = max(drafts, key=lambda draft: draft.likelihood)
    [reply] = generate_replies(engine, [prompt], sampling)
    assert reply.text == best.text == "".join(stream_reply(engine, prompt, sampling))
    assert reply.likelihood == pytest.approx(best.likelihood)


def test_what_does_not_fit_is_refused(checkpoint, engine):
    with pytest.raises(UserError, match="do not fit: the model holds 1024"):
        engine.fill([[1] * 1020], Sampling(max_tokens=5), [0])


# ---- the second engine


def with_engine(checkpoint, name):
    recipe = dataclasses.replace(checkpoint.recipe, chat=dataclasses.replace(checkpoint.recipe.chat, engine=name))
    return open_engine(dataclasses.replace(checkpoint, recipe=recipe))


@pytest.fixture(scope="module")
def fast(checkpoint):
    return with_engine(checkpoint, "ctranslate2")


def test_the_second_engine_gives_the_first_ones_greedy_replies(checkpoint, engine, fast):
    prompts = prompts_of(checkpoint.format, 40)
    for stop in ((), ("e",)):
        sampling = Sampling(max_tokens=10, stop=stop)
        expected = engine.fill(prompts, sampling, range(40))
        found = fast.fill(prompts, sampling, range(40))
        assert [(d.ids, d.text, d.ended) for d in found] == [(d.ids, d.text, d.ended) for d in expected]
        assert found[3].likelihood == pytest.approx(expected[3].likelihood, abs=1e-4)
        assert "".join(stream_reply(fast, prompts[7], sampling)) == expected[7].text


def test_the_second_engines_draws_repeat_with_their_seed(checkpoint, fast):
    prompt = prompts_of(checkpoint.format, 5)[4]

    def draw(seed):
        return "".join(stream_reply(fast, prompt, Sampling(max_tokens=8, temperature=1.0, seed=seed)))

    assert draw(1) == draw(1) != draw(2)
    many = [
        [reply.text for reply in generate_replies(fast, [prompt] * 3, Sampling(8, temperature=1.0, seed=3))]
        for _ in range(2)
    ]
    assert many[0] == many[1]
    assert len(set(many[0])) > 1


def test_8_bit_integers_are_used_only_where_they_cost_little(checkpoint, monkeypatch, capsys):
    rise = iter([1.5, 1.0, 1.01, 1.0])  # 8-bit by 32-bit, twice
    monkeypatch.setattr(CTranslate2Engine, "perplexity", lambda self: next(rise))
    assert with_engine(checkpoint, "ctranslate2-int8").name == "ctranslate2"
    assert "+50.0 %: not used" in capsys.readouterr().err
    assert with_engine(checkpoint, "ctranslate2-int8").name == "ctranslate2-int8"
    assert "+1.0 %, below 2%: used" in capsys.readouterr().err


def test_perplexity_of_the_sample_is_the_models(checkpoint, engine, fast):
    from gistchat.engines.ctranslate2_engine import sample_examples
    from gistchat.models.likelihood import score_replies

    examples = sample_examples(checkpoint.format)
    nats = sum(score_replies(checkpoint.model, checkpoint.format, examples))
    expected = torch.tensor(nats / sum(len(example.reply) for example in examples)).exp()
    assert fast.perplexity() == pytest.approx(float(expected), rel=1e-3)


def test_formats_with_token_types_are_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(type(checkpoint.format), "token_types", lambda self, ids: list(ids))
    with pytest.raises(UserError, match="has token types, which CTranslate2 does not know; use torch"):
        with_engine(checkpoint, "ctranslate2")
