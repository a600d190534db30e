"""The port of what goes between a device and its server beside the exchange: the server's keys, and sealed lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from sync.protocol.bundle import SealedClaim
    from sync.protocol.messages import KeysAnswer, SealedReceipt


@runtime_checkable
class Courier(Protocol):
    """A transport that can do this too. Raises `Offline`, `ServerProblem`, `BadAnswer`."""

    def keys(self) -> KeysAnswer:
        """The keys that the server publishes; a server of before has none and answers with a problem."""
        ...

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        """Hand in sealed lines of a device that may not exchange any more."""
        ...
