"""A device that an admin has released is told where its chain ends here, so that it can go on from there."""

from __future__ import annotations

from typing import ClassVar

from server.application.history_ports import Histories, ReleasedHead
from sync.kernel.errors import TallystickError


class ChainReleased(TallystickError):
    """An admin lets this device go on from the server's head: write again, behind it, what it does not have."""

    code: ClassVar[str] = "chain_released"

    def __init__(self, head: ReleasedHead, from_seq: int) -> None:
        super().__init__(f"write again, behind the server's head, what you have from position {from_seq} on")
        self.head = head
        self.from_seq = from_seq


async def check_released(
    histories: Histories, town_id: str, device_id: str, *, fork: bytes | None, from_seq: int
) -> None:
    """Raise `ChainReleased` when a release covers what the device has from position `from_seq` on.

    `fork` is its first line that is not the server's; None when it has none and is only behind, or cannot send what the
    server misses: an admin who has once released a device knows that there are copies of it, or that lines are lost.
    """
    head = await histories.released_head(town_id, device_id, fork)
    if head is not None:
        raise ChainReleased(head, from_seq)
