"""Configurations that are not written yet: judged as the file would be, and for a test even made to work."""

from pathlib import Path

from companion.admin.editing import Data, Seen
from companion.config.editing.rewriting import rewritten
from companion.config.file import Loaded, parse, resolved
from companion.config.masked import unmasked
from companion.config.models import Settings


def judged(seen: Seen, desired: Data, path: Path) -> Settings:
    """The settings that the file would have. Raises ConfigError, and ApiError (409) while the file is not in order."""
    seen.usable()
    return parse(rewritten(seen.document.text, unmasked(desired, seen.data), path.name), path)


def drafted(seen: Seen, desired: Data, path: Path) -> Loaded:
    """The configuration that the file would be, with all secrets. Raises what `judged` raises."""
    return resolved(judged(seen, desired, path), path, None)
