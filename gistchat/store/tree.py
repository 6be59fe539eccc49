"""Questions about the tree of a conversation's messages, asked of the database in one go each."""

from typing import Any

from sqlalchemy import CTE, Select, and_, func, literal, or_, select

from gistchat.store.rows import OF_MESSAGE
from gistchat.store.tables import conversations, messages, ratings, receipts, states


def path(number: int, key: str) -> Select[Any]:
    """The messages from a first one to this one. `number`: of the conversation, as everywhere here."""
    steps = _upwards(number, key)
    return select(*OF_MESSAGE).join(steps, messages.c.number == steps.c.number).order_by(messages.c.position)


def _upwards(number: int, key: str) -> CTE:
    start = select(messages.c.number, messages.c.parent)
    steps = start.where(messages.c.conversation == number, messages.c.key == key).cte("steps", recursive=True)
    above = and_(messages.c.conversation == number, messages.c.key == steps.c.parent)
    return steps.union_all(start.join(steps, above))


def state_before(number: int, key: str) -> Select[Any]:
    """The key of the nearest message before this one after which memory was kept. Stops there."""
    kept = and_(states.c.conversation == messages.c.conversation, states.c.key == messages.c.parent)
    start = select(messages.c.parent, states.c.key.label("kept")).select_from(messages.outerjoin(states, kept))
    steps = start.where(messages.c.conversation == number, messages.c.key == key).cte("steps", recursive=True)
    above = and_(messages.c.key == steps.c.parent, steps.c.kept.is_(None))
    steps = steps.union_all(start.where(messages.c.conversation == number).join(steps, above))
    return select(steps.c.kept).where(steps.c.kept.is_not(None))


def newest_below(number: int, key: str) -> Select[Any]:
    """The key of what was written last among the messages that follow this one: nothing can follow it yet."""
    start = select(literal(key).label("key"))
    steps = start.cte("steps", recursive=True)
    below = and_(messages.c.conversation == number, messages.c.parent == steps.c.key)
    steps = steps.union_all(select(messages.c.key).join(steps, below))
    newest = select(messages.c.key).where(messages.c.conversation == number, messages.c.key.in_(select(steps.c.key)))
    return newest.order_by(messages.c.number.desc()).limit(1)


def siblings(number: int, keys: list[str]) -> Select[Any]:
    """Pairs of a message and one that follows the same message, the oldest first."""
    others = messages.alias()
    same = and_(others.c.conversation == messages.c.conversation, others.c.parent == messages.c.parent)
    query = select(messages.c.key, others.c.key).join(others, same)
    return query.where(messages.c.conversation == number, messages.c.key.in_(keys)).order_by(others.c.number)


def versions(number: int, key: str) -> Select[Any]:
    """The keys of messages that follow the same message as this one or as a copy of it, by the same speaker."""
    one, copy = messages.alias(), messages.alias()
    as_it_is = and_(*(copy.c[name] == one.c[name] for name in ("conversation", "position", "speaker", "text")))
    instead = and_(*(messages.c[name] == copy.c[name] for name in ("conversation", "speaker", "parent")))
    query = select(messages.c.key).distinct().select_from(one).join(copy, as_it_is).join(messages, instead)
    return query.where(one.c.conversation == number, one.c.key == key)


def _hanging(table: Any, key: Any) -> Select[Any]:
    """Rows of a table that name a message which is not there."""
    other = messages.alias()
    query = select(conversations.c.id, key.label("key"))
    if table is not conversations:
        query = query.join(table, table.c.conversation == conversations.c.number)
    there = and_(other.c.conversation == conversations.c.number, other.c.key == key)
    return query.outerjoin(other, there).where(key != "", other.c.number.is_(None))


def _misplaced() -> Select[Any]:
    """Messages whose position is not one more than that of the message before."""
    parent = messages.alias()
    before = and_(parent.c.conversation == messages.c.conversation, parent.c.key == messages.c.parent)
    query = select(conversations.c.id, messages.c.key).join(messages, messages.c.conversation == conversations.c.number)
    wrong = or_(
        and_(messages.c.parent == "", messages.c.position != 0),
        messages.c.position != func.coalesce(parent.c.position + 1, messages.c.position),
    )
    return query.outerjoin(parent, before).where(wrong)


PROBLEMS = [
    (_hanging(messages, messages.c.parent), "what was before a message is missing"),
    (_misplaced(), "a message is not in its place"),
    (_hanging(conversations, conversations.c.head), "its last message is missing"),
    (_hanging(states, states.c.key), "memory of a message that is missing"),
    (_hanging(receipts, receipts.c.key), "a receipt of a message that is missing"),
    (_hanging(ratings, ratings.c.key), "a rating of a message that is missing"),
]
