"""The tables are the same wherever they come from: schema.py, schema.sql or the migrations; and PostgreSQL has them."""

import sqlite3
from contextlib import closing
from importlib.resources import files
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from companion.records.database import VERSION
from companion.records.migrate import upgrade
from companion.records.schema import ddl, indexes, metadata
from companion.records.store import Store
from companion.records.views import Part
from tests.records.news import recording


def layout(connection: sqlite3.Connection) -> tuple[Any, ...]:
    """Columns, primary keys and indexes."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
    columns = {table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables}
    without_rowid = {table: connection.execute(f"PRAGMA index_info({table})").fetchall() for table in tables}
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL ORDER BY 1")
    return columns, without_rowid, made.fetchall()


def test_the_file_is_made_from_the_tables():
    assert (files("companion.records") / "schema.sql").read_text("utf-8") == ddl()


def test_the_migrations_make_the_same_tables_as_a_fresh_store(tmp_path):
    Store.open("sqlite:///fresh.db", tmp_path).close()
    upgrade(tmp_path / "migrated.db")

    with (
        closing(sqlite3.connect(tmp_path / "fresh.db")) as fresh,
        closing(sqlite3.connect(tmp_path / "migrated.db")) as migrated,
    ):
        assert layout(fresh) == layout(migrated)
        assert migrated.execute("SELECT version_num FROM alembic_version").fetchall() == [(VERSION,)]
    with create_engine(f"sqlite:///{tmp_path}/migrated.db").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_version_is_that_of_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "companion.records:migrations")

    assert ScriptDirectory.from_config(config).get_heads() == [VERSION]


def test_an_older_store_is_brought_up_to_date_when_it_is_opened(tmp_path):
    with closing(sqlite3.connect(tmp_path / "companion.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")

    with recording(tmp_path) as made:
        id = made.tell(b"as ever")
        records = made.read()
    assert records.bytes_of(id, Part.REQUEST_BODY) == b"as ever"


@pytest.mark.parametrize("made", [*map(CreateTable, metadata.sorted_tables), *map(CreateIndex, indexes)])
def test_postgresql_has_every_type(made):
    dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
    assert str(made.compile(dialect=dialect))


def test_a_fresh_store_can_give_space_back(tmp_path):
    Store.open("sqlite:///fresh.db", tmp_path).close()

    with closing(sqlite3.connect(tmp_path / "fresh.db")) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
