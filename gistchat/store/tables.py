"""The tables of conversations. A change here takes a new file in `migrations/versions`, and its number in `SCHEMA`."""

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()


def _conversation() -> Column[int]:
    return Column("conversation", Integer, ForeignKey("conversations.number", ondelete="CASCADE"), nullable=False)


secrets = Table("secrets", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))

# `number` is for the rows of other tables; people and programs only ever see `id`, which cannot be guessed.
conversations = Table(
    "conversations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("namespace", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("folded_title", Text, nullable=False),  # as `message_keys.folded` gives it, for the search
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column(
        "head", String, nullable=False
    ),  # key of the message that the conversation ends with; empty before the first
    Column("origin", String, nullable=False),
    Column("settings", Text, nullable=False),  # JSON, as all that only Python looks into
    Index("conversations_latest", "namespace", "updated", "id"),
)

# A tree per conversation: `parent` is the key of the message before, empty for a first one.
messages = Table(
    "messages",
    metadata,
    Column("number", Integer, primary_key=True),  # grows in the order of writing
    _conversation(),
    Column("key", String, nullable=False),
    Column("parent", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("speaker", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("date", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("extra", Text, nullable=False),
    Index("messages_by_conversation", "conversation", "key", unique=True),
    Index("messages_by_parent", "conversation", "parent"),
    Index("messages_by_key", "key"),
)

states = Table(
    "states",
    metadata,
    Column("conversation", Integer, ForeignKey("conversations.number", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("state", Text, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    _conversation(),
    Column("key", String, nullable=False),
    Column("receipt", Text, nullable=False),
    Index("receipts_by_message", "conversation", "key"),
)

ratings = Table(
    "ratings",
    metadata,
    Column("conversation", Integer, ForeignKey("conversations.number", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Column("rated", Double, nullable=False),
)
