"""Replies of GPT-2 124M with random weights by torch: with and without a cache, and in batches."""

import time
from functools import cache

import torch
from figures import Pair, Timed
from transformers import PreTrainedModel

from gistchat.engines.engine import ConversationCache, LocalEngine
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.models.base import fit_embeddings, load_model
from gistchat.models.checkpoint import Checkpoint
from gistchat.models.resolve import resolve_base
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.formats import make_format
from gistchat.prompts.prompt import Prompt
from gistchat.recipe.load import override
from gistchat.recipe.schema import ModelConfig, Recipe

LONG, SHORT = 400, 200  # tokens of context
PLAIN_TOKENS, TOKENS = 6, 48


@cache
def checkpoint() -> Checkpoint:
    base = resolve_base(ModelConfig("gpt2", "scratch", "small"), 0)
    tokenizer = gpt2_tokenizer()
    prompt_format = make_format("speaker-tokens", tokenizer)
    model = load_model(base)
    fit_embeddings(model, prompt_format)
    recipe = override(Recipe(), ["chat.max_reply_tokens=8", "chat.temperature=0", "context.budget=128"])
    # Random weights end no reply by themselves, or all at once; without end tokens all are of the length asked for.
    prompt_format.stop_ids = prompt_format.stop_ids[:1]
    return Checkpoint(model, tokenizer, prompt_format, recipe, {"weights": {"base": base.identity}})


@cache
def plain_model() -> PreTrainedModel:
    """The same weights as the library loads them: what baselines run."""
    model = load_model(resolve_base(ModelConfig("gpt2", "scratch", "small"), 0))
    fit_embeddings(model, checkpoint().format)
    return model


def prompt(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 50_000, (length,), generator=generator).tolist()


def torch_engine() -> LocalEngine:
    engine = TorchEngine(checkpoint().model, checkpoint().format)
    decode(engine, SHORT, 2)
    plain_model()  # so that it is there before anything is timed
    return engine


def decode(engine: LocalEngine, context: int, tokens: int) -> int:
    """Tokens of one streamed reply; the prompt is read, too."""
    sampling = Sampling(max_tokens=tokens)
    reply = PartialReply(engine.format, sampling)
    for _ in engine.stream_prompt(Prompt(prompt(context)), sampling, ConversationCache(), reply):
        pass
    return len(reply.ids)


def with_cache(engine: LocalEngine) -> int:
    return decode(engine, LONG, TOKENS)


@torch.inference_mode()
def without_cache(engine: LocalEngine) -> int:
    """The paper's loop: everything again for every token."""
    ids = prompt(LONG)
    for _ in range(PLAIN_TOKENS):
        ids.append(int(plain_model()(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return PLAIN_TOKENS


CACHED = Pair(
    "decode_cached_400",
    "tokens/s",
    f"a reply of {TOKENS} tokens after {LONG} tokens of context, which are read in the same time; baseline: the loop "
    f"without a key-value cache and with logits at every position, {PLAIN_TOKENS} tokens of it. The bound is "
    "what is aimed at.",
    torch_engine,
    without_cache,
    with_cache,
    repeats=5,
    bound=12,
    peaks=False,
)


def batch(engine: LocalEngine, rows: int) -> int:
    sampling = Sampling(max_tokens=TOKENS)
    replies = engine.generate_prompts([Prompt(prompt(64, seed)) for seed in range(rows)], sampling, range(rows))
    return sum(len(reply.ids) for reply in replies)


def decoded(engine: LocalEngine, rows: int) -> Timed:
    """Without the reading of the prompts, which gives each its first token."""
    start = time.perf_counter()
    tokens = batch(engine, rows)
    return Timed(tokens - rows, time.perf_counter() - start - engine.prefill_seconds)


BATCH = Pair(
    "decode_batch16",
    "tokens/s",
    f"16 replies of {TOKENS} tokens at once, after prompts of 64 tokens whose reading is not counted; baseline: one. "
    "The bound is what is aimed at.",
    torch_engine,
    lambda engine: decoded(engine, 1),
    lambda engine: decoded(engine, 16),
    repeats=5,
    bound=5,
    peaks=False,
)
BATCH_WHOLE = Pair(
    "reply_batch16",
    "tokens/s",
    "the same with the reading of the prompts, of which 16 times as much is to be done, too.",
    torch_engine,
    lambda engine: batch(engine, 1),
    lambda engine: batch(engine, 16),
    repeats=5,
    peaks=False,
)
