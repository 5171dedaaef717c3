"""Old tables become new ones by Alembic, which is imported for that alone."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import create_engine
from sqlalchemy.engine import URL

from companion.records.database import StoreError


def upgrade(path: Path) -> None:
    """Run the migrations that this store has not seen. Raises StoreError when it is newer than the program."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    config = Config()
    config.set_main_option("script_location", "companion.records:migrations")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"{path} was written by a newer version of this program ({error})") from None
    finally:
        engine.dispose()
