"""A revoked device: what the server does not have is sealed and handed in, and then the replica destroys itself.

Two things must be certain, and are proven by the server's signature: that the order is the server's and about this
device, and that the server holds everything unsent. Whatever is in doubt leaves the replica as it is. What is recorded
while this goes on is handed in too before anything is destroyed.

Beside its order the server says which line of the device is the last one that it has. What it has answered and lost
since is handed in too, and everything that is kept here where its line is not one of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from client_sdk.application.courier import Courier
from client_sdk.application.ports import Identity, OutboxLine, Store, System, Transport
from client_sdk.application.rescue import parts_from, seal_lines
from client_sdk.application.trust import is_by_server, learn_sealing_key
from client_sdk.errors import BadAnswer, ReplicaWiped, ServerProblem, StaleExchange
from sync.engine.chain import encode_bytes, sign
from sync.kernel.errors import TallystickError
from sync.protocol import limits
from sync.protocol.bundle import SealedClaim, receipt_message, sealed_message, wipe_message
from sync.protocol.messages import LastKept, SealedReceipt, WipeOrder


def faced(store: Store, transport: Transport, system: System, problem: TallystickError) -> TallystickError:
    """What the caller of an exchange that ended with `problem` is to be told: `ReplicaWiped` after a wipe.

    Without an order of the server's it is the problem itself; a wipe that could not be finished says what stopped it.
    """
    if not isinstance(problem, ServerProblem) or problem.wipe is None or not isinstance(transport, Courier):
        return problem
    try:
        if not _is_ordered(store, transport, problem.wipe):
            return problem
        learn_sealing_key(store, transport)
        hand_in_and_wipe(store, transport, transport, system, _last_kept(problem.wipe))
    except TallystickError as stopped:
        return stopped
    return ReplicaWiped()


def hand_in_and_wipe(
    store: Store, transport: Transport, courier: Courier, system: System, kept: LastKept | None
) -> None:
    """Seal and hand in what is not there, then destroy the replica; repeated while more is being recorded."""
    first = _first_missing(store, kept)
    while True:
        last = store.exchange_state().head_seq
        for part in parts_from(store, first, limits.SEALED_LINES_BYTES):
            box, claim = _sealed(store.identity(), part, system)
            receipt = courier.deliver(claim, box)
            _check_receipt(store, transport, claim, receipt)
            first = part[-1].seq + 1
        system.reached("wipe.handed_in")
        try:
            store.wipe(last)
        except StaleExchange:
            continue
        return


def _is_ordered(store: Store, transport: Transport, said: Mapping[str, Any]) -> bool:
    try:
        order = WipeOrder.model_validate(said)
    except ValidationError:
        return False
    identity = store.identity()
    if (order.town, order.device) != (identity.town_id, identity.device_id):
        return False
    message = wipe_message(order.town, order.device, order.at)
    return is_by_server(store, transport, kid=order.kid, signature=order.sig, message=message)


def _last_kept(said: Mapping[str, Any]) -> LastKept | None:
    """Nothing by a server of before."""
    try:
        return LastKept.model_validate(said.get("last"))
    except ValidationError:
        return None


def _first_missing(store: Store, kept: LastKept | None) -> int:
    """From where on the server may not have what is here."""
    unsent = store.exchange_state().acked + 1
    if kept is None:
        return unsent
    known = store.known_before(kept.seq + 1)
    is_ours = known is not None and (known[0], encode_bytes(known[1])) == (kept.seq, kept.hash)
    return min(unsent, kept.seq + 1) if is_ours else 1


def _sealed(identity: Identity, lines: Sequence[OutboxLine], system: System) -> tuple[bytes, SealedClaim]:
    """The lines for the server only, and the device's signed word that they are its own."""
    town, device = identity.town_id, identity.device_id
    box = seal_lines(town, device, identity.sealing_key, lines, system)
    head, digest = encode_bytes(lines[-1].digest), encode_bytes(hashlib.sha256(box).digest())
    from_seq, to_seq = lines[0].seq, lines[-1].seq
    message = sealed_message(town=town, device=device, from_seq=from_seq, to_seq=to_seq, head=head, box=digest)
    return box, SealedClaim(from_seq=from_seq, to_seq=to_seq, head=head, box=digest, sig=sign(identity.key, message))


def _check_receipt(store: Store, transport: Transport, claim: SealedClaim, receipt: SealedReceipt) -> None:
    """Raise `BadAnswer` unless the server has signed that it holds exactly these lines."""
    identity = store.identity()
    expected = receipt_message(identity.town_id, identity.device_id, claim.to_seq, claim.head)
    if not is_by_server(store, transport, kid=receipt.kid, signature=receipt.sig, message=expected):
        raise BadAnswer("the receipt for the sealed work is not signed by the server; nothing was wiped")
