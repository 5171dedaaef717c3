"""Headers, bodies and plans, kept as recipes: lists of pieces, each stored once however many contents hold it.

A recipe is a msgpack list of numbers (pieces) and bytes (what is too short to be one). A piece is found by the SHA-256
of its bytes and lives as long as a recipe names it. A stream is stored in parts as it comes, each a content of its own
with the length and time of every piece of the stream in it.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import IntEnum
from sqlite3 import Connection
from typing import Final, NamedTuple

import msgspec

from companion.records.cut import SMALL, Known, Memory, Piece, Ref, front_and_back
from companion.records.mask import Mask

CLIENT: Final = 0
"""The attempt under which the client's side stands."""

_LEVEL: Final = 3
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_encode: Final = msgspec.msgpack.Encoder().encode
_recipe: Final = msgspec.msgpack.Decoder(list[int | bytes]).decode
_numbers: Final = msgspec.msgpack.Decoder(list[int]).decode

_INSERT: Final = (
    "INSERT INTO contents (exchange_id, attempt, kind, part, size, same_as, recipe, times) VALUES (?,?,?,?,?,?,?,?)"
    " ON CONFLICT DO NOTHING"
)
_USED: Final = "UPDATE pieces SET refs = refs + ? WHERE id BETWEEN ? AND ?"
_FIND: Final = "SELECT id FROM pieces WHERE digest = ?"
_LAST: Final = "SELECT coalesce(max(id), 0) FROM pieces"
_NEW: Final = "INSERT INTO pieces (id, refs, digest) VALUES (?, ?, ?)"
_BLOB: Final = "INSERT INTO blobs (id, size, data) VALUES (?, ?, ?)"
_UNUSED: Final = "DELETE FROM pieces WHERE id = ? AND refs <= 0"
_WITHOUT: Final = "DELETE FROM blobs WHERE id = ? AND NOT EXISTS (SELECT 1 FROM pieces WHERE pieces.id = blobs.id)"


class Kind(IntEnum):
    """What of an exchange or a try a content is."""

    REQUEST_HEADERS = 0
    REQUEST_BODY = 1
    RESPONSE_HEADERS = 2
    RESPONSE_BODY = 3
    PLAN = 4


BODIES: Final = (Kind.REQUEST_BODY, Kind.RESPONSE_BODY)


class Place(NamedTuple):
    """Where a content belongs."""

    exchange: str
    attempt: int
    kind: Kind
    part: int = 0


Times = Sequence[tuple[int, float]]
"""Of each piece of a stream its length and when it came, in seconds since the exchange began."""


