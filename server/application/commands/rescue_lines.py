"""Lines of a device that did not come by an exchange: out of a rescue file, or handed in sealed by a revoked device.

They go through the one write path like any others, so the chain itself sees to it that each takes effect once: here, or
by the device when it comes back after all. Of a revoked device only what happened before it was lost is taken, for
somebody to look at; by when that was, the line's own time decides, which only decides who has a look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import orjson

from server.application.batch import Upload
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.issue_token import find_device
from server.application.ports import DeviceRecord, Signer, Towns
from sync.kernel.changeset import ChangeSet, Fields
from sync.kernel.errors import LimitExceeded, Malformed, TallystickError
from sync.kernel.module import Registry
from sync.protocol.bundle import PURPOSE, Bundle, unpack
from sync.protocol.codec import parse_line
from sync.protocol.limits import RESCUE_BYTES_MAX

PART_LINES = 200
"""Lines submitted at a time: with as many operations as a line may have, what one exchange may bring."""

TIME_LETTERS = 24


class RescueUnreadable(TallystickError):
    """This was not sealed for this installation, or it was changed or cut since; nothing of it was taken."""

    code: ClassVar[str] = "rescue_unreadable"


class RescueForeign(TallystickError):
    """The file is of a device that this installation does not know."""

    code: ClassVar[str] = "rescue_foreign"


class RescueForged(TallystickError):
    """The lines in the file are not signed by the device that they are said to be of; nothing of it was taken."""

    code: ClassVar[str] = "rescue_forged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rescued:
    """What became of a bundle: change sets in it, known before, decided now by status, and left as evidence only."""

    town_id: str
    device_id: str
    from_seq: int
    to_seq: int
    known: int
    decided: Mapping[str, int]
    evidence: int

    @property
    def change_sets(self) -> int:
        """In the bundle."""
        return self.to_seq - self.from_seq + 1


async def rescue(sealed: bytes, *, towns: Towns, appliers: Appliers, signer: Signer, registry: Registry) -> Rescued:
    """Open a sealed bundle and have its lines decided.

    Raises `RescueUnreadable` for another installation's or a changed file, `RescueForeign`, `RescueForged`, and what
    `Appliers.submit` raises.
    """
    bundle = open_bundle(sealed, signer, RESCUE_BYTES_MAX)
    return await take_bundle(bundle, towns=towns, appliers=appliers, registry=registry)


def open_bundle(sealed: bytes, signer: Signer, bytes_max: int) -> Bundle:
    """What is in a sealed bundle, inflated `bytes_max` at most; nobody vouches for it. Raises `RescueUnreadable`."""
    try:
        return unpack(signer.open_sealed(sealed, PURPOSE), bytes_max)
    except (Malformed, LimitExceeded) as fault:
        raise RescueUnreadable(f"{RescueUnreadable.__doc__} ({fault.message})") from None


async def take_bundle(bundle: Bundle, *, towns: Towns, appliers: Appliers, registry: Registry) -> Rescued:
    """Have the lines of a bundle decided that nobody has vouched for yet. Raises as `rescue` does."""
    device = await find_device(towns, bundle.town, bundle.device)
    if device is None:
        raise RescueForeign
    if not bundle.is_by(device.public_key):
        raise RescueForged
    taken = bundle.first(await _count_taken(bundle, device, towns, registry))
    known = max(0, min(taken.to_seq, device.head.seq) - taken.from_seq + 1)
    decided: Counter[str] = Counter()
    for start in range(0, len(taken.lines), PART_LINES):
        lines = taken.lines[start : start + PART_LINES]
        upload = Upload(
            town_id=bundle.town,
            device_id=bundle.device,
            from_seq=bundle.from_seq + start,
            lines=lines,
            signature=taken.signatures[start + len(lines) - 1],
            is_rescued=True,
        )
        verdicts = await appliers.submit(upload)
        decided.update(orjson.loads(verdict)["status"] for verdict in verdicts[max(0, known - start) :])
    return Rescued(
        town_id=bundle.town,
        device_id=bundle.device,
        from_seq=bundle.from_seq,
        to_seq=bundle.to_seq,
        known=known,
        decided=dict(decided),
        evidence=len(bundle.lines) - len(taken.lines),
    )


async def _count_taken(bundle: Bundle, device: DeviceRecord, towns: Towns, registry: Registry) -> int:
    """How many of the first lines are taken: of a revoked device those up to the first one after it was lost."""
    if device.status != "revoked":
        return len(bundle.lines)
    key = ("device", bundle.device)
    async with towns.reading(bundle.town) as reader:
        row = (await reader.load([key]))[key]
    lost_at = _lost_at(row.fields) if row else ""
    for place, line in enumerate(bundle.lines):
        change_set = parse_line(line, town=bundle.town, device=bundle.device, registry=registry).change_set
        if isinstance(change_set, ChangeSet) and change_set.at[:TIME_LETTERS] >= lost_at:
            return place
    return len(bundle.lines)


def _lost_at(device: Fields) -> str:
    """When nobody answered for the device any more: when it was lost, or else when it was revoked."""
    return str(device["lost_at"] or device["ended_at"])
