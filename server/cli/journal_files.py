"""Exported journals as files: lines, compressed by what the name ends with, written whole or not at all."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from backports import zstd

from server.application.queries.check_journal import NotAJournal
from sync.kernel.errors import TallystickError

LINE_BYTES_MAX = 64 * 1024 * 1024
"""More than any journal entry or change set takes, however its text is escaped."""

_ZSTD = bytes.fromhex("28b52ffd")
_GZIP = bytes.fromhex("1f8b")


class FileThere(TallystickError):
    """There is a file of this name, and an export replaces none."""

    code: ClassVar[str] = "file_there"


class _Lines(Protocol):
    def readline(self, size: int = ..., /) -> bytes: ...


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Writes lines into a new file, which is there when the block ends: zstd for a name with `.zst`, else gzip.

    Raises `FileThere`, `OSError`.
    """
    if path.exists():
        raise FileThere(f"{path} is there already; give another name")
    draft = path.with_name(f"{path.name}.part")
    try:
        with zstd.open(draft, "wb") if path.suffix == ".zst" else gzip.open(draft, "wb") as file:
            yield lambda line: file.write(line + b"\n")
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def read_lines(path: Path) -> Iterator[bytes]:
    """The lines without newlines, however they are compressed. Raises `NotAJournal`, `OSError`."""
    with path.open("rb") as raw:
        mark = raw.read(len(_ZSTD))
    if mark == _ZSTD:
        with zstd.open(path, "rb") as file:
            yield from _lines(path, file)
    elif mark.startswith(_GZIP):
        with gzip.open(path, "rb") as file:
            yield from _lines(path, file)
    else:
        raise NotAJournal(f"{path} is neither gzip nor zstd")


def _lines(path: Path, file: _Lines) -> Iterator[bytes]:
    try:
        while line := file.readline(LINE_BYTES_MAX):
            yield line.removesuffix(b"\n")
    except (EOFError, zlib.error, zstd.ZstdError, gzip.BadGzipFile) as fault:
        raise NotAJournal(f"{path} is cut or altered where it is compressed: {fault}") from None
