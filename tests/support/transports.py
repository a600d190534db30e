"""The real wire with something in between: a base for transports that lose, cut or count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client_sdk.application.ports import Transport
    from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello


class TransportAround:
    """Passes everything through to `inner`; what a test is about overrides one method."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """As the inner transport."""
        return self._inner.enrol(request)

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """As the inner transport."""
        yield from self._inner.exchange(hello, lines)

    @property
    def bytes_up(self) -> int:
        """Of the inner transport."""
        return self._inner.bytes_up

    @property
    def bytes_down(self) -> int:
        """Of the inner transport."""
        return self._inner.bytes_down
