"""What an admin decides of a device that was stopped: it goes on, or what it sent meanwhile is rejected.

What a suspended device has sent is kept here with its signatures; released, it takes effect at once, whether the device
ever comes back or not. What does not follow on from its chain is of a copy of it: the copy itself writes it anew when
it comes, because only it has the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import structlog

from server.application.batch import Upload
from server.application.commands.administer import have_done
from server.application.commands.apply_change_sets import Appliers
from server.application.history_ports import KeptAside
from server.application.ports import Towns
from server.domain.access import NotFound
from sync.engine.chain import ChainHead, encode_bytes, line_hash
from sync.kernel.errors import TallystickError
from sync.modules import registry
from sync.modules.histories import REJECTED_LINES_MAX, LineMark, RejectLines, ReleaseDevice
from sync.protocol.codec import parse_line

_log = structlog.stdlib.get_logger(__name__)


class NothingKept(TallystickError):
    """Nothing is kept aside of this device."""

    code: ClassVar[str] = "nothing_kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Released:
    """What became of what was kept: how many lines entered the chain, and how many are of a copy and wait for it."""

    decided: int
    waiting: int


async def release_device(*, town_id: str, device_id: str, reason: str, appliers: Appliers, towns: Towns) -> Released:
    """Let a device act again. Raises `OfficeRefused` for a revoked one, and as the store does."""
    await have_done(appliers, town_id, ReleaseDevice(device=device_id, reason=reason))
    return await take_kept(town_id=town_id, device_id=device_id, appliers=appliers, towns=towns)


async def reject_lines(*, town_id: str, device_id: str, reason: str, appliers: Appliers, towns: Towns) -> Released:
    """What is kept of a device shall have no effect, whenever it comes again; it stays as evidence.

    Raises `NothingKept`, and as `release_device` does.
    """
    upload, kept = await _kept(town_id, device_id, towns, is_rejected=True)
    if not kept:
        raise NothingKept
    marks = [LineMark(seq=one.seq, hash=encode_bytes(line_hash(one.line))) for one in kept]
    for start in range(0, len(marks), REJECTED_LINES_MAX):
        part = marks[start : start + REJECTED_LINES_MAX]
        await have_done(appliers, town_id, RejectLines(device=device_id, lines=part, reason=reason))
    return await _submit(upload, len(kept), appliers)


async def take_kept(*, town_id: str, device_id: str, appliers: Appliers, towns: Towns) -> Released:
    """Decide what is kept of a released device and follows on from its chain."""
    upload, kept = await _kept(town_id, device_id, towns)
    return await _submit(upload, len(kept), appliers)


async def _submit(upload: Upload | None, kept: int, appliers: Appliers) -> Released:
    if upload is None:
        return Released(decided=0, waiting=kept)
    await appliers.submit(upload)
    return Released(decided=len(upload.lines), waiting=kept - len(upload.lines))


async def _kept(
    town_id: str, device_id: str, towns: Towns, *, is_rejected: bool = False
) -> tuple[Upload | None, Sequence[KeptAside]]:
    """What is kept and not decided, and of it what follows on from the chain up to a signature, as one upload."""
    async with towns.reading(town_id) as reader:
        device = await reader.device(device_id)
    if device is None:
        raise NotFound
    kept = await towns.histories.kept_lines(town_id, device_id)
    following = _following(device.head, kept, town_id, device_id)
    while following and following[-1].signature is None:
        following.pop()
    if not following:
        return None, kept
    upload = Upload(
        town_id=town_id,
        device_id=device_id,
        from_seq=device.head.seq + 1,
        lines=[one.line for one in following],
        signature=following[-1].signature or "",
        is_rejected=is_rejected,
    )
    return upload, kept


def _following(head: ChainHead, kept: Sequence[KeptAside], town_id: str, device_id: str) -> list[KeptAside]:
    """The kept lines that go on from `head`, in order; of two for one place that which was kept first."""
    chain: list[KeptAside] = []
    digest, seq = head.digest, head.seq
    for one in kept:
        parsed = parse_line(one.line, town=town_id, device=device_id, registry=registry())
        if one.seq == seq + 1 and parsed.claimed_prev in {None, digest}:
            chain.append(one)
            digest, seq = line_hash(one.line), one.seq
    return chain