class Contents:
    """The writing side, for one thread and one connection. Nothing is there for readers until `flush` and a commit."""

    def __init__(self, connection: Connection) -> None:
        import zstandard  # noqa: PLC0415 - a codec, for the thread that writes

        self._connection = connection
        self._compress: Callable[[bytes], bytes] = zstandard.ZstdCompressor(level=_LEVEL).compress
        self._memory = Memory()
        self._rows: list[tuple[object, ...]] = []
        self._used: list[int] = []
        self._lost: list[int] = []
        # Of this batch: pieces by their digests, blobs, and the last number that is taken.
        self._new: dict[bytes, int] = {}
        self._blobs: list[tuple[int, int, bytes]] = []
        self._last: int | None = None

    def forget(self) -> None:
        """What was written last may not be there (a rollback, or somebody else deleted): take nothing for known."""
        self._memory.clear()
        self._clear()

    def _clear(self) -> None:
        for gathered in (self._rows, self._used, self._lost, self._new, self._blobs):
            gathered.clear()
        self._last = None

    def put(
        self,
        place: Place,
        data: bytes,
        mask: Mask,
        cut: Callable[[bytes], list[Piece]],
        *,
        like: Hashable,
        remember: bool = True,
    ) -> None:
        """Store one, masked. `like` names what it probably repeats."""
        last = self._memory.known(like)
        known = last.pieces
        front, back, start, end = front_and_back(data, known)
        if data and front + back == len(known) and start == end:
            self._row(place, last.size, last.shared, last.recipe, None)
            return
        middle = [Piece(piece.data, self._ref(mask.bytes(piece.data))) for piece in cut(data[start:end])]
        pieces = [*known[:front], *middle, *known[len(known) - back :]]
        refs = [piece.ref for piece in pieces]
        stored = Known(len(data), pieces, [ref for ref in refs if ref.__class__ is int], _encode(refs))
        if remember:
            self._memory.keep(like, stored)
        self._row(place, stored.size, stored.shared, stored.recipe, None)

    def put_part(self, place: Place, masked: bytes, times: Times) -> None:
        """Store a part of a stream, masked already."""
        ref = self._ref(masked)
        shared = [ref] if isinstance(ref, int) else []
        self._row(place, len(masked), shared, _encode([ref]), self._timed(times))

    def put_same(self, place: Place, size: int, attempt: int) -> None:
        """It is the same as that of another attempt."""
        self._rows.append((*place, size, attempt, None, None))

    def put_missing(self, place: Place, size: int) -> None:
        """It had this many bytes, and they were not kept."""
        self._rows.append((*place, size, None, None, None))

    def repeats(self, data: bytes, like: Hashable) -> bool:
        """Whether these are exactly the bytes that were put last under this name."""
        last = self._memory.known(like)
        if last.size != len(data) or not data:
            return False
        front, back, _, _ = front_and_back(data, last.pieces)
        return front + back == len(last.pieces)

    def delete(self, exchanges: Iterable[str], kinds: Sequence[Kind] = tuple(Kind)) -> None:
        """All contents of these kinds of these exchanges, and the pieces that nothing else holds."""
        self.flush()
        chosen = ",".join(str(int(kind)) for kind in kinds)
        where = f"exchange_id = ? AND kind IN ({chosen})"
        for exchange in exchanges:
            found = self._connection.execute(f"SELECT recipe FROM contents WHERE {where}", (exchange,))  # noqa: S608 - ours
            for (recipe,) in found:
                self._lost += numbers(recipe)
            self._connection.execute(f"DELETE FROM contents WHERE {where}", (exchange,))  # noqa: S608 - numbers only
        self.flush()

    def flush(self) -> None:
        """Write what was put."""
        write = self._connection.executemany
        write(_INSERT, self._rows)
        uses = Counter(self._used)
        write(_NEW, [(number, uses.pop(number), digest) for digest, number in self._new.items()])
        write(_BLOB, self._blobs)
        if self._lost:
            uses.subtract(self._lost)
        write(_USED, _ranges(uses))
        if self._lost:
            lost = [(number,) for number in set(self._lost)]
            write(_UNUSED, lost)
            write(_WITHOUT, lost)
            self._memory.clear()
        self._clear()

    def _ref(self, masked: bytes) -> Ref:
        if len(masked) <= SMALL:
            return masked
        digest = hashlib.sha256(masked).digest()
        number = self._new.get(digest)
        if number is not None:
            return number
        found = self._connection.execute(_FIND, (digest,)).fetchone()
        if found is not None:
            return int(found[0])
        if self._last is None:
            self._last = self._connection.execute(_LAST).fetchone()[0]
        self._last += 1
        packed = self._compress(masked)
        self._blobs.append((self._last, len(masked), packed if len(packed) < len(masked) else masked))
        self._new[digest] = self._last
        return self._last

    def _row(self, place: Place, size: int, shared: Sequence[int], recipe: bytes, times: bytes | None) -> None:
        self._used += shared
        self._rows.append((*place, size, None, recipe, times))

    def _timed(self, times: Times) -> bytes:
        """Pairs of length and microseconds since the piece before."""
        flat: list[int] = []
        before = 0
        for length, at in times:
            now = round(at * 1_000_000)
            flat += (length, now - before)
            before = now
        packed = _encode(flat)
        smaller = self._compress(packed)
        return smaller if len(smaller) < len(packed) else packed


def _ranges(uses: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Count, first and last of numbers in a row with the same count: pieces of one conversation have such numbers."""
    found: list[tuple[int, int, int]] = []
    count, first, last = 0, 0, -1
    for number, used in sorted(uses.items()):
        if used != count or number != last + 1:
            found.append((count, first, last))
            count, first = used, number
        last = number
    found.append((count, first, last))
    return found[1:]


# === reading


def numbers(recipe: bytes | None) -> list[int]:
    """The pieces that a recipe names."""
    return [] if recipe is None else [ref for ref in _recipe(recipe) if isinstance(ref, int)]


def cooked(recipe: bytes, piece: Callable[[int], bytes]) -> bytes:
    """The content that a recipe describes; `piece` gets the bytes of one."""
    return b"".join([ref if isinstance(ref, bytes) else piece(ref) for ref in _recipe(recipe)])


def unpacked(data: bytes, size: int) -> bytes:
    """The bytes of a blob."""
    if len(data) == size:
        return data
    import zstandard  # noqa: PLC0415 - a codec, for whoever reads

    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


def times_of(packed: bytes) -> list[tuple[int, float]]:
    """Length and time of each piece of a part."""
    if packed.startswith(_ZSTD_MAGIC):
        import zstandard  # noqa: PLC0415 - a codec, for whoever reads

        packed = zstandard.ZstdDecompressor().decompress(packed)
    flat, now, found = _numbers(packed), 0, []
    for length, later in zip(flat[::2], flat[1::2], strict=True):
        now += later
        found.append((length, now / 1_000_000))
    return found
