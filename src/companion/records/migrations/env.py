"""What Alembic calls: the migrations run over the connection that was opened for them."""

from alembic import context

from companion.records.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
