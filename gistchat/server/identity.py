"""Which conversation a list of messages belongs to.

A caller may name it in a header. Without one it is told by the whole earlier transcript: a chain of hashes, made with a
secret of the database, which the store finds again within the caller's namespace. What two conversations hold alike
belongs to neither of them.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gistchat.dialogue.turns import Turn
from gistchat.server.chat_body import RawMessage
from gistchat.server.remembered import TRANSCRIPT, Said, message_cost, read_message, today
from gistchat.store.conversation_store import ConversationStore, NoSuchConversation
from gistchat.store.message_keys import FORGOTTEN

HEADER = "x-gistchat-conversation"
KNOWN_LISTS = 512  # whose beginnings are recognised by their bytes
LONGEST_ID = 100  # characters
TRIMS = "leaves_out_beginnings"  # a setting of conversations


@dataclass(frozen=True)
class Transcript:
    """What was said, of a list of messages.

    Attributes:
        messages: all of the list.
        places: in it, of those that are said by somebody.
        path: these, each with all before it.
    """

    messages: Sequence[RawMessage]
    places: list[int]
    path: list[Said]

    @property
    def asked(self) -> int:
        """Index in the path of where the person's last messages begin; -1 where the person said nothing."""
        place = len(self.path) - 1
        while place >= 0 and not self.path[place].by_person:
            place -= 1
        while place > 0 and self.path[place - 1].by_person:
            place -= 1
        return place

    @property
    def earlier(self) -> int:
        """How many messages are before those of the person that the list ends with."""
        end = len(self.path)
        while end and self.path[end - 1].by_person:
            end -= 1
        return end


class Transcripts:
    """Reads lists of messages. What was read of the same bytes before is not read again."""

    def __init__(self, keys: Callable[..., list[str]]) -> None:
        """`keys`: as `ConversationStore.keys`."""
        self._keys = keys
        self._known: OrderedDict[bytes, Said] = OrderedDict()

    def read(self, messages: Sequence[RawMessage]) -> Transcript:
        places = [place for place, message in enumerate(messages) if message.role in TRANSCRIPT]
        digests = _digests(messages[place].json for place in places)
        said, read = self._longest_known(digests)
        answered = max((i for i, place in enumerate(places) if messages[place].role != "user"), default=-1)
        path = said.path() if said else []
        for number in range(read, len(places)):
            turn, extra = read_message(messages[places[number]].value, said)
            said = self.after(said, turn._replace(date=today()) if number > answered else turn, extra)
            path.append(said)
        if said:
            self._known[digests[-1]] = said
            while len(self._known) > KNOWN_LISTS:
                self._known.popitem(last=False)
        return Transcript(messages, places, path)

    def _longest_known(self, digests: list[bytes]) -> tuple[Said | None, int]:
        for end in range(len(digests), 0, -1):
            if said := self._known.get(digests[end - 1]):
                self._known.move_to_end(digests[end - 1])
                return said, end
        return None, 0

    def after(self, before: Said | None, turn, extra) -> Said:
        """A message that follows another."""
        [key] = self._keys([turn], [extra], before.key if before else "")
        number, tokens = (before.number, before.tokens) if before else (0, 0)
        return Said(before, key, turn, extra, number + 1, tokens + message_cost(turn.text))


def _digests(texts) -> list[bytes]:
    """Of each beginning of a list."""
    chain, digests = hashlib.blake2b(digest_size=16), []
    for text in texts:
        chain.update(text.encode(errors="surrogatepass"))
        chain.update(b"\0")
        digests.append(chain.digest())
    return digests


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
