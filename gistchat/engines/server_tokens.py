"""What texts, turns and prompts cost in tokens of a model behind an address.

llama.cpp and vLLM count for us. Elsewhere tokens are estimated, rather too many than too few, and the estimate is
corrected by what the server says that it read.
"""

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn
from gistchat.engines.openai_answer import CHARACTERS_PER_TOKEN
from gistchat.engines.openai_client import ChatClient, LookedUp
from gistchat.engines.server_request import FILLER, ServerDialect, plain, root_of
from gistchat.errors import UserError
from gistchat.progress import say_once
from gistchat.prompts.template_probe import alternating
from gistchat.prompts.wording import FOUND_END, FOUND_HEADER, GIST_HEADER, render_line

AT_ONCE = 4
KEPT, LONGEST_KEPT = 20_000, 5000  # texts whose tokens are kept, and characters of one: at most 400 MB in all
MOST_MEASURED = 10_000  # tokens of five short turns, and whatever the server adds
SAMPLE = "How many tokens are these words?"
BYTES_PER_TOKEN = 8  # more than any tokenizer packs into one on average, in any language
_LETTERS = re.compile("[A-Za-z ]+")
# Tokens a character, a fifth more than the tokenizers of GPT-2 and SmolLM2 make of English small talk.
PER_LETTER, PER_SIGN, PER_2_BYTES, PER_3_BYTES, PER_4_BYTES = 1 / 3.8, 1 / 1.4, 1.0, 1.5, 3.0
# Where a template cannot be measured. Those of Llama 3, Gemma and ChatML have five tokens around a message.
AROUND_MESSAGE, AROUND_PROMPT = 5, 8


def estimate(text: str) -> float:
    """Tokens that a text may have."""
    others = _LETTERS.sub("", text)
    tokens = (len(text) - len(others)) * PER_LETTER
    for char in others:
        if char < "\x80":
            tokens += PER_SIGN
        elif char < "\u0800":
            tokens += PER_2_BYTES
        else:
            tokens += PER_3_BYTES if char < "\U00010000" else PER_4_BYTES
    return tokens


@dataclass(frozen=True)
class Tokenizing:
    """How a kind of server is asked for the tokens of a text, and of a whole chat.

    Attributes:
        body: what asks for those of a text, by the model's name.
        tokens: their number in what came back; None where it tells none.
        count_chat: tokens of a chat's prompt.
    """

    body: Callable[[str, str], dict[str, Any]]
    tokens: Callable[[Any], int | None]
    count_chat: Callable[[ChatClient, list[dict[str, str]]], "LookedUp | int"]


def _number_of(values: Any) -> int | None:
    tokens = values.get("tokens") if isinstance(values, dict) else None
    return len(tokens) if isinstance(tokens, list) else None


def _number_in(values: Any) -> int | None:
    number = values.get("count") if isinstance(values, dict) else None
    return number if type(number) is int and number >= 0 else None


def _count_chat_in_llama_cpp(client: ChatClient, messages: list[dict[str, str]]) -> LookedUp | int:
    answer = client.look_up(f"{root_of(client.url)}/apply-template", {"messages": messages})
    prompt = answer.values.get("prompt") if isinstance(answer.values, dict) else None
    if not isinstance(prompt, str):
        return answer
    body = {"content": prompt, "add_special": True, "parse_special": True}
    answer = client.look_up(f"{root_of(client.url)}/tokenize", body)
    return _number_of(answer.values) or answer


def _count_chat_in_vllm(client: ChatClient, messages: list[dict[str, str]]) -> LookedUp | int:
    answer = client.look_up(f"{root_of(client.url)}/tokenize", {"model": client.model, "messages": messages})
    return _number_in(answer.values) or answer


LLAMA_CPP = Tokenizing(
    lambda _, text: {"content": text, "add_special": False, "parse_special": False},
    _number_of,
    _count_chat_in_llama_cpp,
)
VLLM = Tokenizing(
    lambda model, text: {"model": model, "prompt": text, "add_special_tokens": False}, _number_in, _count_chat_in_vllm
)


def _most(text: str) -> int:
    """Tokens that a text can have: one a byte, and a few that a server adds."""
    return len(text.encode(errors="replace")) + 8


