"""What tells that a file has changed, without reading it: time of change, size, and which file it is.

Polling this is right where notifications are not: on network file systems, through symbolic links, in containers, and
for a file that is replaced rather than written.
"""

from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """(mtime in ns, size in bytes, inode); None if there is no such file, or none that we may see."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The stamps of several files."""
    return {path: stamp(path) for path in paths}
