"""The tables, as SQLAlchemy Core sees them: what queries and migrations are made of, in types that PostgreSQL has too.

The proxy itself never imports this: SQLAlchemy takes 18 MB and half a second. A fresh SQLite store is made from
schema.sql, which `python -m companion.records.schema` writes and a test compares with these tables.

Times with a date are seconds since the Unix epoch, all others seconds since the exchange began. Lists are JSON.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TextClause,
    and_,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.type_api import TypeEngine

FAILURES: Final = ("error", "truncated", "rejected")
"""The outcomes that hurt a client."""

# Written so that only the index for it fits: by that of outcomes they would have to be sorted.
FAILED: Final = f"coalesce(outcome, '') IN {FAILURES}"

_NUMBER: Final[TypeEngine[int]] = BigInteger().with_variant(Integer, "sqlite")

metadata: Final = MetaData()


def _fault() -> list[Column[str]]:
    return [Column(f"fault_{name}", Text) for name in ("party", "phase", "kind", "message", "error_type")]


# `outcome` is null while an exchange is under way.
exchanges: Final = Table(
    "exchanges",
    metadata,
    Column("id", Text, primary_key=True),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("query", Text),
    Column("model", Text),
    Column("model_sent", Text),
    Column("stream", Boolean),
    Column("client", Text),
    Column("session", Text),
    Column("agent", Text),
    Column("parent_agent", Text),
    Column("labels", Text),
    Column("peer", Text),
    Column("user_agent", Text),
    Column("outcome", Text),
    Column("note", Text),
    Column("status", SmallInteger),
    Column("endpoint", Text),
    Column("credential", SmallInteger),
    Column("attempts", SmallInteger),
    Column("first_byte", Float),
    Column("first_content", Float),
    Column("seconds", Float),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cache_read_tokens", BigInteger),
    Column("cache_5m_tokens", BigInteger),
    Column("cache_1h_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("stop_reason", Text),
    *_fault(),
    Column("violations", Text),
    Column("repairs", Text),
    Column("request_bytes", BigInteger),
    Column("response_bytes", BigInteger),
    sqlite_with_rowid=False,
)

# `ended` is null while a try is under way; `reason` is what the plan said about the candidate.
attempts: Final = Table(
    "attempts",
    metadata,
    Column("exchange_id", Text, primary_key=True),
    Column("number", SmallInteger, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("credential", SmallInteger, nullable=False),
    Column("reason", Text),
    Column("model", Text),
    Column("url", Text),
    Column("started", Float),
    Column("reused", Boolean),
    Column("waited", Float),
    Column("dns", Float),
    Column("connect", Float),
    Column("tls", Float),
    Column("write", Float),
    Column("first_byte", Float),
    Column("first_content", Float),
    Column("ended", Float),
    Column("status", SmallInteger),
    *_fault(),
    Column("request_id", Text),
    Column("violations", Text),
    Column("repairs", Text),
    Column("sent_bytes", BigInteger),
    Column("received_bytes", BigInteger),
    sqlite_with_rowid=False,
)

# Headers, bodies and plans: `recipe` lists pieces and what stands between them (contents.py). Attempt 0 is the client's
# side. A content with the recipe null is that of the attempt `same_as`, or was not kept.
contents: Final = Table(
    "contents",
    metadata,
    Column("exchange_id", Text, primary_key=True),
    Column("attempt", SmallInteger, primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("same_as", SmallInteger),
    Column("recipe", LargeBinary),
    Column("times", LargeBinary),
    sqlite_with_rowid=False,
)

# What contents share, found by its SHA-256. How many recipes name it changes, so the bytes are kept apart.
pieces: Final = Table(
    "pieces",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("refs", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)

# `data` is zstd where it is shorter than `size`, else the bytes themselves.
blobs: Final = Table(
    "blobs",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

learned: Final = Table(
    "learned",
    metadata,
    Column("about", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("repair", Text, primary_key=True),
    Column("endpoint", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)


def _of_some(name: str, there: ColumnElement[bool] | TextClause, *columns: Column[Any]) -> Index:
    """Has only the rows of which that is true."""
    return Index(name, *columns, exchanges.c.id, sqlite_where=there, postgresql_where=there)


def _listed(name: str) -> Index:
    """Finds exchanges by one value, newest first; the many that have none are not in it."""
    column = exchanges.c[name]
    return _of_some(f"exchanges_by_{name}", column.is_not(None), column)


# What is asked for together may be seldom together: a walk by one of both alone would be long.
_both: Final = and_(exchanges.c.endpoint.is_not(None), exchanges.c.model.is_not(None))
indexes: Final = (
    *map(_listed, ("endpoint", "session", "model", "client", "outcome", "status")),
    _of_some("exchanges_failed", text(FAILED)),
    _of_some("exchanges_failed_by_endpoint", text(FAILED), exchanges.c.endpoint),
    _of_some("exchanges_by_endpoint_and_model", _both, exchanges.c.endpoint, exchanges.c.model),
    _of_some("exchanges_running", exchanges.c.outcome.is_(None)),
    Index("pieces_by_digest", pieces.c.digest, unique=True),
)


def ddl() -> str:
    """schema.sql."""
    dialect = sqlite.dialect()
    tables = [str(CreateTable(table).compile(dialect=dialect)).strip() for table in metadata.sorted_tables]
    made = [*tables, *(str(CreateIndex(index).compile(dialect=dialect)).strip() for index in indexes)]
    lines = "\n".join(line.strip() for line in ";\n".join(made).splitlines())
    return f"-- Made from schema.py by `python -m companion.records.schema`.\n{lines};\n"


if __name__ == "__main__":
    print(ddl(), end="")
