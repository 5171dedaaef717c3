"""Decompression in small steps, against the library doing it in one."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.net.inflate import MAX_PIECE, MAX_RATIO, InflateError, inflater


def compressed(data: bytes, way: str) -> tuple[bytes, bytes]:
    """The encoding's name and the body."""
    if way == "gzip":
        return b"gzip", gzip.compress(data)
    if way == "zlib":
        return b"deflate", zlib.compress(data)
    deflating = zlib.compressobj(wbits=-15)
    return b"deflate", deflating.compress(data) + deflating.flush()


def undo(encoding: bytes, pieces: list[bytes]) -> list[bytes]:
    """Everything that comes out, in the pieces that it comes in."""
    inflating = inflater(encoding)
    assert inflating is not None
    out: list[bytes] = []
    for piece in pieces:
        inflating.push(piece)
        while plain := inflating.pull():
            out.append(plain)
        assert not inflating.pending
    assert inflating.complete
    return out


@given(st.binary(max_size=3000), st.integers(1, 50), st.sampled_from(["gzip", "zlib", "raw"]))
def test_pieces_of_any_size_give_the_same_bytes(data, size, way):
    encoding, body = compressed(data, way)
    assert b"".join(undo(encoding, [body[at : at + size] for at in range(0, len(body), size)])) == data


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=4), st.integers(1, 30))
def test_gzip_members_follow_each_other(members, size):
    body = b"".join(map(gzip.compress, members))
    assert b"".join(undo(b"gzip", [body[at : at + size] for at in range(0, len(body), size)])) == b"".join(members)


@pytest.mark.parametrize("extra", [-1, 0, 1, 257])
def test_no_piece_is_larger_than_the_cap_and_nothing_is_held_back(extra):
    data = bytes(range(256)) * (3 * MAX_PIECE // 256) + b"\0" * (3 * MAX_PIECE // 256 + extra)
    out = undo(b"gzip", [gzip.compress(data)])
    assert b"".join(out) == data
    assert max(map(len, out)) <= MAX_PIECE


@pytest.mark.parametrize("cut", range(1025, 1045))
def test_what_does_not_fit_into_a_piece_comes_with_the_next(cut):
    body = zlib.compress(b"\0" * 3 * MAX_PIECE)[:cut]  # the cuts lie where a mebibyte has just come out, or is about to
    inflating = inflater(b"deflate")
    assert inflating is not None
    inflating.push(body)
    assert sum(map(len, iter(inflating.pull, b""))) == len(zlib.decompressobj().decompress(body))


def test_a_bomb_is_refused_before_it_has_expanded():
    body = gzip.compress(b"\0" * 50_000_000)
    inflating = inflater(b"gzip")
    assert inflating is not None
    inflating.push(body)
    sizes: list[int] = []
    with pytest.raises(InflateError, match="expands more than 200 times"):
        sizes.extend(map(len, iter(inflating.pull, b"")))
    assert sum(sizes) <= MAX_PIECE + MAX_RATIO * len(body)


@pytest.mark.parametrize("encoding", [b"", b"identity", b" Identity , none"])
def test_nothing_to_undo(encoding):
    assert inflater(encoding) is None


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, deflate", b"\xff"])
def test_other_encodings_are_refused_by_name(encoding):
    with pytest.raises(InflateError, match="is not understood here"):
        inflater(encoding)


def test_nothing_at_all_is_a_whole_body():
    inflating = inflater(b"gzip")
    assert inflating is not None
    assert inflating.complete
    inflating.push(b"\x1f")
    assert inflating.pull() == b""
    assert not inflating.complete
