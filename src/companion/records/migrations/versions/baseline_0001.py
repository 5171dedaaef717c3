"""The tables as they were in the beginning. Later changes are migrations of their own; this one stays as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("exchange_id", sa.Text(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("credential", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("url", sa.Text()),
        sa.Column("started", sa.Float()),
        sa.Column("reused", sa.Boolean()),
        sa.Column("waited", sa.Float()),
        sa.Column("dns", sa.Float()),
        sa.Column("connect", sa.Float()),
        sa.Column("tls", sa.Float()),
        sa.Column("write", sa.Float()),
        sa.Column("first_byte", sa.Float()),
        sa.Column("first_content", sa.Float()),
        sa.Column("ended", sa.Float()),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("fault_party", sa.Text()),
        sa.Column("fault_phase", sa.Text()),
        sa.Column("fault_kind", sa.Text()),
        sa.Column("fault_message", sa.Text()),
        sa.Column("fault_error_type", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("violations", sa.Text()),
        sa.Column("repairs", sa.Text()),
        sa.Column("sent_bytes", sa.BigInteger()),
        sa.Column("received_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("exchange_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "contents",
        sa.Column("exchange_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("same_as", sa.SmallInteger()),
        sa.Column("recipe", sa.LargeBinary()),
        sa.Column("times", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("exchange_id", "attempt", "kind", "part"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "exchanges",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float()),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("query", sa.Text()),
        sa.Column("model", sa.Text()),
        sa.Column("model_sent", sa.Text()),
        sa.Column("stream", sa.Boolean()),
        sa.Column("client", sa.Text()),
        sa.Column("session", sa.Text()),
        sa.Column("agent", sa.Text()),
        sa.Column("parent_agent", sa.Text()),
        sa.Column("labels", sa.Text()),
        sa.Column("peer", sa.Text()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("outcome", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("endpoint", sa.Text()),
        sa.Column("credential", sa.SmallInteger()),
        sa.Column("attempts", sa.SmallInteger()),
        sa.Column("first_byte", sa.Float()),
        sa.Column("first_content", sa.Float()),
        sa.Column("seconds", sa.Float()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("cache_read_tokens", sa.BigInteger()),
        sa.Column("cache_5m_tokens", sa.BigInteger()),
        sa.Column("cache_1h_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("stop_reason", sa.Text()),
        sa.Column("fault_party", sa.Text()),
        sa.Column("fault_phase", sa.Text()),
        sa.Column("fault_kind", sa.Text()),
        sa.Column("fault_message", sa.Text()),
        sa.Column("fault_error_type", sa.Text()),
        sa.Column("violations", sa.Text()),
        sa.Column("repairs", sa.Text()),
        sa.Column("request_bytes", sa.BigInteger()),
        sa.Column("response_bytes", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "exchanges_by_client",
        "exchanges",
        ["client", "id"],
        sqlite_where=sa.text("client IS NOT NULL"),
        postgresql_where=sa.text("client IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_endpoint",
        "exchanges",
        ["endpoint", "id"],
        sqlite_where=sa.text("endpoint IS NOT NULL"),
        postgresql_where=sa.text("endpoint IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_endpoint_and_model",
        "exchanges",
        ["endpoint", "model", "id"],
        sqlite_where=sa.text("endpoint IS NOT NULL AND model IS NOT NULL"),
        postgresql_where=sa.text("endpoint IS NOT NULL AND model IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_model",
        "exchanges",
        ["model", "id"],
        sqlite_where=sa.text("model IS NOT NULL"),
        postgresql_where=sa.text("model IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_outcome",
        "exchanges",
        ["outcome", "id"],
        sqlite_where=sa.text("outcome IS NOT NULL"),
        postgresql_where=sa.text("outcome IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_session",
        "exchanges",
        ["session", "id"],
        sqlite_where=sa.text("session IS NOT NULL"),
        postgresql_where=sa.text("session IS NOT NULL"),
    )
    op.create_index(
        "exchanges_by_status",
        "exchanges",
        ["status", "id"],
        sqlite_where=sa.text("status IS NOT NULL"),
        postgresql_where=sa.text("status IS NOT NULL"),
    )
    op.create_index(
        "exchanges_failed",
        "exchanges",
        ["id"],
        sqlite_where=sa.text("coalesce(outcome, '') IN ('error', 'truncated', 'rejected')"),
        postgresql_where=sa.text("coalesce(outcome, '') IN ('error', 'truncated', 'rejected')"),
    )
    op.create_index(
        "exchanges_failed_by_endpoint",
        "exchanges",
        ["endpoint", "id"],
        sqlite_where=sa.text("coalesce(outcome, '') IN ('error', 'truncated', 'rejected')"),
        postgresql_where=sa.text("coalesce(outcome, '') IN ('error', 'truncated', 'rejected')"),
    )
    op.create_index(
        "exchanges_running",
        "exchanges",
        ["id"],
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "learned",
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("repair", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("about", "model", "repair"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pieces",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("refs", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("pieces_by_digest", "pieces", ["digest"], unique=True)
