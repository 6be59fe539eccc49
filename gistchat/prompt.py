"""THE prompt formats: Context -> token ids. Training, evaluation and chat all come through here."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import jinja2
from transformers import PreTrainedTokenizerBase

from gistchat.context import MODEL, USER, Context, Line, RoleTurn
from gistchat.errors import UserError
from gistchat.tokens import TokenStore

LABELS = {USER: "User: ", MODEL: "You: ", "": ""}
PREAMBLE = "You are a friendly person in a casual chat. Answer the user in one or two short sentences."
GIST_HEADER = "\nEarlier in this chat:\n"
SPECIAL_TOKENS = ("<bos>", "<sum>", "<sp1>", "<sp2>")
PAPER_TOKENS = ("<bos>", "<sp1>", "<sp2>")


def make_format(name: str, tokenizer: PreTrainedTokenizerBase) -> "PromptFormat":
    """The format of that name for this tokenizer; `auto` takes the model's chat template where it marks roles.

    Formats with tokens of their own add these to the tokenizer where they are missing; the model's embeddings must
    then be resized.

    Raises:
        UserError: `chat-template` for a tokenizer without one, or with one that marks no roles.
    """
    if name == "auto":
        name = "chat-template" if tokenizer.chat_template and _marks_roles(tokenizer) else "speaker-tokens"
    return FORMATS[name](tokenizer)


def _marks_roles(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template shows who speaks. DialoGPT's does not: it puts the end token after each text."""

    def render(role: str) -> str:
        return tokenizer.apply_chat_template([{"role": role, "content": "x"}], tokenize=False)

    try:
        return render(USER) != render(MODEL)
    except jinja2.TemplateError:
        return True  # it minds who comes first


class PromptFormat(ABC):
    """Turns a context into the ids that the model reads, and a reply into the ids that it should write.

    Text is always encoded apart from the control tokens, so nothing that a person types becomes one.
    """

    name: str
    stop_ids: list[int]  # any of these ends a reply; the first is the one that is learned
    known: TokenStore | None = None  # ids of texts that were encoded before

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._count = lru_cache(maxsize=100_000)(lambda text: len(self.encode_text(text)))

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text; what looks like a control token is spelled out in ordinary pieces."""
        if self.known and (ids := self.known.get(text)) is not None:
            return ids
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def encode_reply(self, text: str) -> list[int]:
        """Ids of a reply and the token that ends it; these are the positions with a label."""
        return [*self.encode_text(text), self.stop_ids[0]]

    def decode_reply(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without control tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def token_types(self, ids: Sequence[int]) -> list[int] | None:
        """GPT-2's token types of a prompt, or of a prompt and its reply; None where the format has none."""
        return None

    def line_cost(self, line: Line) -> int:
        return self._count(render_line(line)) + 1  # and a line break

    @abstractmethod
    def encode(self, context: Context) -> list[int]:
        """Ids of the prompt, up to where the reply begins."""

    @abstractmethod
    def turn_cost(self, turn: RoleTurn) -> int:
        """Tokens of a verbatim turn, its wrapping included."""

    @abstractmethod
    def gist_cost(self) -> int:
        """Tokens around the lines of a gist."""


def render_line(line: Line) -> str:
    """A line of the gist as the model reads it."""
    return LABELS[line.role] + line.text


def render_gist(lines: Sequence[Line]) -> str:
    return "\n".join(render_line(line) for line in lines)


class SpeakerTokens(PromptFormat):
    """`<bos> [<sum> gist] (<sp1> own turn | <sp2> other's turn)* <sp2> last turn <sp1>`, where there is no template."""

    name = "speaker-tokens"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self.bos, self.sum, self.own, self.other = add_tokens(tokenizer, SPECIAL_TOKENS)
        self.stop_ids = [tokenizer.eos_token_id, self.own, self.other, self.sum, self.bos]

    def encode(self, context: Context) -> list[int]:
        ids = [self.bos]
        if context.lines:
            ids += [self.sum, *self.encode_text(render_gist(context.lines))]
        for turn in (*context.turns, context.last):
            ids += [self.own if turn.role == MODEL else self.other, *self.encode_text(turn.text)]
        return [*ids, self.own]

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + 1

    def gist_cost(self) -> int:
        return 1


