"""A session and its conversation in the store: kept as it goes, and gone on with later.

Every change of the turns adds messages to the store and moves the conversation's head; none takes any away, so what was
edited, undone or answered again stays there as another branch. Only what is forgotten goes for good.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gistchat.chat import session_file
from gistchat.chat.model import ChatModel
from gistchat.chat.session import FORGOTTEN, ChatSession, SavedFile
from gistchat.chat.speakers import PERSON
from gistchat.chat.state_folder import state_folder
from gistchat.dialogue.turns import Turn, is_texts
from gistchat.errors import UserError
from gistchat.locks import InUse, locked
from gistchat.store.conversation_store import ConversationInfo, ConversationStore, NoSuchConversation

TERMINAL = "chat"  # the origin of what is said in a terminal
PAGE = 100  # conversations that are looked at together


@dataclass(frozen=True)
class Opened:
    """What a conversation was opened with.

    Attributes:
        run: the folder or GGUF file that the model came from; None for the packaged adapter.
        overrides: `field=value` of the recipe, but for the strategy: the memory holds the one that was last.
        saved: the file that the conversation was saved to or loaded from.
    """

    run: Path | None
    overrides: list[str]
    seed: int | None
    saved: SavedFile | None

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Opened":
        """Raises KeyError or ValueError where these are not such as `_settings` gives."""
        run, overrides, seed, saved = (settings[name] for name in ("run", "overrides", "seed", "saved"))
        well = isinstance(run, str) and is_texts(overrides) and isinstance(seed, int | None)
        if not well or (saved is not None and not (is_texts(saved) and len(saved) == 2)):
            raise ValueError("not the settings of a chat")
        others = [setting for setting in overrides if not setting.startswith("chat.strategy=")]
        return cls(Path(run) if run else None, others, seed, SavedFile(Path(saved[0]), saved[1]) if saved else None)


class KeptConversation:
    """A conversation of the store, and what of a session is in it already.

    Attributes:
        id: empty until there is something to keep.
        updated: when it was changed last before it was opened, in seconds since 1970.
        exclusive: whether other chats are kept off while this one has it.
    """

    def __init__(
        self, store: ConversationStore, origin: str = TERMINAL, namespace: str = "", exclusive: bool = False
    ) -> None:
        """For a conversation that begins."""
        self.store, self.origin, self.namespace, self.exclusive = store, origin, namespace, exclusive
        self._lock = contextlib.ExitStack()
        self._held = False
        self.updated = 0.0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.id = ""
        self._turns: list[Turn] = []
        self._keys: list[str] = []  # of the messages that these turns are
        self._state: dict[str, Any] | None = None
        self._settings: dict[str, Any] = {}

    @classmethod
    def open(
        cls, store: ConversationStore, id: str, namespace: str | None = None, exclusive: bool = False
    ) -> "KeptConversation":
        """For one that goes on.

        Raises:
            NoSuchConversation: the namespace has none of this id.
            UserError: another chat is having it.
        """
        info = store.info(id, namespace)
        kept = cls(store, info.origin, info.namespace, exclusive)
        kept.id = id
        kept.hold()
        kept._read()
        return kept

    def _read(self) -> None:
        """To be called when it is held: it may have gone on meanwhile."""
        info, path = self.store.info(self.id), self.store.path(self.id)
        self._turns = [Turn(message.speaker, message.text, message.date) for message in path]
        self._keys = [message.key for message in path]
        self._state, self._settings = self.store.state(self.id, info.head), info.settings
        self.updated = info.updated

    @classmethod
    def latest(cls, store: ConversationStore) -> "KeptConversation":
        """The terminal's latest conversation that no other chat is having, held. Raises UserError: there is none."""
        problems = []
        for info in newest_first(store):
            if info.origin != TERMINAL:
                continue
            try:
                kept = cls.open(store, info.id, exclusive=True)
            except NoSuchConversation:  # just deleted
                continue
            except InUse as error:
                problems.append(str(error))
                continue
            if not kept.is_empty:
                return kept
            kept.close()
        raise UserError(f"no conversation to go on with{''.join(f'; {text}' for text in problems[:3])}")

    @property
    def is_empty(self) -> bool:
        return not self._turns and not (self._state or {}).get("pinned")

    @property
    def keys(self) -> Sequence[str]:
        """Of its messages, up to the head, as far as it knows of them."""
        return self._keys

    @property
    def turns(self) -> Sequence[Turn]:
        """That these messages are."""
        return self._turns

    @property
    def settings(self) -> dict[str, Any]:
        """As the store has them."""
        return self._settings

    @property
    def head(self) -> str:
        """Key of the last of its messages that it knows of; empty where there is none."""
        return self._keys[-1] if self._keys else ""

    @property
    def opened(self) -> Opened:
        """Raises UserError where the database holds no settings of a chat."""
        try:
            return Opened.of(self._settings)
        except (KeyError, ValueError, TypeError):
            raise UserError(f"conversation {self.id}: what it was opened with cannot be read; name a MODEL") from None

    def open_session(self, model: ChatModel, seed: int | None = None) -> tuple[ChatSession, Turn | None]:
        """A session that goes on with it, and the person's turn at its end that has no answer, which it leaves out."""
        turns = list(self._turns)
        unanswered = turns.pop() if turns and turns[-1].speaker == PERSON else None
        session, _ = session_file.restore(model, turns, self._state, f"conversation {self.id}", seed)
        return session, unanswered

    def record(self, session: ChatSession, asked: Turn | None = None) -> None:
        """Bring what changed to the store; when this returns, it is there for good.

        A conversation in which nothing was said or pinned is not made.

        Args:
            asked: a turn that the session is about to answer.

        Raises:
            UserError: it cannot be written; the next call tries again.
        """
        turns = [*session.turns, *([asked] if asked else [])]
        try:
            self._record(session, turns)
        except NoSuchConversation:  # deleted meanwhile, by another
            if not self.exclusive:
                raise
            self.close()
            self._begin_anew()
            self._record(session, turns)

    def _record(self, session: ChatSession, turns: list[Turn]) -> None:
        settings = {**self._settings, **_settings(session)}
        if session.forgot:
            self._forget(session.turns)
            session.forgot = False
        if not self.id:
            if not turns and not session.memory.pinned:
                return
            self.id = self.store.create(self.origin, self.namespace, settings=settings).id
            self._settings = settings
        self.hold()
        self._bring(turns, plain(session.state()))
        if settings != self._settings:
            self.store.settings(self.id, settings)
            self._settings = settings

    def _forget(self, turns: Sequence[Turn]) -> None:
        for number, (old, new) in enumerate(zip(self._turns, turns, strict=False)):
            if new.text == FORGOTTEN != old.text:
                for key in self._versions(self._keys[number]):
                    self.store.forget(self.id, key)
                self._turns[number] = new
                self._state = None  # the store has none any more

    def _versions(self, key: str) -> set[str]:
        """Of a turn that was edited or answered again: nobody who forgets it means the last one alone."""
        known: set[str] = set()
        found = {key}
        while new := found - known:
            known |= new
            found = {version for key in new for version in self.store.versions(self.id, key)}
        return known

    def _bring(self, turns: list[Turn], state: dict[str, Any]) -> None:
        keep = _same_at_start(turns, self._turns)
        head = self._keys[keep - 1] if keep else ""
        if keep < len(turns):
            added = [message.key for message in self.store.append(self.id, head, turns[keep:], state=state)]
        elif keep < len(self._turns):
            added = []
            self.store.set_head(self.id, head, state)
        elif state != self._state:
            added = []
            self.store.keep_state(self.id, head, state)
        else:
            return
        self._keys[keep:] = added
        self._turns, self._state = turns, state  # the same objects: that they are equal is seen at once the next time

    def hold(self) -> None:
        """Keep other chats off, where this is for one alone. Raises UserError where another one is having it."""
        if self.exclusive and not self._held:
            self._lock.enter_context(held(self.store, self.id))
            self._held = True

    def close(self) -> None:
        """Let other chats go on with it."""
        self._lock.close()
        self._held = False


