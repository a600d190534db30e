"""Files on their way into a replica in memory, and the lines they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from client_sdk.application.snapshots import SNAPSHOT_START, sha256_of, snapshot_lines


class MemoryDownloads:
    """The `Downloads` port: bytes by hash."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._is_declining = False

    def size(self, sha256: str) -> int:
        """How many bytes of this file are here."""
        return len(self._files.get(sha256, b""))

    def add(self, sha256: str, part: bytes) -> None:
        """Put these bytes behind those that are here."""
        self._files[sha256] = self._files.get(sha256, b"") + part

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes that are here."""
        yield self._files.get(sha256, b"")

    def drop(self, sha256: str) -> None:
        """Forget this file."""
        self._files.pop(sha256, None)

    def decline(self) -> None:
        """Ask for no files until a checkpoint is taken."""
        self._is_declining = True

    def is_declining(self) -> bool:
        """Whether that was said."""
        return self._is_declining

    def forget(self) -> None:
        """The pages that name files are taken or dropped: so are the files."""
        self._files.clear()

    def accept(self) -> None:
        """A checkpoint is taken: files are asked for again."""
        self._is_declining = False

    def expanded(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The lines, and in the place of each one that names a file what is in it."""
        for line in lines:
            if line.startswith(SNAPSHOT_START):
                yield from snapshot_lines(line, self.read(sha256_of(line)))
            else:
                yield line
