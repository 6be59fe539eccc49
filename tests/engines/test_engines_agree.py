"""Replies: cached and whole, one and many, streamed; and those of the library's own `generate`."""

import dataclasses
import itertools

import pytest
import torch
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.engine import ConversationCache, generate_replies, stream_reply
from gistchat.engines.open import open_answerer
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.token_sampler import TokenSampler
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.prompts.prompt import Prompt

TEXT = "what do you think about the small garden near my house today and will they keep that old red car"
WORDS = TEXT.split()


ENGINES = ("torch", "llamacpp")  # that run here: tests that ask for `engine` hold for every one


@pytest.fixture(scope="module", params=ENGINES)
def engine(run_folder, request):
    opened = open_answerer(run_folder, (f"chat.engine={request.param}",)).engine
    assert opened.name == request.param
    return opened


@pytest.fixture(scope="module")
def torch_engine(checkpoint):
    return TorchEngine(checkpoint.model, checkpoint.format)


def contexts_of(count):
    """Last turns of 1 to 55 words, each another one."""
    contexts = []
    for i in range(count):
        words = [WORDS[(i * 7 + j * (1 + i % 5)) % len(WORDS)] for j in range(1 + (i * 13) % 55)]
        contexts.append(Context((), (), RoleTurn(USER, " ".join(words), 0), 0, 0))
    return contexts


def stream(engine, prompt, cache=None, max_tokens=5):
    """The reply to a prompt, streamed to its end."""
    reply = PartialReply(engine.format, sampling := Sampling(max_tokens=max_tokens))
    ids = {"scored": True} if engine.name == "llamacpp" else {}  # without it, its stream names no ids
    list(engine.stream_prompt(prompt, sampling, cache or ConversationCache(), reply, **ids))
    return reply


def without_cache(checkpoint, prompt, count):
    ids = list(prompt.ids)
    for _ in range(count):
        with torch.no_grad():
            logits = checkpoint.model(input_ids=torch.tensor([ids]), use_cache=False, logits_to_keep=1).logits
        token = int(logits[0, -1].argmax())
        if token in checkpoint.format.stop_ids:
            break
        ids.append(token)
    return ids[len(prompt.ids) :]


def test_a_hundred_greedy_replies_are_the_same_with_and_without_cache_and_batched(checkpoint, engine):
    contexts = contexts_of(100)
    prompts = [checkpoint.format.encode(context) for context in contexts]
    sampling = Sampling(max_tokens=12)
    batched = [reply.ids for reply in engine.generate_prompts(prompts, sampling, range(100))]
    assert batched == [without_cache(checkpoint, prompt, 12) for prompt in prompts]
    single = [reply.ids for prompt in prompts for reply in engine.generate_prompts([prompt], sampling, [0])]
    assert batched == single
    assert len(set(map(tuple, batched))) > 10  # they are not all the same
    assert sum(len(ids) for ids in batched) > 500
    replies = generate_replies(engine, contexts, sampling, batch_tokens=500)
    streamed = ["".join(stream_reply(engine, one, sampling, ConversationCache())) for one in contexts]
    assert [reply.text for reply in replies] == streamed
    assert [reply.tokens for reply in replies] == [len(ids) for ids in batched]


def test_a_prompt_that_goes_on_from_the_last_costs_only_what_is_new(checkpoint, engine):
    cache = ConversationCache()
    stream(engine, Prompt(checkpoint.format.encode_text("Of something else.")))
    first = checkpoint.format.encode(contexts_of(21)[20])
    reply = stream(engine, first, cache)
    assert cache.prefilled == len(first)
    new = [checkpoint.format.other, *checkpoint.format.encode_text("and then?"), checkpoint.format.own]
    second = Prompt(first.ids + reply.ids + new)
    again = stream(engine, second, cache)
    # The last token of a reply that ran to its length was never read.
    assert cache.prefilled == len(new) + (reply.ended == "length")
    assert again.ids == without_cache(checkpoint, second, 5)
    assert stream(engine, first, cache).ids == without_cache(checkpoint, first, 5)
    assert cache.prefilled == 1


def test_two_conversations_stream_at_once_from_the_same_weights(checkpoint, engine):
    """Piece by piece in turn, over two replies each: what one conversation has cached is not the other's."""
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=5)
    openings, followups = contexts_of(21)[19:21], contexts_of(30)[28:30]

    def streams(caches, contexts):
        return [engine.stream(context, sampling, cache) for context, cache in zip(contexts, caches, strict=True)]

    alone = [[], []]
    for i in range(2):
        cache = ConversationCache()
        for contexts in (openings, followups):
            alone[i].append("".join(engine.stream(contexts[i], sampling, cache)))
    caches = [ConversationCache(), ConversationCache()]
    for number, contexts in enumerate((openings, followups)):
        pieces = list(itertools.zip_longest(*streams(caches, contexts), fillvalue=""))
        assert len(pieces) > 3
        assert ["".join(column) for column in zip(*pieces, strict=True)] == [replies[number] for replies in alone]
    assert alone[0] != alone[1]


