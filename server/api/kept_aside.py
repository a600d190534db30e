"""Beside applying, an exchange keeps what a suspended device sends, and notes verdicts that have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import orjson

from server.api.parts import Parts
from server.application.batch import DeviceBarred
from server.application.commands.apply_change_sets import Appliers
from server.application.ports import DeviceRecord
from server.domain.access import DeviceCaller
from server.domain.devices import server_device_id
from sync.engine.chain import Link, check_links, line_hash
from sync.kernel.clock import format_time
from sync.modules import registry
from sync.modules.histories import NoteChangedVerdict, VerdictMark
from sync.protocol.codec import parse_line
from sync.protocol.limits import OPERATIONS_MAX
from sync.protocol.messages import Hello, Told


async def keep_aside(parts: Parts, device: DeviceRecord, hello: Hello, lines: Sequence[bytes]) -> NoReturn:
    """Keep what a suspended device sends, without effect, and raise `DeviceBarred`; `ChainBroken` for what is no chain.

    The caller has checked the device's signature over the last line.
    """
    if lines:
        check_links(list(_links(device, hello, lines)), None)
        await parts.towns.histories.keep_lines(
            device.town_id,
            device.device_id,
            hello.from_seq,
            lines,
            signature=hello.head.sig,
            at=format_time(parts.system.now_ms()),
        )
    raise DeviceBarred


async def note_changed_verdicts(
    appliers: Appliers, caller: DeviceCaller, hello: Hello, verdicts: Sequence[bytes]
) -> None:
    """Leave a conflict for each line that was decided otherwise in a history that is lost, on the device's word."""
    now = {said["seq"]: said for said in map(orjson.loads, verdicts)}
    changed = [
        NoteChangedVerdict(device=caller.device_id, seq=told.seq, before=_mark(told), now=current)
        for told in hello.told
        if told.seq in now and _differ(told, current := _now(now[told.seq]))
    ]
    for start in range(0, len(changed), OPERATIONS_MAX):
        part = changed[start : start + OPERATIONS_MAX]
        await appliers.author(caller.town_id, server_device_id(caller.town_id), part)


def _links(device: DeviceRecord, hello: Hello, lines: Sequence[bytes]) -> Iterator[Link]:
    for seq, line in enumerate(lines, hello.from_seq):
        parsed = parse_line(line, town=device.town_id, device=device.device_id, registry=registry())
        digest = line_hash(line)
        yield Link(seq=seq, digest=digest, claimed_seq=parsed.claimed_seq, claimed_prev=parsed.claimed_prev)


def _differ(told: Told, now: VerdictMark) -> bool:
    return (told.status, told.rule) != (now.status, now.rule)


def _mark(told: Told) -> VerdictMark:
    return VerdictMark(status=told.status, version=told.version, rule=told.rule)


def _now(said: Mapping[str, Any]) -> VerdictMark:
    return VerdictMark(status=said["status"], version=said["version"], rule=said.get("rule"))