@contextlib.contextmanager
def held(store: ConversationStore, id: str) -> Iterator[None]:
    """Keep other chats of this machine off a conversation. Raises InUse: one is having it."""
    path = store.database.path
    place = path.with_name(f"{path.name}-{id}") if path else _state_folder() / id
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(locked(place, seconds=0))
        except InUse:
            raise InUse(f"another chat is having conversation {id}") from None
        yield


def _state_folder() -> Path:
    try:
        return state_folder()
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None


def newest_first(store: ConversationStore, namespace: str | None = "") -> Iterator[ConversationInfo]:
    """All conversations of a namespace, or of all, as they are read."""
    before = None
    while page := store.list(namespace, limit=PAGE, before=before):
        yield from page
        before = page[-1].updated, page[-1].id


def find_conversation(store: ConversationStore, beginning: str) -> ConversationInfo:
    """The only one whose id begins so, whoever had it. Raises UserError: there is none, or several."""
    found = [info for info in newest_first(store, namespace=None) if info.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoSuchConversation(f"no conversation has an id that begins with {beginning!r}")
    raise UserError(f"{beginning!r} is the beginning of {len(found)} ids: {', '.join(info.id for info in found[:5])}")


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """As it will be when it is read again."""
    return json.loads(json.dumps(values))


def _settings(session: ChatSession) -> dict[str, Any]:
    """What the session was opened with, as `Opened.of` reads it, and the strategy that it is at."""
    model, saved = session.model, session.saved
    return plain(
        {
            "run": str(model.source.absolute()) if model.source else "",
            "overrides": model.overrides,
            "seed": session.seed,
            "saved": [str(saved.path), saved.digest] if saved else None,
            "strategy": session.recipe.chat.strategy,
            **({"budget": budget} if (budget := session.recipe.context.budget) != model.recipe.context.budget else {}),
        }
    )


def _same_at_start(turns: Sequence[Turn], others: Sequence[Turn]) -> int:
    least = min(len(turns), len(others))
    if turns[:least] == others[:least]:  # in nearly all cases, and much faster seen
        return least
    return next(number for number in range(least) if turns[number] != others[number])
