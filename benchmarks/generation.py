"""Replies of GPT-2 124M with random weights: with and without a cache, and in batches; a chat of a thousand turns."""

import itertools
import statistics
import time
from functools import cache
from pathlib import Path

import torch
from figures import Measurement, Pair, Timed
from transformers import PreTrainedModel

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.dialogue.turns import Turn
from gistchat.engines.engine import ConversationCache, LocalEngine
from gistchat.engines.sampling import Sampling
from gistchat.engines.stopping import PartialReply
from gistchat.engines.torch_engine import TorchEngine
from gistchat.memory.factory import MemoryFactory
from gistchat.models.base import fit_embeddings, load_model
from gistchat.models.checkpoint import Checkpoint
from gistchat.models.resolve import resolve_base
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.formats import make_format
from gistchat.prompts.prompt import Prompt
from gistchat.recipe.load import override
from gistchat.recipe.schema import ModelConfig, Recipe

PLOT = Path(__file__).parent.parent / "docs" / "chat_turn_1000.svg"
LONG, SHORT = 400, 200  # tokens of context
PLAIN_TOKENS, TOKENS = 6, 48
EARLY, LATE = 20, 1000  # turns


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


# ---- a chat of a thousand turns

WORDS = [
    "I",
    "we",
    "you",
    "they",
    "saw",
    "had",
    "found",
    "lost",
    "a",
    "the",
    "my",
    "red",
    "old",
    "small",
    "dog",
    "house",
    "book",
    "train",
    "today",
    "again",
    "near",
    "with",
]


def script() -> itertools.count:
    """Turns of 12 words without an end, no two alike."""
    return (
        " ".join(WORDS[(n * 7 + j * (n % 11 + 1)) % len(WORDS)] for j in range(12)) + f" {n}."
        for n in itertools.count()
    )


def new_session() -> ChatSession:
    own = checkpoint()
    memories = MemoryFactory.of(own.recipe.summary, own.recipe.context, own.format)
    return ChatSession(ChatModel(own, TorchEngine(own.model, own.format), memories))


def first_token(session: ChatSession, text: str) -> float:
    """Seconds from a turn to the first piece of its answer; the answer is then read to its end."""
    pieces = session.reply(text)
    start = time.perf_counter()
    next(pieces)
    seconds = time.perf_counter() - start
    for _ in pieces:
        pass
    session.remember()
    return seconds


def hear(session: ChatSession, lines: itertools.count, turns: int) -> None:
    """Let a session hear turns that were said elsewhere, up to so many."""
    while len(session.turns) < turns:
        session.hear([Turn("user", next(lines)), Turn("model", next(lines))])


def resident_mb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@torch.inference_mode()
def growing_history(lines: itertools.count, until: int) -> list[tuple[int, float]]:
    """(turns, seconds to the first token) of a chat that reads its whole history, until the model breaks."""
    made = checkpoint()
    ids: list[int] = []
    found = []
    for turn in range(1, until, 2):
        ids += [made.format.other, *made.format.encode_text(next(lines)), made.format.own]
        start = time.perf_counter()
        try:
            plain_model()(input_ids=torch.tensor([ids]), logits_to_keep=1)
        except IndexError:
            break
        found.append((turn, time.perf_counter() - start))
        ids += made.format.encode_text(next(lines))
    return found


def chat_ratio() -> float:
    """The larger of two ratios, late by early: time to the first token, and resident memory."""
    early, late = new_session(), new_session()
    torch_engine()
    lines = script()
    hear(early, lines, EARLY)
    by_turn = []
    for turn in range(EARLY, LATE + 1, 20):
        hear(late, lines, turn)
        by_turn.append((turn + 1, statistics.median(first_token(late, next(lines)) for _ in range(3))))
        if turn == EARLY:
            before = resident_mb()
    grown = resident_mb() - before
    memory = 1 + grown / before
    ratios = []
    for _ in range(40):
        line = next(lines)
        ratios.append((first_token(early, line), first_token(late, line)))
    seconds = statistics.median(b for _, b in ratios) / statistics.median(a for a, _ in ratios)
    plot(by_turn, growing_history(script(), LATE))
    print(f"turn {LATE} by turn {EARLY}: time to the first token {seconds:.3f}, memory {memory:.3f} ({grown:+.0f} MB)")
    return max(seconds, memory)


def plot(gist: list[tuple[int, float]], history: list[tuple[int, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([turn for turn, _ in gist], [seconds for _, seconds in gist], label="gist and latest turns (rolling)")
    axes.plot([turn for turn, _ in history], [seconds for _, seconds in history], label="growing history, plain")
    last, slowest = history[-1]
    axes.annotate("the model's limit", (last, slowest), (last + 30, slowest), va="center")
    axes.set_xlabel("turn")
    axes.set_ylabel("seconds to the first token")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    figure.savefig(PLOT, format="svg", metadata={"Date": None})


CHAT = Measurement(
    "chat_turn_1000",
    "times",
    f"time to the first token at turn {LATE:,} by that at turn {EARLY} (medians of 40 turns, interleaved), "
    f"or resident memory at those turns, whichever is more; rolling gist, 128 tokens. "
    "docs/chat_turn_1000.svg shows it beside the growing history. The bound is what it must not exceed.",
    chat_ratio,
    1.15,
)
