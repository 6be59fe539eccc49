"""The prompt format of instruct models: their own chat template."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache

from gistchat.context.types import ASSISTANT, USER, Context, RoleTurn
from gistchat.errors import UserError
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.prompt import Prompt
from gistchat.prompts.template_probe import (
    Message,
    UnusableTemplate,
    alternating,
    choose_layouts,
    fix_date,
    joining_template,
    marks_roles,
    skeleton,
)
from gistchat.prompts.tokenizer import Tokenizer
from gistchat.prompts.wording import FOUND_END, FOUND_HEADER, GIST_HEADER, PREAMBLE, asked, opening


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
        with _naming(tokenizer):
            self._source = fix_date(_template_of(tokenizer))
            self._layouts = choose_layouts(self._render)
            if not marks_roles(self._render, self._layouts):
                raise UnusableTemplate("does not mark who speaks")
        self._pieces: list[str] = []  # of the template's own text, those that conversations had so far
        self._pieces_around = lru_cache(maxsize=1000)(self._find_pieces)
        with _naming(tokenizer):
            self.stop_ids = self._find_stop_ids()
        self._wrapping = self._measure_wrapping()
        self._gist_extra = self._count(GIST_HEADER)
        self._found_extra = self._count(FOUND_HEADER) + self._count(FOUND_END)

    def _render(self, messages: list[Message], ask: bool) -> str:
        return self.tokenizer.apply_chat_template(
            messages, chat_template=self._source, add_generation_prompt=ask, tokenize=False
        )

    def _find_pieces(self, roles: tuple[str, ...]) -> list[int]:
        """Which of the pieces stand before, between and after the opening and the turns in these roles."""
        with _naming(self.tokenizer):
            pieces = skeleton(self._render, self._layouts[roles[0]], roles)
        if new := [piece for piece in dict.fromkeys(pieces) if piece not in self._pieces]:
            self._pieces = [*self._pieces, *new]
            self._joining = joining_template(self._pieces, self._source)
        return [self._pieces.index(piece) for piece in pieces]

    def _find_stop_ids(self) -> list[int]:
        """The token that ends a reply in this template, and whatever else a reply ends at.

        Whatever begins or ends a message ends a reply, too: a model that goes on with another message has answered.
        """
        # Not `all_special_ids`, which is without the special tokens that have no role such as end or padding.
        special = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        after_answer = skeleton(self._render, self._layouts[USER], [USER, ASSISTANT], ask=False)[-1]
        closing = self.tokenizer(after_answer, add_special_tokens=False)["input_ids"]
        found = [next((i for i in closing if i in special), None), self.tokenizer.eos_token_id]
        ends = [token for token in found if token is not None]
        if not ends:
            raise UserError("this tokenizer has no end token, so replies could not end")
        return list(dict.fromkeys([*ends, *(i for i in self._encode(opening(()), [(USER, "x")]) if i in special)]))

    def _measure_wrapping(self) -> dict[str, int]:
        """What a turn costs beyond its text.

        A window that begins with the model's turn may need a user message before it. Its tokens are part of that
        turn's cost; the user's turn before it, with which the window needs none, costs as much less.
        """
        one, two, three, four, five = (
            len(self._encode(opening(()), [(role, "x") for role in alternating(count)])) for count in range(1, 6)
        )
        # Short windows can cost less, where the template's own text at their edges makes a token with its neighbour.
        exchange = max(three - one, five - three)
        answer = max(two, four - exchange) - one
        text = self._count("x")
        return {ASSISTANT: answer - text, USER: exchange - answer - text}

    def _encode(self, beginning: str, turns: Sequence[tuple[str, str]]) -> list[int]:
        """Ids of what stands before the turns, and of the turns' roles and texts."""
        texts = ["", beginning, *(text for _, text in turns)]
        pieces = self._pieces_around(tuple(role for role, _ in turns))
        return self.tokenizer.apply_chat_template(
            [{"content": text, "piece": piece} for text, piece in zip(texts, pieces, strict=True)],
            chat_template=self._joining,
            sanitize_control_tokens=True,
            return_dict=False,
        )

    def encode(self, context: Context) -> Prompt:
        last = context.last.role, asked(context.found, context.last.text)
        turns = [*((turn.role, turn.text) for turn in context.turns), last]
        return Prompt(self._encode(opening(context.lines, context.preamble or self.preamble), turns))

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + self._wrapping[turn.role]

    def gist_cost(self) -> int:
        return self._gist_extra

    def found_cost(self) -> int:
        return self._found_extra


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
