"""Conversations, their messages, and what is kept beside them."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _conversation(**settings: bool) -> sa.Column:
    return sa.Column("conversation", sa.Integer, sa.ForeignKey("conversations.number", ondelete="CASCADE"), **settings)


def upgrade() -> None:
    own = op.create_table(
        "secrets", sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
    )
    op.create_table(
        "conversations",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("title", "folded_title", "settings")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("namespace", "head", "origin")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("created", "updated")),
    )
    op.create_index("conversations_latest", "conversations", ["namespace", "updated", "id"])
    op.create_table(
        "messages",
        sa.Column("number", sa.Integer, primary_key=True),
        _conversation(nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("key", "parent")),
        sa.Column("position", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("speaker", "text", "folded", "date", "extra")),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_index("messages_by_conversation", "messages", ["conversation", "key"], unique=True)
    op.create_index("messages_by_parent", "messages", ["conversation", "parent"])
    op.create_index("messages_by_key", "messages", ["key"])
    op.create_table(
        "states",
        _conversation(primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "receipts",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        _conversation(nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
    )
    op.create_index("receipts_by_message", "receipts", ["conversation", "key"])
    op.create_table(
        "ratings",
        _conversation(primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("rated", sa.Double, nullable=False),
    )
    op.bulk_insert(own, [{"name": "keys", "value": secrets.token_hex(32)}])
