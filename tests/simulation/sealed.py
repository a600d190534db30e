"""What devices that were put out of use have handed in: sealed lines on their way, and what is in the boxes."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from server.adapters.keys import KeySigner
from server.adapters.memory_town import TownState
from server.api.problems import status_of
from server.application.commands.rescue_lines import open_bundle
from server.application.commands.take_sealed import take_sealed
from server.application.sealed_ports import SealedUpload
from sync.engine.chain import encode_bytes, line_hash
from sync.kernel.errors import TallystickError
from sync.protocol import limits
from tests.simulation.database import BoxPlace, ProcessSealed
from tests.simulation.facts import replaced
from tests.simulation.rules import SERVER_RULES

if TYPE_CHECKING:
    from server.domain.access import DeviceCaller
    from sync.protocol.bundle import SealedClaim
    from sync.protocol.messages import SealedReceipt
    from tests.simulation.server import Process


def taken(process: Process, device: DeviceCaller, claim: SealedClaim, box: bytes) -> Coroutine[Any, Any, SealedReceipt]:
    """What a process does with sealed lines."""
    parts = process.parts
    return take_sealed(
        device.town_id,
        device.device_id,
        claim,
        box,
        uploads=ProcessSealed(process.connection),
        towns=parts.towns,
        appliers=parts.appliers,
        signer=parts.signer,
        system=parts.system,
        rates=parts.rates,
        registry=SERVER_RULES,
    )


def named(fault: TallystickError) -> tuple[str, int]:
    """Code and status of what the door answers."""
    return fault.code, status_of(fault)


def handed_in(uploads: Mapping[BoxPlace, SealedUpload], signer: KeySigner) -> dict[str, set[str]]:
    """By device, the hashes of the lines in its boxes, and of those that they stand for."""
    found: dict[str, set[str]] = {}
    for upload in uploads.values():
        for line in open_bundle(upload.box, signer, limits.BODY_BYTES_MAX).lines:
            found.setdefault(upload.device_id, set()).update((encode_bytes(line_hash(line)), *replaced(line)))
    return found


def known_of(state: TownState, device_id: str) -> set[str]:
    """The lines of a device that its town has, or keeps aside, and those that they stand for."""
    lines = [one.line for one in state.sets.values() if one.device == device_id]
    lines += [kept.line for (device, _), kept in state.kept.items() if device == device_id]
    return {digest for line in lines for digest in (encode_bytes(line_hash(line)), *replaced(line))}