def find_tokenizing(client: ChatClient) -> Tokenizing | None:
    """How this server counts; None where it does not. It is sent a text of ours."""
    for kind in (LLAMA_CPP, VLLM):
        try:
            answer = client.look_up(f"{root_of(client.url)}/tokenize", kind.body(client.model, SAMPLE))
        except UserError:
            return None
        if answer.status == 200 and 1 <= (kind.tokens(answer.values) or 0) <= _most(SAMPLE):
            return kind
    return None


@dataclass(frozen=True)
class Frame:
    """What a prompt costs beyond its texts.

    Attributes:
        fixed: with one turn, and the preamble in it.
        wrapping: a turn more, by its role. A window that begins with the model's turn has a message before it; that is
            part of this turn's cost, and the user's turn before it, with which the window needs none, costs less.
    """

    fixed: float
    wrapping: dict[str, float]


def _guessed_frame(count: Callable[[str], float], preamble: str) -> Frame:
    answer = 2 * AROUND_MESSAGE + count(FILLER)
    fixed = AROUND_PROMPT + 2 * AROUND_MESSAGE + count(preamble)
    return Frame(fixed, {ASSISTANT: answer, USER: 2 * AROUND_MESSAGE - answer})


def _measured_frame(client: ChatClient, kind: Tokenizing, dialect: ServerDialect) -> Frame | None:
    """None where the server does not tell. A dialect that it does not take is adapted on the way."""
    lengths: list[int] = []
    while len(lengths) < 5:
        roles = alternating(len(lengths) + 1)
        try:
            answer = kind.count_chat(client, dialect.messages_of(roles, [dialect.preamble, *["x"] * len(roles)]))
        except UserError:
            return None
        if isinstance(answer, int):
            lengths.append(answer)
        elif dialect.adapt(answer.status, answer.body.decode(errors="replace"), {}):
            lengths = []
        else:
            return None
    one, two, three, four, five = lengths
    if lengths != sorted(lengths) or five > MOST_MEASURED:
        return None
    text = 1  # token of "x"
    # Short windows can cost less, where the template's own text at their edges makes a token with its neighbour.
    exchange = max(three - one, five - three)
    answer_more = max(two, four - exchange) - one
    return Frame(one - text, {ASSISTANT: answer_more - text, USER: exchange - answer_more - text})


class Correction:
    """From the tokens that were expected to those that the server read: a constant and a ratio.

    They never say less of one of the latest prompts than it had. The constant is what a prompt without any text would
    have, such as words that the server adds to each; it shows in how the shortest and the longest prompt differ.
    """

    LATEST = 20
    TRUSTED = 5  # prompts after which the estimate, which is careful, may be lowered
    MARGIN = 1.03  # as the next text may have more tokens than those before

    def __init__(self, least: float, most: float) -> None:
        """`least` and `most`: of the ratio; both are 1 where texts are counted exactly."""
        self.least, self.most = least, most
        self.ratio, self.constant = 1.0, 0.0
        self._seen: deque[tuple[float, int]] = deque(maxlen=self.LATEST)
        self._shortest = (math.inf, 0)  # of all, as the latest may all be of the same length

    def note(self, expected: float, actual: int) -> None:
        """A prompt for which so many tokens were expected had so many."""
        self._seen.append((expected, actual))
        self._shortest = min(self._shortest, self._seen[-1])
        if self.most > self.least:
            constant = self._estimated_constant()
            ratio = max((tokens - constant) / number for number, tokens in self._seen) * self.MARGIN
            if len(self._seen) < self.TRUSTED:
                ratio = max(ratio, 1.0)
            self.ratio = min(max(ratio, self.least), self.most)
        self.constant = max(0.0, *(tokens - self.ratio * number for number, tokens in self._seen))

    def _estimated_constant(self) -> float:
        (short, few), (long, many) = self._shortest, max(self._seen)
        if long < 1.5 * short:  # too much alike to tell
            return 0.0
        slope = min(max((many - few) / (long - short), self.least), self.most)
        return max(few - slope * short, 0.0)


