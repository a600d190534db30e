"""Compressing an answer while it is written: what was flushed can be read at once, whatever comes later."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 64 * 1024
_NOT_THIS_ONE = re.compile(r"q=0(\.0{0,3})?")
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 4
_ZSTD_LEVEL = 3


class _Compressor(Protocol):
    def add(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...

    def finish(self) -> bytes: ...


def chosen_encoding(accepted: str) -> str:
    """`zstd`, `gzip` or `identity`, by an Accept-Encoding header (RFC 9110, section 12.5.3)."""
    wanted = set()
    for part in accepted.lower().split(","):
        name, _, weight = (piece.strip() for piece in part.partition(";"))
        if not _NOT_THIS_ONE.fullmatch(weight):
            wanted.add(name)
    return next((name for name in ("zstd", "gzip") if name in wanted), "identity")


async def encoded(blocks: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """`blocks` in this encoding, in pieces; the end of each block is flushed, so that the receiver has it whole."""
    compressor = _compressor(encoding)
    async for block in blocks:
        for piece in _pieces(block):
            if made := compressor.add(piece):
                yield made
        if made := compressor.flush():
            yield made
    if made := compressor.finish():
        yield made


def encoded_whole(block: bytes, encoding: str) -> bytes:
    """A block in this encoding, at once: for small ones."""
    compressor = _compressor(encoding)
    return compressor.add(block) + compressor.finish()


def _pieces(block: bytes) -> Iterator[bytes]:
    return (block[at : at + PIECE_BYTES] for at in range(0, len(block), PIECE_BYTES))


def _compressor(encoding: str) -> _Compressor:
    if encoding == "zstd":
        return _Zstd()
    return _Gzip() if encoding == "gzip" else _Identity()


class _Identity:
    def add(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


class _Gzip:
    def __init__(self) -> None:
        self._z = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)

    def add(self, data: bytes) -> bytes:
        return self._z.compress(data)

    def flush(self) -> bytes:
        return self._z.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._z.flush(zlib.Z_FINISH)


class _Zstd:
    def __init__(self) -> None:
        self._z = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def add(self, data: bytes) -> bytes:
        return self._z.compress(data)

    def flush(self) -> bytes:
        return self._z.flush(self._z.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._z.flush(self._z.FLUSH_FRAME)
