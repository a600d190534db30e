"""Bad input that is too large or too odd for a file of the corpus; each maker gives the same each time."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping

from backports import zstd

DEPTH = 10_000


def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _gzip_with_name() -> bytes:
    """A member whose header holds a file name of 64 KB (RFC 1952, section 2.3)."""
    body = zlib.compressobj(wbits=-15)
    tail = body.compress(b"{}") + body.flush() + struct.pack("<II", zlib.crc32(b"{}"), 2)
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 65_536 + b"\0" + tail


def _zstd_with_window() -> bytes:
    """A frame that says it needs a window of a gigabyte (RFC 8878, section 3.1.1.1.2)."""
    return b"\x28\xb5\x2f\xfd" + bytes([0x00, (30 - 10) << 3]) + b"\x01\x00\x00"


BODIES: Mapping[str, Callable[[], bytes]] = {
    "gzip_bomb": lambda: _gzipped(bytes(64 * 1024 * 1024)),
    "zstd_bomb": lambda: zstd.compress(bytes(256 * 1024 * 1024)),
    "zstd_window": _zstd_with_window,
    "gzip_twice": lambda: _gzipped(_gzipped(b"{}")),
    "gzip_members": lambda: _gzipped(b"{}\n") + _gzipped(b"{}\n"),
    "gzip_trailing": lambda: _gzipped(b"{}") + b"MARKER",
    "gzip_sum": lambda: _gzipped(b"{}")[:-8] + bytes(8),
    "gzip_cut": lambda: _gzipped(b"{}" * 1000)[:-9],
    "gzip_empty": lambda: _gzipped(b""),
    "gzip_name": _gzip_with_name,
    "zstd_cut": lambda: zstd.compress(b'{"hello":{}}' * 1000)[:-5],
    "zstd_frames": lambda: zstd.compress(b"{}\n") + zstd.compress(b"{}\n"),
    "long_line": lambda: b'{"hello":"' + b"a" * 10_000_000 + b'"}',
    "long_line_zstd": lambda: zstd.compress(b'{"hello":"' + b"a" * 7_000_000 + b'"}'),
    "many_lines": lambda: zstd.compress(b"{}\n" * 1_000_000),
    "deep_arrays": lambda: b'{"hello":' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "deep_objects": lambda: b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "long_integer": lambda: b'{"hello":{"pending":' + b"9" * 5_000 + b"}}",
    "many_names": lambda: zstd.compress(b"{" + b",".join(b'"%06d":1' % n for n in range(500_000)) + b"}"),
    "order_lines": lambda: b'{"lines":[' + b",".join([b'{"quantity":1}'] * 10_000) + b"]}",
    "names": lambda: b"{" + b",".join(b'"%06d":1' % number for number in range(25_000)) + b"}",
}
"""Bodies by name."""

HELLOS: Mapping[str, Callable[[], dict[str, object]]] = {
    "many_cursors": lambda: {"cursors": {f"driver:{number}": 0 for number in range(3_000)}},
    "long_app": lambda: {"app": "a" * 5_000},
}
"""What is put over a good hello."""


def _cancelling(reason: object) -> list[dict[str, object]]:
    return [{"op": "order.cancel", "id": "<new>", "order": "<order>", "reason": reason}]


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


OPERATIONS: Mapping[str, Callable[[], list[dict[str, object]]]] = {
    "too_many": lambda: _cancelling("r") * 101,
    "combining": lambda: _cancelling("a" + "\u0301" * 1_000),
    "long_text": lambda: _cancelling("a" * 5_000),
    "deep": lambda: _cancelling(_nested(100)),
}
"""Operations of a change set; ids in pointed brackets are put in by the runner."""
