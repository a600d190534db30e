"""The ports of snapshots: who can fetch a file, and where a replica keeps it until its rows are taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class SnapshotSource(Protocol):
    """A wire over which the file of a bucket can be fetched."""

    def snapshot(self, sha256: str, start: int) -> Iterator[bytes]:
        """The file with this hash from a place on, in pieces; nothing when it cannot be had from there.

        Raises `Offline` when it is cut, and `ServerProblem`.
        """
        ...


class Downloads(Protocol):
    """Files on their way into a replica, in it and sealed with it; forgotten with the pages that they belong to.

    They stay when an exchange is torn, so that it goes on where it stopped. Every method is one transaction.
    """

    def size(self, sha256: str) -> int:
        """How many bytes of this file are here."""
        ...

    def add(self, sha256: str, part: bytes) -> None:
        """Put these bytes behind those that are here."""
        ...

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes that are here, in pieces."""
        ...

    def drop(self, sha256: str) -> None:
        """Forget this file."""
        ...

    def decline(self) -> None:
        """Ask for no files until a checkpoint is taken."""
        ...

    def is_declining(self) -> bool: ...