def test_a_forward_pass_that_is_broken_off_leaves_nothing_behind(checkpoint, torch_engine):
    prompt, cache = checkpoint.format.encode(contexts_of(21)[20]), ConversationCache()
    block = checkpoint.model.transformer.h[1]
    handle = block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stream(torch_engine, prompt, cache)
    handle.remove()
    assert stream(torch_engine, prompt, cache).ids == without_cache(checkpoint, prompt, 5)


def test_a_draw_does_not_depend_on_its_batch(checkpoint, engine):
    contexts = contexts_of(6)
    sampling = Sampling(max_tokens=6, temperature=1.0, top_k=50, top_p=0.95, seed=4)
    together = engine.generate_batch(contexts, sampling, range(6))
    alone = [engine.generate_batch([context], sampling, [i])[0] for i, context in enumerate(contexts)]
    assert [reply.ids for reply in together] == [reply.ids for reply in alone]
    same = engine.generate_batch([contexts[0]] * 4, sampling, range(4))
    assert len({tuple(reply.ids) for reply in same}) > 1


# ---- torch beside the library's own generation

VOCABULARY = 301
UNTIED = {"vocab_size": VOCABULARY, "tie_word_embeddings": False}
SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**UNTIED, **SHAPE, "num_key_value_heads": 2}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**UNTIED, n_embd=32, n_layer=2, n_head=4, n_positions=128)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**GROUPED, head_dim=8)),
}


def random_model(kind):
    """With weights so large that replies are of many different tokens."""
    torch.manual_seed(0)
    made = MODELS[kind]()
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


class Numbers:
    """As much of a prompt format as an engine and a reply ask for: tokens are numbers, and 7 ends a reply."""

    stop_ids = (7,)
    tokenizer = None  # no texts are counted

    def __init__(self, has_types=False):
        self.has_types = has_types

    def decode_reply(self, ids):
        return " ".join(map(str, ids))


def prompts_of(lengths):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(8, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("lengths", [(30,), (12, 12, 12), (1, 30, 17, 4, 9)])
@pytest.mark.parametrize("kind", MODELS)
def test_padded_batches_and_streams_give_what_the_library_generates(kind, lengths):
    model, prompts, sampling = random_model(kind), prompts_of(lengths), Sampling(max_tokens=20)
    engine = TorchEngine(model, Numbers())
    expected = []
    for ids in prompts:
        config = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=7, pad_token_id=7)
        whole = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), generation_config=config)
        generated = whole[0, len(ids) :].tolist()
        expected.append(generated[: generated.index(7)] if 7 in generated else generated)
    batch = engine.generate_prompts([Prompt(ids) for ids in prompts], sampling, range(len(prompts)))
    assert [reply.ids for reply in batch] == expected
    assert [stream(engine, Prompt(ids), max_tokens=20).ids for ids in prompts] == expected
    assert len({token for ids in expected for token in ids}) > 10
    assert 0 < engine.prefill_seconds < 30


def test_token_types_are_read_in_batches_and_streams_and_a_reply_has_that_of_the_token_before_it():
    model = random_model("gpt2")
    engine = TorchEngine(model, Numbers(has_types=True))
    prompts = [Prompt(ids, [3] * (len(ids) // 2) + [5] * (len(ids) - len(ids) // 2)) for ids in prompts_of((3, 20, 9))]

    def whole(prompt, typed):
        ids, types = list(prompt.ids), list(prompt.types)
        for _ in range(12):
            given = {"token_type_ids": torch.tensor([types])} if typed else {}
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids]), use_cache=False, **given).logits[0, -1].argmax()))
            types.append(5)
        return ids[len(prompt.ids) :]

    expected = [whole(prompt, typed=True) for prompt in prompts]
    assert not any(7 in ids for ids in expected)  # none ends early
    assert expected != [whole(prompt, typed=False) for prompt in prompts]
    batch = engine.generate_prompts(prompts, Sampling(max_tokens=12), range(3))
    assert [reply.ids for reply in batch] == expected
    cache = ConversationCache()
    for prompt, ids in zip(prompts, expected, strict=True):
        for _ in range(2):  # the second time from the cache
            assert stream(engine, prompt, cache, max_tokens=12).ids == ids
        assert cache.prefilled == 1


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
    context = contexts_of(5)[4]
    sampling = Sampling(max_tokens=6, temperature=1.0, seed=1, n_best=4)
    draws = engine.generate_batch([context] * 4, sampling, range(4))
    best = max(draws, key=lambda reply: reply.likelihood)
    [reply] = generate_replies(engine, [context], sampling)
    assert reply.text == best.text == "".join(stream_reply(engine, context, sampling, ConversationCache()))
    assert reply.likelihood == pytest.approx(best.likelihood)


def test_what_does_not_fit_is_refused(checkpoint, engine):
    with pytest.raises(UserError, match="do not fit: the model holds 1024"):
        engine.generate_prompts([Prompt([1] * 1020)], Sampling(max_tokens=5), [0])
