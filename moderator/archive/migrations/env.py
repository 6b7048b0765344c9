"""Run migrations on the connection that `moderator.archive.database` passes."""

from alembic import context

from moderator.archive.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
