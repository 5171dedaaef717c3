"""Decompression in small steps, against the library doing it in one."""

import gzip
import random
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from companion.net.inflate import MAX_PIECE, MAX_RATIO, InflateError, inflater
from tests.proxy.client import memory

WAYS = ["gzip", "zlib", "raw", "br", "zstd"]
ENCODINGS = ["gzip", "zlib", "br", "zstd"]


def compressed(data: bytes, way: str) -> tuple[bytes, bytes]:
    """The encoding's name and the body."""
    if way == "gzip":
        return b"gzip", gzip.compress(data)
    if way == "zlib":
        return b"deflate", zlib.compress(data)
    if way == "br":
        return b"br", brotli.compress(data, quality=5)
    if way == "zstd":
        return b"zstd", zstandard.compress(data)
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


@given(st.binary(max_size=3000), st.integers(1, 50), st.sampled_from(WAYS))
def test_pieces_of_any_size_give_the_same_bytes(data, size, way):
    encoding, body = compressed(data, way)
    assert b"".join(undo(encoding, [body[at : at + size] for at in range(0, len(body), size)])) == data


@given(
    st.lists(st.binary(max_size=300), min_size=2, max_size=4),
    st.integers(1, 30),
    st.sampled_from([(b"gzip", gzip.compress), (b"zstd", zstandard.compress)]),
)
def test_members_of_gzip_and_frames_of_zstd_follow_each_other(members, size, way):
    encoding, compress = way
    body = b"".join(map(compress, members))
    assert b"".join(undo(encoding, [body[at : at + size] for at in range(0, len(body), size)])) == b"".join(members)


def test_a_frame_of_zstd_may_be_there_to_be_skipped():
    skipped = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    assert b"".join(undo(b"zstd", [skipped + zstandard.compress(b"x"), skipped])) == b"x"


@pytest.mark.parametrize("way", ENCODINGS)
@pytest.mark.parametrize("extra", [-1, 0, 1, 257])
def test_no_piece_is_larger_than_the_cap_and_nothing_is_held_back(extra, way):
    data = bytes(range(256)) * (3 * MAX_PIECE // 256) + b"\0" * (3 * MAX_PIECE // 256 + extra)
    encoding, body = compressed(data + random.Random(7).randbytes(60_000), way)
    data += random.Random(7).randbytes(60_000)
    out = undo(encoding, [body])
    assert b"".join(out) == data
    assert max(map(len, out)) <= MAX_PIECE


@pytest.mark.parametrize("cut", range(1025, 1045))
def test_what_does_not_fit_into_a_piece_comes_with_the_next(cut):
    body = zlib.compress(b"\0" * 3 * MAX_PIECE)[:cut]  # the cuts lie where a mebibyte has just come out, or is about to
    inflating = inflater(b"deflate")
    assert inflating is not None
    inflating.push(body)
    assert sum(map(len, iter(inflating.pull, b""))) == len(zlib.decompressobj().decompress(body))


@pytest.mark.parametrize("way", ENCODINGS)
def test_a_bomb_is_refused_before_it_has_expanded(way):
    encoding, body = compressed(b"\0" * 100_000_000, way)
    inflating = inflater(encoding)
    assert inflating is not None
    inflating.push(body)
    sizes: list[int] = []
    with memory(40_000_000), pytest.raises(InflateError, match="expands more than 200 times"):
        sizes.extend(map(len, iter(inflating.pull, b"")))
    assert sum(sizes) <= MAX_PIECE + MAX_RATIO * len(body)


def test_a_window_larger_than_http_allows_is_refused():
    wide = zstandard.ZstdCompressionParameters(window_log=24, format=zstandard.FORMAT_ZSTD1)
    body = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    inflating = inflater(b"zstd")
    assert inflating is not None
    inflating.push(body.compress(b"x" * 100) + body.flush())
    with pytest.raises(InflateError, match="does not decompress"):
        inflating.pull()


@pytest.mark.parametrize("way", ENCODINGS)
def test_what_a_sender_has_flushed_comes_out_at_once(way):
    makers: dict[str, Any] = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "zlib": zlib.compressobj,
        "br": brotli.Compressor,
        "zstd": zstandard.ZstdCompressor().compressobj,
    }
    flush: dict[str, tuple[int, ...]] = {
        "gzip": (zlib.Z_SYNC_FLUSH,),
        "zlib": (zlib.Z_SYNC_FLUSH,),
        "br": (),
        "zstd": (zstandard.COMPRESSOBJ_FLUSH_BLOCK,),
    }
    sending = makers[way]()
    inflating = inflater(compressed(b"", way)[0])
    assert inflating is not None
    for event in (b"data: one\n\n", b"data: two\n\n"):
        taken = sending.process(event) if way == "br" else sending.compress(event)
        inflating.push(taken + sending.flush(*flush[way]))
        assert inflating.pull() == event
        assert inflating.pull() == b""
        assert not inflating.complete


@pytest.mark.parametrize("way", ENCODINGS)
def test_a_body_that_is_cut_or_is_none_is_never_taken_for_whole(way):
    encoding, body = compressed(b"hello " * 100, way)
    for cut in range(1, len(body)):
        inflating = inflater(encoding)
        assert inflating is not None
        inflating.push(body[:cut])
        list(iter(inflating.pull, b""))
        assert not inflating.complete, cut
    inflating = inflater(encoding)
    assert inflating is not None
    inflating.push(b"<html>this is not compressed at all</html>")
    with pytest.raises(InflateError, match="does not decompress"):
        inflating.pull()


@pytest.mark.parametrize("way", ["zlib", "br"])
def test_nothing_may_follow_where_there_is_one_member_only(way):
    encoding, body = compressed(b"hello", way)
    inflating = inflater(encoding)
    assert inflating is not None
    inflating.push(body)
    assert inflating.pull() == b"hello"
    inflating.push(b"more")
    with pytest.raises(InflateError, match="after the end"):
        inflating.pull()


@pytest.mark.parametrize("encoding", [b"", b"identity", b" Identity , none"])
def test_nothing_to_undo(encoding):
    assert inflater(encoding) is None


@pytest.mark.parametrize("encoding", [b"compress", b"br, gzip", b"gzip, deflate", b"\xff"])
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
