"""Writing again, behind the server's head, what it does not have: after a fork or a loss, when an admin has agreed.

The chain goes on from the last line that the server has of this device, which is this device's own signature over it,
or from the certificate when it has none. What is on the server's chain stays where it is, to be sent again when the
server should lose it.
Every change set is the same business action with the same ids, the same time and the same user; only its place is new,
and it names the line that it stands for, so that it takes effect once whoever sends it how often. What was written anew
before names the first line again, which is the one that receipts were printed for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from client_sdk.application.overlay import decide_pending
from client_sdk.application.ports import Entry, ExchangeState, Identity, LineStatus, LocalHead, Running, Store
from client_sdk.application.receipts import PrintedReceipt, printed_receipt
from client_sdk.application.record import said_totals, totals_after
from client_sdk.errors import BadAnswer, NoReceipt, ServerProblem
from sync.engine.chain import encode_bytes, genesis_hash, head_message, is_signed, line_hash, sign
from sync.kernel.changeset import ChangeSet, Replaced
from sync.kernel.clock import Hlc
from sync.kernel.errors import Malformed
from sync.kernel.module import Registry
from sync.kernel.money import to_minor
from sync.protocol.codec import encode_change_set, parse_line


def reauthor(store: Store, state: ExchangeState, problem: ServerProblem) -> int:
    """Go on from the head that the server tells in `problem`; how many change sets were written anew.

    Raises `BadAnswer` for a head that this device has not signed, and `StaleExchange`. A line that this version cannot
    read cannot be written anew: `Malformed`, and nothing has changed.
    """
    identity = store.identity()
    head, epoch, from_seq = _read_head(problem, identity)
    # What was answered in another epoch may be lost as well; written again it takes effect only if it is.
    first = from_seq if epoch == state.epoch else 1
    with store.rebasing(state, head, first) as rebasing:
        registry = rebasing.registry
        for entry in rebasing.kept:
            change_set = _again(_read(entry, identity, registry), entry, rebasing.recording.head)
            line = encode_change_set(change_set)
            digest = line_hash(line)
            decision, touch = decide_pending(change_set, rebasing.recording.row, registry, identity)
            totals = totals_after(rebasing.recording.head, change_set.ops)
            running = Running(totals=totals, receipts=change_set.receipts)
            again = replace(
                entry,
                seq=change_set.seq,
                line=line,
                digest=digest,
                signature=sign(identity.key, head_message(identity.device_id, change_set.seq, digest)),
                status=LineStatus.PENDING,
                guess=decision.verdict,
                reads=touch.reads,
                writes=touch.writes,
                verdict=None,
                version=None,
                answered_at=None,
            )
            rebasing.recording.append(again, running, decision.rows)
        return len(rebasing.kept)


def find(store: Store, digest: str) -> Entry | None:
    """The change set of a receipt, by the hash of the line that it was printed for; also when it was written anew."""
    return next(
        (entry for entry in store.entries() if digest in {encode_bytes(entry.digest), replaced_by(entry)}), None
    )


def receipt_at(store: Store, registry: Registry, seq: int) -> PrintedReceipt:
    """The receipt of the line at this place, as it was printed first; raises `NoReceipt`."""
    identity = store.identity()
    for entry in store.entries():
        if entry.seq == seq:
            receipt = printed_receipt(identity, _read(entry, identity, registry), entry)
            if receipt:
                return receipt
    raise NoReceipt


def replaced_by(entry: Entry) -> str | None:
    """The hash of the line that this one stands for."""
    said: dict[str, Any] = orjson.loads(entry.line)
    replaced = said.get("replaces")
    return str(replaced["hash"]) if replaced else None


def _read_head(problem: ServerProblem, identity: Identity) -> tuple[LocalHead, str, int]:
    """The end of this device's chain on the server, the town's epoch, and the first position that is not on it."""
    try:
        told = problem.released or {}
        if told["head"]["line"] is None:
            return _begin(identity), str(told["head"]["epoch"]), int(told["from_seq"])
        line, signature = told["head"]["line"].encode(), told["head"]["sig"]
        said = orjson.loads(line)
        seq, digest = int(said["seq"]), line_hash(line)
        Hlc.parse(said["at"])
        is_ours = (said["device"], said["town"]) == (identity.device_id, identity.town_id)
        message = head_message(identity.device_id, seq, digest)
        # An upload that broke off ends in a line without a signature of its own.
        if not is_ours or (signature is not None and not is_signed(identity.key.public_key(), signature, message)):
            raise BadAnswer("the server tells a head of this device that the device has not signed")
        totals = {
            currency: {way: to_minor(amount, currency) for way, amount in sums.items()}
            for currency, sums in said.get("totals", {}).items()
        }
        head = LocalHead(
            seq=seq,
            digest=digest,
            signature=signature or "",
            at=said["at"],
            totals=totals,
            receipts=int(said.get("receipts", 0)),
        )
        return head, str(told["head"]["epoch"]), int(told["from_seq"])
    except (KeyError, TypeError, ValueError, AttributeError, Malformed) as fault:
        raise BadAnswer(f"the head of a released chain cannot be read: {type(fault).__name__}") from None


def _begin(identity: Identity) -> LocalHead:
    """Where a chain begins of which the server has no line."""
    return LocalHead(seq=0, digest=genesis_hash(identity.certificate), signature="", at=None, totals={})


def _read(entry: Entry, identity: Identity, registry: Registry) -> ChangeSet:
    town, device = identity.town_id, identity.device_id
    change_set = parse_line(entry.line, town=town, device=device, registry=registry).change_set
    if isinstance(change_set, Malformed):
        raise change_set
    return change_set


def _again(change_set: ChangeSet, entry: Entry, head: LocalHead) -> ChangeSet:
    replaced = Replaced(device=change_set.device, seq=entry.seq, hash=encode_bytes(entry.digest))
    return replace(
        change_set,
        seq=head.seq + 1,
        prev=encode_bytes(head.digest),
        replaces=change_set.replaces or replaced,
        totals=said_totals(totals_after(head, change_set.ops)),
        receipts=max(head.receipts, change_set.receipts),
    )
