"""What the conversations API takes and gives, as its OpenAPI schema says it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gistchat.context.strategies import STRATEGIES
from gistchat.dialogue.text_repair import clean_line, clean_text

LONGEST_TEXT = 200_000  # letters of a turn
LONGEST_TITLE = 200
MOST_TURNS = 10_000  # that a conversation may be begun with
MOST_BUDGET = 1_000_000  # tokens
CHAT_STRATEGIES = tuple(strategy.name for strategy in STRATEGIES.values() if strategy.in_chat)


def _readable(text: str) -> str:
    if not clean_text(text):
        raise ValueError("nothing in it that can be read")
    return text


def _title(text: str) -> str:
    return clean_line(text)


Text = Annotated[
    str, Field(min_length=1, max_length=LONGEST_TEXT, examples=["I live in Lisbon."]), AfterValidator(_readable)
]
Title = Annotated[str, Field(max_length=LONGEST_TITLE, examples=["Lisbon"]), AfterValidator(_title)]
StrategyName = Annotated[Literal[CHAT_STRATEGIES], Field(examples=["memory"])]  # type: ignore[valid-type]
Budget = Annotated[int, Field(ge=0, le=MOST_BUDGET, strict=True, examples=[512])]
Number = Annotated[int, Field(ge=1, le=10**9, strict=True, examples=[1])]
Speaker = Literal["user", "model"]


class Asked(BaseModel):
    """A request's body: a field that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """A reply's body."""


# ---- conversations


class NewTurn(Asked):
    speaker: Speaker
    text: Text


class NewConversation(Asked):
    title: Title = ""
    strategy: StrategyName | None = None
    budget: Budget | None = None
    turns: list[NewTurn] = Field([], max_length=MOST_TURNS)


class ChangedConversation(Asked):
    title: Title | None = None
    strategy: StrategyName | None = None
    budget: Budget | None = None


class Conversation(Given):
    id: str = Field(examples=["q3Zt1u0e9Yh0yZk0f4Xy3A"])
    title: str
    created: float = Field(description="seconds since 1970")
    updated: float = Field(description="seconds since 1970")
    messages: int = Field(description="of the line that is shown")
    origin: str = Field(examples=["page"])
    strategy: str = Field(examples=["memory"])
    budget: int | None = Field(None, description="tokens before the last turn; null: the model's own")


class Conversations(Given):
    conversations: list[Conversation]
    next: str | None = Field(description="`before` of the next request; null at the end")


class Info(Given):
    version: str
    model: str = Field(description="empty where only a backend answers")
    strategy: str
    strategies: list[str]
    budget: int
    limit: int = Field(description="tokens of prompt and reply together")
    backend: bool
    needs_key: bool


# ---- messages


class Message(Given):
    key: str = Field(description="stays the same as long as this text and what was said before it do")
    number: int = Field(description="1-based")
    speaker: str
    text: str
    date: str
    created: float
    siblings: list[str] = Field(description="keys of all versions of this message, oldest first, its own included")
    receipt: str | None = Field(None, description="id of what was sent for it: GET /api/receipts/{id}")
    rating: Literal[1, 0, -1] = 0


class Messages(Given):
    total: int
    first: int = Field(description="the number of the first message here")
    messages: list[Message]


class Drawn(Asked):
    """How a reply is to be drawn; what is not given is as the model's recipe says."""

    temperature: float | None = Field(None, ge=0, le=2, examples=[0.8])
    max_tokens: int | None = Field(None, ge=1, le=100_000, strict=True, examples=[60])
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1, strict=True)


class ToAnswer(Drawn):
    stream: bool = Field(False, strict=True)


class Said(ToAnswer):
    text: Text


class Edit(ToAnswer):
    text: Text
    answer: bool = Field(
        False, strict=True, description="whether a person's turn is answered anew; else what follows stays"
    )


class Answered(Given):
    asked: Message
    answer: Message
    notice: str = Field(description="what people should know about this turn, such as that it was shortened")


class Edited(Given):
    key: str = Field(description="of the edited message; after a change of the head, of the last one")
    total: int = Field(description="messages of the line that the conversation is at now")


class Undone(Given):
    text: str = Field(description="of the turn that was taken back")
    total: int


class Head(Asked):
    key: str = Field(min_length=1, max_length=200)


class Rating(Asked):
    value: Literal[1, 0, -1]
    note: str = Field("", max_length=10_000)


class Rated(Given):
    key: str
    value: Literal[1, 0, -1]
    note: str


# ---- memory


class GistLine(Given):
    number: int = Field(description="for pins and deletions")
    speaker: str
    text: str
    turns: list[int] = Field(description="1-based numbers of the turns that it comes from; none: by hand")
    pinned: bool
    fact: str | None = Field(None, description="the kind of standing fact that it states")


class GistNow(Given):
    made_by: str
    covers: int = Field(description="it stands for the turns 1 to this one")
    lines: list[GistLine]


class FoundLine(Given):
    turn: int
    text: str
    why: str


class FactLine(Given):
    turn: int
    speaker: str
    kind: str
    text: str
    until: int | None = Field(None, description="the turn that ended it")
    in_gist: bool


class PinnedLine(Given):
    number: int
    text: str


class GistVersion(Given):
    number: int = Field(description="1 is the latest")
    covers: int
    made_by: str
    lines: list[str]


class Parts(Given):
    pinned: int
    gist: int
    facts: int
    found: int
    verbatim: int


class Tokens(Given):
    used: int
    budget: int
    parts: Parts


class Memory(Given):
    strategy: str
    budget: int
    tokens: Tokens
    boundary: int = Field(description="the turns 1 to this one are no longer read word for word")
    gist: GistNow
    next_gist_lines: list[GistLine]
    found: list[FoundLine]
    facts: list[FactLine]
    pinned: list[PinnedLine]
    versions: list[GistVersion]
    notice: str


class GistText(Asked):
    text: Text


class GistNumber(Asked):
    number: Number = 1


class Pin(Asked):
    """A text of one's own, or the number of a line of the gist."""

    text: Text | None = None
    line: Number | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Pin":
        if (self.text is None) == (self.line is None):
            raise ValueError("give either a text or the number of a line")
        return self


class FoundMessage(Given):
    number: int
    key: str
    speaker: str
    text: str
    why: str


class FoundMessages(Given):
    found: list[FoundMessage]


# ---- two answers side by side


class Side(Asked):
    strategy: StrategyName | None = None
    model: str | None = Field(None, max_length=300)


class Comparison(Drawn):
    text: Text | None = Field(None, description="to be answered; without it, the person's last turn")
    stream: Literal[True] = Field(True, description="the answers always come as a stream")
    sides: list[Side] = Field(alias="with", min_length=2, max_length=2)


class Choice(Asked):
    text: Text | None = Field(None, description="that was answered; without it, the person's last turn")
    answer: Text
    other: Text | None = None
    chosen: Side = Side()
    rejected: Side | None = None


# ---- receipts


class Receipt(Given):
    """What was sent for a reply, line by line, and what it took."""

    model_config = ConfigDict(extra="allow")