class TokenMeter:
    """Counts the tokens of texts, turns and prompts for one server; what `Engine.costs` is."""

    def __init__(self, client: ChatClient, dialect: ServerDialect) -> None:
        """Asks the server how it counts."""
        self.client = client
        self.kind = find_tokenizing(client)
        self._kept: dict[str, float] = {}
        frame = self.kind and _measured_frame(client, self.kind, dialect)
        self.frame = frame or _guessed_frame(self._count, dialect.preamble)
        self.correction = Correction(1, 1) if self.kind else Correction(0.5, 4)
        self._gist = self._count(GIST_HEADER)
        self._found = self._count(FOUND_HEADER) + self._count(FOUND_END)
        self._learns = True

    @property
    def is_exact(self) -> bool:
        return self.kind is not None

    # ---- texts

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, as well as they are known now."""
        return [math.ceil(self.correction.ratio * number) for number in self._count_all(texts)]

    def _count(self, text: str) -> float:
        return self._count_all([text])[0]

    def _count_all(self, texts: Sequence[str]) -> list[float]:
        """Tokens by the server's own tokenizer, or estimated."""
        texts = [plain(text) for text in texts]
        missing = [text for text in dict.fromkeys(texts) if text not in self._kept]
        counts = self._ask_for(missing) if self.kind else list(map(estimate, missing))
        new = dict(zip(missing, counts, strict=True))
        found = [new[text] if text in new else self._kept[text] for text in texts]
        if len(self._kept) + len(new) > KEPT:
            self._kept = {}
        self._kept |= {text: number for text, number in new.items() if len(text) <= LONGEST_KEPT}
        return found

    def _ask_for(self, texts: Sequence[str]) -> list[float]:
        url, kind = f"{root_of(self.client.url)}/tokenize", self.kind
        try:
            answers = self.client.look_up_all(url, [kind.body(self.client.model, text) for text in texts], AT_ONCE)
            counts = [
                number if (number := kind.tokens(answer.values)) is None or number <= _most(text) else None
                for text, answer in zip(texts, answers, strict=True)
            ]
        except UserError:
            counts = [None] * len(texts)
        if None in counts:  # what is said next may show why; a conversation does not end for want of a count
            say_once(f"{self.client.url}: counts no tokens any more; they are estimated where it does not")
        return [estimate(text) if number is None else float(number) for text, number in zip(texts, counts, strict=True)]

    def least(self, text: str) -> int:
        """Tokens that a text has in any case."""
        return int(self._count(text)) if self.is_exact else len(text.encode(errors="replace")) // BYTES_PER_TOKEN

    def end_of(self, text: str, tokens: int) -> str:
        """The end of a text, of at most so many tokens."""
        text = text[-tokens * CHARACTERS_PER_TOKEN :] if tokens > 0 else ""
        if self.count([text])[0] <= tokens:
            return text
        fits, cut = 0, len(text)  # characters that fit, and that are too many
        while cut - fits > 1:
            middle = (fits + cut) // 2
            if self.count([text[-middle:]])[0] <= tokens:
                fits = middle
            else:
                cut = middle
        return text[len(text) - fits :]

    # ---- what a context costs

    def turn_cost(self, turn: RoleTurn) -> int:
        return max(1, math.ceil(self.correction.ratio * (self._count(turn.text) + self.frame.wrapping[turn.role])))

    def line_cost(self, line: GistLine) -> int:
        return math.ceil(self.correction.ratio * self._line(line))

    def gist_cost(self) -> int:
        return math.ceil(self.correction.ratio * self._gist)

    def found_cost(self) -> int:
        return math.ceil(self.correction.ratio * self._found)

    def spent(self, context: Context) -> int:
        return context.tokens

    def _line(self, line: GistLine) -> float:
        return self._count(render_line(line)) + 1  # and a line break

    def prompt(self, context: Context) -> int:
        """Tokens of a context's prompt."""
        return math.ceil(self.correction.constant + self.correction.ratio * self._expected(context))

    def _expected(self, context: Context) -> float:
        self._count_all([turn.text for turn in (*context.turns, context.last)])  # at once, where the server counts
        turns = sum(self._count(turn.text) + self.frame.wrapping[turn.role] for turn in context.turns)
        gist = self._gist + sum(map(self._line, context.lines)) if context.lines else 0
        found = self._found + sum(map(self._line, context.found)) if context.found else 0
        return self.frame.fixed + turns + gist + found + self._count(context.last.text)

    def note(self, context: Context, tokens: int) -> None:
        """The server read a context's prompt, of so many tokens."""
        if self._learns:
            self.correction.note(self._expected(context), tokens)

    def stay(self, ratio: float, constant: float) -> None:
        """Count with this correction from now on, whatever the server says: what is compared is counted alike."""
        self._learns = False
        self.correction.ratio, self.correction.constant = ratio, constant
