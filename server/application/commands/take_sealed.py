"""What a revoked device hands in before it destroys itself: kept for good, put to review, and receipted.

The receipt makes the device destroy what it has, so it is signed, and only after everything is committed. What cannot
be reviewed is kept as evidence, with the reason; what could not be tried is not receipted, and the device comes again.
"""

from __future__ import annotations

import hashlib

import structlog

from server.application.commands.apply_change_sets import Appliers
from server.application.commands.issue_token import find_device
from server.application.commands.rescue_lines import (
    RescueForeign,
    RescueForged,
    RescueUnreadable,
    open_bundle,
    take_bundle,
)
from server.application.ports import Signer, System, Towns
from server.application.rates import RateLimits
from server.application.released import ChainReleased
from server.application.sealed_ports import SealedUpload, SealedUploads
from server.domain.access import NotFound
from sync.engine.chain import HASH_BYTES, decode_bytes, encode_bytes, is_signed, line_hash, parse_public_key
from sync.kernel.clock import format_time
from sync.kernel.errors import ChainBroken, ChainForked, ChainGap, LimitExceeded, Malformed
from sync.kernel.module import Registry
from sync.protocol import limits
from sync.protocol.bundle import Bundle, SealedClaim, receipt_message, sealed_message
from sync.protocol.messages import SealedReceipt

FOR_EVER = (
    *(ChainBroken, ChainForked, ChainGap, ChainReleased, LimitExceeded, Malformed),
    *(RescueForeign, RescueForged, RescueUnreadable),
)
"""Faults of what was handed in itself: the same again would end the same way."""

_log = structlog.stdlib.get_logger(__name__)


async def take_sealed(
    town_id: str,
    device_id: str,
    claim: SealedClaim,
    box: bytes,
    *,
    uploads: SealedUploads,
    towns: Towns,
    appliers: Appliers,
    signer: Signer,
    system: System,
    rates: RateLimits,
    registry: Registry,
) -> SealedReceipt:
    """Keep what a revoked device hands in, put it to review and say so; the same again is answered again.

    Raises `NotFound` for a device that is not revoked, or is none; `ChainBroken` when it has not signed this;
    `RateLimited`, `LimitExceeded`; and what the write path raises when it cannot be tried now.
    """
    device = await find_device(towns, town_id, device_id)
    if device is None or device.status != "revoked":
        raise NotFound
    named = {"from_seq": claim.from_seq, "to_seq": claim.to_seq, "head": claim.head, "box": claim.box}
    message = sealed_message(town=town_id, device=device_id, **named)  # type: ignore[arg-type]  # each of its kind
    if encode_bytes(hashlib.sha256(box).digest()) != claim.box:
        raise ChainBroken("the sealed lines are not those that the claim is about")
    if not is_signed(parse_public_key(device.public_key), claim.sig, message):
        raise ChainBroken("the signature over the sealed lines does not fit")
    await rates.take_device(device_id, town_id)  # after the proof: nobody uses up what another device may ask
    upload = SealedUpload(
        town_id=town_id,
        device_id=device_id,
        from_seq=claim.from_seq,
        to_seq=claim.to_seq,
        head=decode_bytes(claim.head, HASH_BYTES),
        box=box,
        signature=claim.sig,
        received_at=format_time(system.now_ms()),
    )
    await uploads.keep(upload)
    system.reached("sealed.kept")
    lines, problem = 0, None
    try:
        bundle = open_bundle(box, signer, limits.BODY_BYTES_MAX)
        _check_claimed(bundle, town_id, device_id, claim)
        done = await take_bundle(bundle, towns=towns, appliers=appliers, registry=registry)
        lines = done.change_sets - done.evidence
    except FOR_EVER as fault:
        problem = f"{fault.code}: {fault.message}"
    await uploads.reviewed(upload, lines, problem)
    _log.warning("sealed_lines", town_id=town_id, device_id=device_id, reviewed=lines, problem=problem)
    sig = signer.sign(receipt_message(town_id, device_id, claim.to_seq, claim.head))
    return SealedReceipt(to_seq=claim.to_seq, head=claim.head, kid=signer.kid, sig=sig)


def _check_claimed(bundle: Bundle, town_id: str, device_id: str, claim: SealedClaim) -> None:
    """Raise `RescueForged` unless the box holds what the device has signed for, of itself; `LimitExceeded`."""
    if len(bundle.lines) > limits.CHANGE_SETS_MAX:  # each is a signature to check
        raise LimitExceeded(f"a sealed upload holds at most {limits.CHANGE_SETS_MAX} change sets")
    place = (bundle.town, bundle.device, bundle.from_seq, bundle.to_seq)
    head = encode_bytes(line_hash(bundle.lines[-1]))
    if (*place, head) != (town_id, device_id, claim.from_seq, claim.to_seq, claim.head):
        raise RescueForged("the box does not hold the lines that its claim is about")