class Paper(PromptFormat):
    """The paper's layout: `<bos><sp1>summary<sp2>user<sp1>reply<end>`, each part with its speaker as token type.

    The summary's part is there when it is empty, too. Verbatim turns of other context strategies stand between the
    summary and the last turn, one's own under `<sp1>`.
    """

    name = "paper"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self.bos, self.sp1, self.sp2 = add_tokens(tokenizer, _paper_tokens(tokenizer))
        self.own, self.other = self.sp1, self.sp2
        self.stop_ids = [tokenizer.eos_token_id, self.sp1, self.sp2, self.bos]

    def encode(self, context: Context) -> list[int]:
        return [self.bos, self.sp1, *self.encode_text(render_gist(context.lines)), *self._turns(context)]

    def _turns(self, context: Context) -> list[int]:
        ids: list[int] = []
        for turn in (*context.turns, context.last):
            ids += [self.own if turn.role == MODEL else self.other, *self.encode_text(turn.text)]
        return [*ids, self.own]

    def token_types(self, ids: Sequence[int]) -> list[int]:
        """The speaker token at or before each position; for `<bos>`, the first one.

        Texts cannot hold these tokens, so ids alone tell where a part begins.
        """
        current = next((i for i in ids if i in (self.sp1, self.sp2)), self.sp1)
        types = []
        for i in ids:
            current = i if i in (self.sp1, self.sp2) else current
            types.append(current)
        return types

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + 1

    def gist_cost(self) -> int:
        return 0  # its speaker token is always there


def _paper_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Begin, first and second speaker; models of the paper's parent name their own, the speakers in this order."""
    own = tokenizer.extra_special_tokens
    if not set(PAPER_TOKENS) <= tokenizer.get_vocab().keys() and len(own) == 2 and tokenizer.bos_token:
        return tokenizer.bos_token, own[0], own[1]
    return PAPER_TOKENS


class PaperTurns(Paper):
    """The layout of the paper's multi-turn parent: `<bos>(<sp1>user<sp2>own)*<sp1>user<sp2>reply<end>`, no summary."""

    name = "paper-turns"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self.own, self.other = self.sp2, self.sp1

    def encode(self, context: Context) -> list[int]:
        if context.lines:
            raise UserError(
                "the format 'paper-turns' has no place for a summary; use the strategies last, recent or full, "
                "or model.format = 'paper'"
            )
        return [self.bos, *self._turns(context)]


def add_tokens(tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> list[int]:
    """The ids of control tokens, which are added where they are missing.

    Raises:
        UserError: the tokenizer has no end token.
    """
    if tokenizer.eos_token_id is None:
        raise UserError("this tokenizer has no end token, so replies could not end")
    missing = [token for token in names if token not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"extra_special_tokens": missing}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(list(names))


class ChatTemplate(PromptFormat):
    """The instruct model's own template: the gist in the system message, turns as user and assistant messages."""

    name = "chat-template"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        if not tokenizer.chat_template:
            raise UserError("this tokenizer has no chat template; use model.format = 'speaker-tokens'")
        if not _marks_roles(tokenizer):
            raise UserError("this chat template does not mark who speaks; use model.format = 'speaker-tokens'")
        short = [{"role": "system", "content": PREAMBLE}, {"role": USER, "content": "x"}]
        answer = {"role": MODEL, "content": "x"}
        try:
            prompt = self._render(short, True)
            self._render([short[0], answer, short[1]], True)  # the latest turns may begin with one's own
        except jinja2.TemplateError as error:
            raise UserError(
                "this chat template wants no system message, or the user's turn first "
                f"({error}); use model.format = 'speaker-tokens'"
            ) from None
        closed = self._render([*short, answer], False)[len(prompt) :]
        special = set(tokenizer.all_special_ids)
        self.stop_ids = [next((i for i in closed if i in special), tokenizer.eos_token_id)]
        # Whatever begins or ends a message ends a reply, too: a model that goes on with another message has answered.
        others = [tokenizer.eos_token_id, *(i for i in dict.fromkeys(prompt) if i in special)]
        self.stop_ids += [i for i in dict.fromkeys(others) if i not in self.stop_ids]
        # What a message costs beyond its text, measured where one follows the other.
        lengths = [len(self._render([*short, answer, short[1]][:n], False)) for n in (2, 3, 4)]
        self._wrapping = {
            MODEL: lengths[1] - lengths[0] - self._count("x"),
            USER: lengths[2] - lengths[1] - self._count("x"),
        }
        self._gist_extra = self._count(GIST_HEADER)

    def _render(self, messages: list[dict[str, str]], ask: bool) -> list[int]:
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=ask, sanitize_control_tokens=True, return_dict=False
        )

    def encode(self, context: Context) -> list[int]:
        gist = GIST_HEADER + render_gist(context.lines) if context.lines else ""
        messages = [{"role": "system", "content": PREAMBLE + gist}]
        messages += [{"role": turn.role, "content": turn.text} for turn in (*context.turns, context.last)]
        return self._render(messages, True)

    def turn_cost(self, turn: RoleTurn) -> int:
        return self._count(turn.text) + self._wrapping[turn.role]

    def gist_cost(self) -> int:
        return self._gist_extra


FORMATS = {one.name: one for one in (SpeakerTokens, ChatTemplate, Paper, PaperTurns)}
