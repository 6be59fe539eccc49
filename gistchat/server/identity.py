"""Which conversation a list of messages belongs to.

A caller may name it in a header. Without one it is told by the whole earlier transcript: a chain of hashes, made with a
secret of the database, which the store finds again within the caller's namespace. What two conversations hold alike
belongs to neither of them.
"""

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gistchat.dialogue.turns import Turn, today
from gistchat.errors import UserError
from gistchat.server.chat_body import ChatBody, RawMessage
from gistchat.server.remembered import TRANSCRIPT, Said, message_cost, read_message
from gistchat.store.conversation_store import ConversationStore, NoSuchConversation
from gistchat.store.message_keys import FORGOTTEN

HEADER = "x-gistchat-conversation"
MOST_BODIES, MOST_CHARACTERS = 64, 2**25  # of bodies whose beginnings are recognised
MOST_BEGINNINGS = 512  # of lists that are recognised by what they say
LONGEST_ID = 100  # characters
TRIMS = "leaves_out_beginnings"  # a setting of conversations


@dataclass(frozen=True)
class Transcript:
    """What was said, of a list of messages.

    Attributes:
        places: of these in the list.
        path: these, each with all before it.
        standing: places of the others, which are the caller's own words to the model.
        digest: of the bytes of what was said.
    """

    places: list[int] = field(default_factory=list)
    path: list[Said] = field(default_factory=list)
    standing: list[int] = field(default_factory=list)
    digest: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    @property
    def earlier(self) -> int:
        """How many messages there are up to the last answer; what follows is new: the person's, or results of tools."""
        end = len(self.path)
        while end and not self.path[end - 1].is_answer:
            end -= 1
        return end


