"""Run by Alembic: brings the tables up to date over the connection that `database.py` gives."""

from alembic import context

from gistchat.store.database import VERSION_TABLE
from gistchat.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
