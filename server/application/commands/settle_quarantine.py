"""What is kept without effect, and what an operator makes of it: run it again after a fix, or let it be.

Running again is a change set of the town's own device with the operations and the actor of the line, which it names.
The line it names takes effect once at most (`sync.engine.replacing`), so a run that was broken off is just run again.
Either way the conflict about the line is resolved and its task done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import orjson

from server.application.commands.administer import OfficeRefused, have_done
from server.application.commands.apply_change_sets import Appliers
from server.application.ports import WriteRejected
from server.application.sealed_ports import Quarantine, QuarantinedLine
from server.domain.access import NotFound
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import ChangeSet, Replaced, Status
from sync.kernel.errors import TallystickError
from sync.kernel.module import Registry
from sync.modules.casework import ResolveConflict
from sync.protocol.codec import parse_line

OPEN = "open"


class AlreadySettled(TallystickError):
    """Somebody has decided about this change set before."""

    code: ClassVar[str] = "already_settled"


class StillUnreadable(TallystickError):
    """The change set still cannot be read: run a release that knows what is in it, and try again."""

    code: ClassVar[str] = "still_unreadable"


class StillFails(TallystickError):
    """Run again, it still does not take effect; it stays in quarantine."""

    code: ClassVar[str] = "still_fails"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """What running a line again came to; `seq` is that of the town's own line that stands for it."""

    seq: int
    version: int
    status: str
    sentence: str

    @property
    def note(self) -> str:
        """What the conflict about the line is told."""
        return f"Run again as change set {self.seq} of the office: {self.status}."


async def find_line(quarantine: Quarantine, town_id: str, device_id: str, seq: int) -> QuarantinedLine:
    """The line in quarantine at this place. Raises `NotFound`."""
    line = await quarantine.line(town_id, device_id, seq)
    if line is None:
        raise NotFound
    return line


async def retry(
    town_id: str, device_id: str, seq: int, *, quarantine: Quarantine, appliers: Appliers, registry: Registry
) -> Rerun:
    """Run the line again in the name of whoever recorded it; once it has taken effect it never does again.

    Raises `NotFound`, `AlreadySettled`, `StillUnreadable`, `StillFails`, and what the write path raises.
    """
    line = await _open_line(quarantine, town_id, device_id, seq)
    done = await rerun(town_id, line, appliers=appliers, registry=registry)
    await _close(town_id, line, done.note, appliers)
    return done


async def rerun(town_id: str, line: QuarantinedLine, *, appliers: Appliers, registry: Registry) -> Rerun:
    """Have the line take effect, if it has not before; its conflict stays as it is.

    Raises `StillUnreadable`, `StillFails`, and what the write path raises.
    """
    change_set = parse_line(line.line, town=town_id, device=line.device_id, registry=registry).change_set
    if not isinstance(change_set, ChangeSet):
        raise StillUnreadable(f"{StillUnreadable.__doc__} ({change_set.message})")
    replaced = Replaced(device=line.device_id, seq=line.seq, hash=encode_bytes(line.digest))
    try:
        said = orjson.loads(await appliers.author(town_id, change_set.actor, change_set.ops, replaces=replaced))
    except WriteRejected as fault:
        raise StillFails(f"{StillFails.__doc__} The rules fail over it.") from fault
    sentence = " ".join(note["text"] for note in said.get("notes", ()))
    if not Status(said["status"]).has_effect:
        raise StillFails(f"{StillFails.__doc__} {sentence}")
    return Rerun(seq=said["seq"], version=said["version"], status=said["status"], sentence=sentence)


async def refuse(
    town_id: str, device_id: str, seq: int, reason: str, *, quarantine: Quarantine, appliers: Appliers
) -> None:
    """Let it be: the line stays without effect for ever. Raises `NotFound`, `AlreadySettled`, `OfficeRefused`."""
    line = await _open_line(quarantine, town_id, device_id, seq)
    await _close(town_id, line, reason, appliers)


async def _open_line(quarantine: Quarantine, town_id: str, device_id: str, seq: int) -> QuarantinedLine:
    line = await find_line(quarantine, town_id, device_id, seq)
    if line.state != OPEN:
        raise AlreadySettled
    return line


async def _close(town_id: str, line: QuarantinedLine, note: str, appliers: Appliers) -> None:
    resolution = ResolveConflict.model_validate({"conflict": line.conflict_id, "how": "accept", "note": note})
    try:
        await have_done(appliers, town_id, resolution)
    except OfficeRefused as refused:  # another operator was faster
        raise AlreadySettled(refused.message) from None