class Transcripts:
    """Reads chats. What was read of the same bytes before is not read again.

    Of a body that begins as an earlier one did, only the rest is looked at. Of a list that says the same, be it after
    another system message, only what it says is read.
    """

    def __init__(self, keys: Callable[..., list[str]]) -> None:
        """`keys`: as `ConversationStore.keys`."""
        self._keys = keys
        self._lock = threading.Lock()
        self._read: deque[tuple[ChatBody, Transcript]] = deque()  # the latest last
        self._said: OrderedDict[bytes, Said] = OrderedDict()

    def read(self, body: bytes) -> tuple[ChatBody, Transcript]:
        """Raises UserError where the body is none of a chat."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise UserError("the body is not UTF-8") from None
        with self._lock:
            begun = [pair for pair in self._read if text.startswith(pair[0].beginning)]
        known = max(begun, key=lambda pair: len(pair[0].beginning), default=None)
        if known:
            chat, earlier = ChatBody(text, known[0]), known[1]
            read = len(known[0].messages)
            transcript = replace(
                earlier,
                places=list(earlier.places),
                path=list(earlier.path),
                standing=list(earlier.standing),
                digest=earlier.digest.copy(),
            )
        else:
            chat, transcript, read = ChatBody(text), Transcript(), 0
        self._hear(transcript, chat.messages, read)
        self._keep(chat, transcript, known)
        return chat, transcript

    def _hear(self, transcript: Transcript, messages: Sequence[RawMessage], read: int) -> None:
        """Add the messages after the first so many."""
        digests = []
        for place in range(read, len(messages)):
            if messages[place].role not in TRANSCRIPT:
                transcript.standing.append(place)
                continue
            transcript.places.append(place)
            transcript.digest.update(f"{messages[place].json}\0".encode(errors="surrogatepass"))
            digests.append(transcript.digest.digest())
        said = self._longest_known(digests) if not transcript.path else None
        transcript.path.extend(said.path() if said else ())
        new = transcript.places[len(transcript.path) :]
        answers = [place for place in new if messages[place].role != "user"]
        for place in new:
            before = transcript.path[-1] if transcript.path else None
            turn, extra = read_message(messages[place].value, before)
            if not answers or place > answers[-1]:
                turn = turn._replace(date=today())
            transcript.path.append(self.after(before, turn, extra))

    def _longest_known(self, digests: Sequence[bytes]) -> Said | None:
        with self._lock:
            known = next((digest for digest in reversed(digests) if digest in self._said), None)
            if known:
                self._said.move_to_end(known)
            return self._said[known] if known else None

    def _keep(self, chat: ChatBody, transcript: Transcript, known: tuple[ChatBody, Transcript] | None) -> None:
        if not transcript.path:
            return
        with self._lock:
            self._said[transcript.digest.digest()] = transcript.path[-1]
            while len(self._said) > MOST_BEGINNINGS:
                self._said.popitem(last=False)
            if known in self._read:
                self._read.remove(known)
            self._read.append((chat, transcript))
            while sum(len(chat.beginning) for chat, _ in self._read) > MOST_CHARACTERS or len(self._read) > MOST_BODIES:
                self._read.popleft()

    def after(self, before: Said | None, turn: Turn, extra: dict[str, Any]) -> Said:
        """A message that follows another."""
        [key] = self._keys([turn], [extra], before.key if before else "")
        number, tokens = (before.number, before.tokens) if before else (0, 0)
        return Said(before, key, turn, extra, number + 1, tokens + message_cost(turn.text))


@dataclass(frozen=True)
class Placed:
    """Where a list of messages belongs.

    Attributes:
        id: of the conversation; empty for a new one.
        path: the whole transcript: what is kept of messages that the caller left out, and the caller's own.
        kept: how many of its messages the conversation is known to have.
        problem: what the caller should know.
    """

    id: str
    path: list[Said]
    kept: int = 0
    problem: str = ""


class Identity:
    """Finds conversations in the store."""

    def __init__(self, store: ConversationStore, transcripts: Transcripts) -> None:
        self.store, self.transcripts = store, transcripts

    def place(self, transcript: Transcript, namespace: str, named: str | None) -> Placed:
        """Where a list belongs. Raises UserError where the store cannot be asked."""
        problem = ""
        if named is not None:
            if (placed := self._in_named(transcript, namespace, named.strip()[:LONGEST_ID])) is not None:
                return placed
            # Also an id that another namespace has: whoever guesses learns nothing by it.
            problem = "no such conversation; it goes on in the one that this answer names"
        path, end = transcript.path, transcript.earlier
        if any(said.by_person for said in path[:end]):
            if ids := self.store.find(namespace, path[end - 1].key):
                return Placed(ids[0] if len(ids) == 1 else "", path, kept=end if len(ids) == 1 else 0, problem=problem)
            id, kept = self._of_most(path[:end], namespace)
            return Placed(id, path, kept=kept, problem=problem)
        return Placed("", path, problem=problem)

    def _of_most(self, path: Sequence[Said], namespace: str) -> tuple[str, int]:
        """The only conversation that has most of a transcript, and how many messages: its answers may have been
        changed by whoever shows them, or cut short."""
        known, unknown, ids = 0, len(path), []
        while unknown - known > 1:
            middle = (known + unknown) // 2
            if found := self.store.find(namespace, path[middle - 1].key):
                known, ids = middle, found
            else:
                unknown = middle
        told = [said.by_person for said in path[:known]]
        is_most = 2 * known >= len(path) and told.count(True) >= 2 and False in told
        return (ids[0], known) if is_most and len(ids) == 1 else ("", 0)

    def _in_named(self, transcript: Transcript, namespace: str, id: str) -> Placed | None:
        """Its place in a conversation that was named; None where there is none of that id."""
        try:
            info = self.store.info(id, namespace)
        except NoSuchConversation:
            return None
        path, end = transcript.path, transcript.earlier
        if end and id in self.store.find(namespace, path[end - 1].key):
            return Placed(id, path, kept=end)
        kept = self.kept_path(id)
        before, known = align(kept, path, bool(info.settings.get(TRIMS)))
        if before == known:
            return Placed(id, path, kept=known)
        if not info.settings.get(TRIMS):
            self.store.settings(id, {**info.settings, TRIMS: True})
        whole = kept[:before]
        for said in path[known:]:
            whole.append(self.transcripts.after(whole[-1], said.turn, said.extra))
        # Of the caller's own that are known, the store's stand in the path: they are the same.
        return Placed(id, whole, kept=before)

    def kept_path(self, id: str, head: str | None = None) -> list[Said]:
        """The messages of a conversation as the store has them."""
        path: list[Said] = []
        for message in self.store.path(id, head):
            before = path[-1] if path else None
            turn = Turn(message.speaker, message.text, message.date)
            tokens = (before.tokens if before else 0) + message_cost(turn.text)
            path.append(Said(before, message.key, turn, message.extra, len(path) + 1, tokens))
        return path


def align(kept: Sequence[Said], sent: Sequence[Said], trims: bool = False) -> tuple[int, int]:
    """Where a list goes on in what is kept, as its caller may have left out the beginning: (messages of `kept` that
    stay before, messages of `sent` that these end with).

    It is where most of the list's beginning is kept, best at the end. A list of the person's messages alone is new, as
    people say "yes" more than once; but where the conversation begins with it, it is asked again.

    Args:
        trims: whether this caller is known to leave out beginnings.
    """
    best = (0, 0, 0)  # messages that are alike, whether they reach the end, where they begin
    for start in range(len(kept)):
        alike = 0
        while alike < len(sent) and start + alike < len(kept) and _is_same(kept[start + alike], sent[alike]):
            alike += 1
        reaches = start + alike == len(kept)
        if reaches or (start == 0 and not trims) or not all(said.by_person for said in sent[:alike]):
            best = max(best, (alike, int(reaches), start))
    alike, _, start = best
    return (start + alike, alike) if alike else (len(kept), 0)


def _is_same(kept: Said, sent: Said) -> bool:
    if kept.turn.text == FORGOTTEN:  # whatever it was; the caller may know it still
        return kept.turn.speaker == sent.turn.speaker
    return kept.turn[:2] == sent.turn[:2] and kept.extra == sent.extra
