"""The port of live hints: what a wire may be able to do beside exchanges. Whoever has none of it polls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class HintSource(Protocol):
    """The server's word that there is something to pull."""

    def hints(self) -> Iterator[int]:
        """0 once the stream is open, then the town version of each hint; ends when the server ends it.

        Raises `Offline` when it is cut or silent for too long, and `ServerProblem`.
        """
        ...

    def interrupt(self, thread_id: int) -> None:
        """Cut the answer that this thread is reading, if there is one: it hears `Offline` or the end."""
        ...
