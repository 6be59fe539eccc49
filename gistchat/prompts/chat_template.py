"""The prompt format of instruct models: their own chat template."""

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn
from gistchat.errors import UserError
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.template_probe import (
    Message,
    UnusableTemplate,
    alternating,
    asked_otherwise,
    choose_source,
    joining_template,
    marks_roles,
    skeleton,
    with_asked,
)
from gistchat.prompts.thoughts import is_mark
from gistchat.prompts.tokenizer import AddedToken, Tokenizer
from gistchat.prompts.wording import FOUND_END, FOUND_HEADER, GIST_HEADER, PREAMBLE, asked, opening, render_line

REPLY = "reply"
_numbering = threading.Lock()  # sessions in several threads share a template
TRIED_TEXTS = ("x", "Hello there", "42", "(no)", "é", "😀")


class ChatTemplate(PromptFormat):
    """The instruct model's own template: turns as user and assistant messages, the gist in the system message.

    Where a template does not show a system message first, the gist is on top of the first user message. What was found
    is on top of the last one.
    """

    name = "chat-template"
    preamble = PREAMBLE

    def __init__(self, tokenizer: Tokenizer) -> None:
        """
        Raises:
            UserError: no template, or one that does not show each text once and in order, and who said it.
        """
        super().__init__(tokenizer)
        self._pieces: list[str] = []  # of the template's own text, those that conversations had so far
        self._pieces_around = lru_cache(maxsize=1000)(self._find_pieces)
        with _naming(tokenizer):
            self.source, self._layouts = choose_source(_template_of(tokenizer), self._render_with)
            if not marks_roles(self._render, self._layouts):
                raise UnusableTemplate("does not mark who speaks")
            before_answer, self._after_answer = self._around_answer()
            more, self._reply_begin = asked_otherwise(self._skeleton(USER)[-1], before_answer)
            if more:
                self.source = with_asked(self.source, more)
            self.stop_ids = self._find_stop_ids()
            self._frames = self._find_frames()
        self._joins = self._texts_join()
        self._frame_costs = {role: len(self._framed(role, "x")) - self._count("x") for role in (USER, ASSISTANT)}
        self._count_text = lru_cache(maxsize=100_000)(self._measure_text)
        self._wrapping, regular = self._measure_wrapping()
        self._costs_are_exact = regular and not self._joins
        self._gist_extra = self._inner(GIST_HEADER)
        self._found_extra = self._inner(FOUND_HEADER) + self._inner(FOUND_END)

    def _render(self, messages: list[Message], ask: bool) -> str:
        return self._render_with(self.source, messages, ask)

    def _render_with(self, source: str, messages: list[Message], ask: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages, chat_template=source, add_generation_prompt=ask, tokenize=False
        )

    def _skeleton(self, *roles: str, ask: bool = True) -> list[str]:
        return skeleton(self._render, self._layouts[roles[0]], roles, ask)

    def _around_answer(self) -> tuple[str, str]:
        """The template's own text from the user's turn to an answer, and after the answer."""
        try:
            return tuple(self._skeleton(USER, ASSISTANT, ask=False)[2:])
        except UnusableTemplate:  # some refuse a conversation that nobody has to answer
            return tuple(self._skeleton(USER, ASSISTANT, USER)[2:4])

    def _find_pieces(self, roles: tuple[str, ...]) -> list[int]:
        """Which of the pieces stand before, between and after the opening and the turns in these roles."""
        with _naming(self.tokenizer):
            pieces = skeleton(self._render, self._layouts[roles[0]], roles)
        with _numbering:
            return self._numbers(pieces)

    def _numbers(self, pieces: Sequence[str]) -> list[int]:
        if new := [piece for piece in dict.fromkeys(pieces) if piece not in self._pieces]:
            self._pieces = [*self._pieces, *new]
            self._joining = joining_template(self._pieces, self.source)
        return [self._pieces.index(piece) for piece in pieces]

    def _find_stop_ids(self) -> list[int]:
        """The token that ends a reply in this template, and whatever else a reply ends at.

        Whatever begins or ends a message ends a reply, too: a model that goes on with another message has answered.
        """
        # Not `all_special_ids`, which is without the special tokens that have no role such as end or padding.
        added = self.tokenizer.added_tokens_decoder.items()
        control = {i for i, token in added if _is_control(token) and not is_mark(token.content)}
        end = next((i for i in self._own_ids(self._after_answer) if i in control), None)
        ends = [token for token in (end, self.tokenizer.eos_token_id) if token is not None]
        if not ends:
            raise UserError("this tokenizer has no end token, so replies could not end")
        # Those that are not special become tokens wherever they are typed, unless they are looked for.
        plain = [re.escape(token.content) for _, token in added if not token.special and _is_control(token)]
        self._plain_marks = re.compile("|".join(plain) or "(?!)")
        begins = [i for piece in self._skeleton(USER) for i in self._own_ids(piece) if i in control]
        return list(dict.fromkeys([*ends, *begins]))

    def _own_ids(self, piece: str) -> list[int]:
        """Ids of the template's own text."""
        return self.tokenizer(piece, add_special_tokens=False)["input_ids"]

    def _measure_wrapping(self) -> tuple[dict[str, int], bool]:
        """What a turn costs beyond its text; and whether it does so wherever it stands.

        A window that begins with the model's turn may need a user message before it. Its tokens are part of that
        turn's cost; the user's turn before it, with which the window needs none, costs as much less.
        """
        one, two, three, four, five = (
            len(self._encode(opening(()), [(role, "x") for role in alternating(count)])) for count in range(1, 6)
        )
        regular = abs((three - one) - (five - three)) <= 1
        # Short windows can cost less, where the template's own text at their edges makes a token with its neighbour.
        exchange = max(three - one, five - three) if regular else five - three
        answer = max(two, four - exchange) - one
        text = self._count("x")
        return {ASSISTANT: answer - text, USER: exchange - answer - text}, regular

    def _find_frames(self) -> dict[str, tuple[int, int]]:
        """By role, the pieces around a turn in the middle of a conversation; and around a reply, which nothing ends."""
        pieces = self._skeleton(*alternating(5))
        around = {USER: pieces[3:5], ASSISTANT: pieces[4:6], REPLY: [self._skeleton(USER)[-1], ""]}
        return {name: tuple(self._numbers(pair)) for name, pair in around.items()}

    def _framed(self, frame: str, text: str) -> list[int]:
        before, after = self._frames[frame]
        return self._join([("", before), (text, after)])

    def _texts_join(self) -> bool:
        """Whether a text has other tokens in its place than alone, as SentencePiece gives it at the begin of a text."""
        if self._reply_begin:
            return True
        for frame, (before, after) in self._frames.items():
            begin, end = self._join([("", before)]), self._join([("", after)])
            if any(self._framed(frame, text) != [*begin, *self.encode_text(text), *end] for text in TRIED_TEXTS):
                return True
        return False

    def _measure_text(self, role: str, text: str) -> int:
        """Tokens of a turn's text in its place."""
        return len(self._framed(role, text)) - self._frame_costs[role]

    def _inner(self, text: str) -> int:
        """Tokens of a text within another, after a line break."""
        return self._count("\n" + text) - self._count("\n") if self._joins else self._count(text)

    def _encode(self, beginning: str, turns: Sequence[tuple[str, str]]) -> list[int]:
        """Ids of what stands before the turns, and of the turns' roles and texts."""
        texts = ["", beginning, *(text for _, text in turns)]
        pieces = self._pieces_around(tuple(role for role, _ in turns))
        return self._join(list(zip(texts, pieces, strict=True)))

    def _join(self, parts: Sequence[tuple[str, int]]) -> list[int]:
        """Ids of texts, each with a piece of the template's own after it."""
        return self.tokenizer.apply_chat_template(
            [{"content": text, "piece": piece} for text, piece in parts],
            chat_template=self._joining,
            sanitize_control_tokens=True,
            return_dict=False,
        )

    def encode(self, context: Context) -> Prompt:
        last = context.last.role, asked(context.found, context.last.text)
        turns = [*((turn.role, turn.text) for turn in context.turns), last]
        return Prompt(self._encode(opening(context.lines, context.preamble or self.preamble), turns))

    def encode_reply(self, text: str) -> list[int]:
        if not self._joins and not self._plain_marks.search(text):
            return super().encode_reply(text)
        begin, whole = self._framed(REPLY, ""), self._framed(REPLY, self._reply_begin + text)
        if whole[: len(begin)] == begin:
            return [*whole[len(begin) :], self.stop_ids[0]]
        _, nothing = self._frames[REPLY]  # it makes a token with what asks for it
        return [*self._join([(text, nothing)]), self.stop_ids[0]]

    def spent(self, context: Context) -> int:
        if self._costs_are_exact:
            return context.tokens
        bare = replace(context, lines=(), turns=(), found=())
        return len(self.encode(context)) - len(self.encode(bare))

    def turn_cost(self, turn: RoleTurn) -> int:
        count = self._count_text(turn.role, turn.text) if self._joins else self._count(turn.text)
        return count + self._wrapping[turn.role]

    def line_cost(self, line: GistLine) -> int:
        return self._inner(render_line(line)) + 1  # and a line break

    def gist_cost(self) -> int:
        return self._gist_extra

    def found_cost(self) -> int:
        return self._found_extra


def _is_control(token: AddedToken) -> bool:
    """Whether an added token controls the model. Some tokenizers do not call such tokens special."""
    return token.special or bool(re.fullmatch(r"[^\w\s].*[^\w\s]", token.content, re.DOTALL))


@contextlib.contextmanager
def _naming(tokenizer: Tokenizer) -> Iterator[None]:
    try:
        yield
    except UnusableTemplate as error:
        raise error.of(tokenizer.name_or_path) from None


def _template_of(tokenizer: Tokenizer) -> str:
    """Its chat template, the default one of several. Raises UserError where there is none."""
    if not tokenizer.chat_template:
        raise UserError("this tokenizer has no chat template; use model.format = 'speaker-tokens'")
    try:
        return tokenizer.get_chat_template()
    except ValueError:
        raise UnusableTemplate("has several variants and no default") from None
