"""One exchange from the device's side, without I/O: what was asked, what is heard, and what each line amounts to.

A `Conversation` judges the lines of one answer against what was sent and what the replica knew when it asked, and gives
each an `Event`; `sync.engine.transitions` says what follows. Rows are not looked into: they pass as bytes, and the
store reads them when it takes the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from sync.engine.chain import HASH_BYTES, decode_bytes, epoch_message, is_journal_signed, is_signed
from sync.engine.leases import lease_message, lease_of
from sync.engine.transitions import Action, Event, State, transition
from sync.kernel.errors import Malformed
from sync.protocol.messages import BucketLine, Checkpoint, EpochMark, SnapshotLine, VerdictLine, Welcome

_ROWS_START = b'{"t":"rows",'
Message = Welcome | VerdictLine | BucketLine | SnapshotLine | Checkpoint | Literal["rows"]
_MODELS: dict[str, type[Welcome | VerdictLine | BucketLine | SnapshotLine | Checkpoint]] = {
    "welcome": Welcome,
    "verdict": VerdictLine,
    "bucket": BucketLine,
    "snapshot": SnapshotLine,
    "checkpoint": Checkpoint,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What one request carried, and what the replica knew when it was made.

    `digests` are the base64url hashes of the lines sent, the first at position `from_seq`; `head_seq` is the last
    recorded position; `epoch`, `version` and `witness` (version, journal hash) belong to one checkpoint, the last one
    heard; `buckets` are those that the request had cursors for; `heard_at` is what the server said the time was at the
    last contact. `device` and `clock` are those that the hello named.
    """

    town: str
    server_keys: Sequence[Ed25519PublicKey]
    epoch: str | None
    version: int
    witness: tuple[int, str] | None
    from_seq: int
    digests: Sequence[str]
    head_seq: int
    buckets: frozenset[str]
    heard_at: str = ""
    device: str = ""
    clock: str = ""

    @property
    def next_seq(self) -> int:
        """The position after the last line that was sent."""
        return self.from_seq + len(self.digests)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Where one exchange stands; every line and event makes a new value.

    `verdicts` counts those heard, `decided_at` is the highest town version they name; `gained` and `dropped` are the
    buckets that the answer has told of; `checkpoint` is the last good one heard, and `fault` says in words what was
    wrong with the last line.
    """

    asked: Asked
    state: State = State.IDLE
    welcome: Welcome | None = None
    checkpoint: Checkpoint | None = None
    verdicts: int = 0
    decided_at: int = 0
    gained: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    fault: str = ""

    @property
    def held(self) -> frozenset[str]:
        """The buckets that are held when this answer is taken: those asked for, with what it says of them."""
        return (self.asked.buckets | self.gained) - self.dropped

    def after(self, event: Event) -> Conversation:
        """The conversation once `event` has happened and its actions are done."""
        return replace(self, state=transition(self.state, event).state)

    def actions(self, event: Event) -> tuple[Action, ...]:
        """What `event` asks for now."""
        return transition(self.state, event).actions

    def judge(self, line: bytes) -> tuple[Event, Conversation]:
        """What a line of the answer (without newline) amounts to, and the conversation that has heard it.

        The state has not moved yet: perform `actions(event)`, then go on with `after(event)`.
        """
        message = _read(line)
        if message is None:
            return Event.UNREADABLE, replace(self, fault="a line of the answer is not a message")
        if isinstance(message, Welcome):
            return self._hear_welcome(message)
        if isinstance(message, VerdictLine):
            return self._hear_verdict(message)
        if isinstance(message, Checkpoint):
            return self._hear_checkpoint(message)
        if isinstance(message, BucketLine):
            return self._missing_verdict() or (Event.BUCKET, self._with_bucket(message))
        event = Event.SNAPSHOT if isinstance(message, SnapshotLine) else Event.ROWS
        return self._missing_verdict() or (event, self)

    def _hear_welcome(self, welcome: Welcome) -> tuple[Event, Conversation]:
        heard = replace(self, welcome=welcome)
        asked = self.asked
        if welcome.acked > asked.head_seq:
            told = f"the server holds change set {welcome.acked}, this replica has recorded {asked.head_seq}"
            return Event.WELCOME_AHEAD, replace(heard, fault=told)
        is_new_epoch = asked.epoch is not None and welcome.epoch != asked.epoch
        if is_new_epoch and (objection := object_to_epochs(asked, welcome)):
            return objection[0], replace(heard, fault=objection[1])
        if not self._is_lease_signed(welcome):
            return Event.SIGNATURE_WRONG, replace(heard, fault="no known server key has signed the lease")
        if welcome.acked + 1 < asked.from_seq:
            return Event.WELCOME_BEHIND, heard
        if is_new_epoch:
            return Event.WELCOME_NEW_EPOCH, heard
        return Event.WELCOME, heard

    def _is_lease_signed(self, welcome: Welcome) -> bool:
        if welcome.lease is None:
            return True
        asked, signature = self.asked, welcome.lease.sig
        message = lease_message(asked.town, asked.device, asked.clock, lease_of(welcome.lease))
        return any(is_signed(key, signature, message) for key in asked.server_keys)

    def _hear_verdict(self, verdict: VerdictLine) -> tuple[Event, Conversation]:
        asked, place = self.asked, self.verdicts
        if place < len(asked.digests) and (verdict.seq, verdict.hash) == (asked.from_seq + place, asked.digests[place]):
            decided_at = max(self.decided_at, verdict.version)
            return Event.VERDICT, replace(self, verdicts=place + 1, decided_at=decided_at)
        expected = f"change set {asked.from_seq + place}" if place < len(asked.digests) else "none"
        told = f"a verdict came for change set {verdict.seq}, expected was {expected} and its hash"
        return Event.VERDICT_WRONG, replace(self, fault=told)

    def _with_bucket(self, line: BucketLine) -> Conversation:
        if line.state == "dropped":
            return replace(self, dropped=self.dropped | {line.b})
        return replace(self, gained=self.gained | {line.b})

    def _hear_checkpoint(self, checkpoint: Checkpoint) -> tuple[Event, Conversation]:
        missing = self._missing_verdict()
        if missing:
            return missing
        if told := self._contradiction(checkpoint):
            return Event.CHECKPOINT_WRONG, replace(self, fault=told)
        if not self._is_signed(checkpoint):
            told = f"no known server key has signed the journal at version {checkpoint.version}"
            return Event.SIGNATURE_WRONG, replace(self, fault=told)
        if told := self._step_back(checkpoint):
            return Event.HISTORY_BACK, replace(self, fault=told)
        event = Event.CHECKPOINT_MORE if checkpoint.more else Event.CHECKPOINT_FINAL
        return event, replace(self, checkpoint=checkpoint)

    def _missing_verdict(self) -> tuple[Event, Conversation] | None:
        if self.verdicts == len(self.asked.digests):
            return None
        told = f"there is no verdict for change set {self.asked.from_seq + self.verdicts}"
        return Event.VERDICT_MISSING, replace(self, fault=told)

    def _contradiction(self, checkpoint: Checkpoint) -> str:
        """What makes the checkpoint impossible in this answer, or nothing."""
        version = checkpoint.version
        if self.welcome is not None and checkpoint.epoch != self.welcome.epoch:
            return "the checkpoint belongs to another epoch than the welcome"
        if checkpoint.journal.version != version:
            return f"the journal head is at {checkpoint.journal.version}, its checkpoint at {version}"
        if version < self.decided_at:
            return f"the checkpoint at {version} does not include the verdict at {self.decided_at}"
        return self._wrong_bucket(checkpoint)

    def _wrong_bucket(self, checkpoint: Checkpoint) -> str:
        """A final checkpoint names exactly the buckets held, all at its own version and with their checksums."""
        version, is_final = checkpoint.version, not checkpoint.more
        for bucket, mark in checkpoint.buckets.items():
            if mark.version > version or (is_final and mark.version < version):
                return f"bucket {bucket} is at {mark.version}, its checkpoint at {version}"
            if is_final and (mark.rows is None or mark.sum is None):
                return f"bucket {bucket} is complete, but its checksum is missing"
        differing = checkpoint.buckets.keys() ^ self.held
        if is_final and differing:
            return f"the final checkpoint and the replica do not hold the same buckets: {', '.join(sorted(differing))}"
        return ""

    def _is_signed(self, checkpoint: Checkpoint) -> bool:
        """Also in the form without the epoch, which a server of before, or a town's journal of before, still has."""
        journal, asked = checkpoint.journal, self.asked
        try:
            digest = decode_bytes(journal.hash, HASH_BYTES)
        except Malformed:
            return False
        return is_journal_signed(
            asked.server_keys,
            journal.sig,
            town=asked.town,
            epoch=checkpoint.epoch,
            version=journal.version,
            digest=digest,
        )

    def _step_back(self, checkpoint: Checkpoint) -> str:
        """How the checkpoint contradicts what was signed before in this epoch, or nothing."""
        asked = self.asked
        signed: list[tuple[int, str | None]] = []
        if self.checkpoint is not None:
            signed.append((self.checkpoint.version, self.checkpoint.journal.hash))
        if checkpoint.epoch == asked.epoch:
            signed.append((asked.version, None))
            if asked.witness is not None:
                signed.append(asked.witness)
        for version, journal in signed:
            if checkpoint.version < version:
                return f"the server is at version {checkpoint.version}, but it has signed version {version} before"
            if checkpoint.version == version and journal not in {None, checkpoint.journal.hash}:
                return f"the server has signed two different histories for version {version}"
        return ""


def object_to_epochs(asked: Asked, welcome: Welcome) -> tuple[Event, str] | None:
    """What speaks against going over into the epoch of a welcome; None when the server's key vouches for the way there.

    The way leads from the epoch that is known, at a point that does not contradict what was heard of it. An epoch that
    the server itself has lost leads nowhere: then the new one must have begun since the last contact.
    """
    told = welcome.epochs
    if not told or told[-1].epoch != welcome.epoch:
        return Event.HISTORY_BACK, "the server is in another epoch and does not say where it began"
    if not all(_is_vouched_for(asked, mark) for mark in told):
        return Event.SIGNATURE_WRONG, "no known server key has signed where the epoch began"
    if any(mark.before != before.epoch for before, mark in pairwise(told)):
        return Event.HISTORY_BACK, "the epochs do not follow on from each other"
    first = told[0]
    if first.before != asked.epoch:
        is_older = first.at <= asked.heard_at
        return (Event.HISTORY_BACK, "the server is in an epoch from before the one that is known") if is_older else None
    if asked.witness is not None and asked.witness[0] == first.version and asked.witness[1] != first.journal:
        return Event.HISTORY_BACK, f"the server has signed two different histories for version {first.version}"
    return None


def _is_vouched_for(asked: Asked, mark: EpochMark) -> bool:
    message = epoch_message({"town": asked.town, **mark.model_dump()})
    return any(is_signed(key, mark.sig, message) for key in asked.server_keys)


def _read(line: bytes) -> Message | None:
    """The message of a line, or None when it is not one."""
    if line.startswith(_ROWS_START) and line.endswith(b"}"):
        return "rows"  # by far the most bytes; the store reads them once
    try:
        said = orjson.loads(line)
    except ValueError:
        return None
    kind = str(said.get("t")) if isinstance(said, dict) else ""
    if kind == "rows":
        return "rows"
    try:
        return _MODELS[kind].model_validate(said) if kind in _MODELS else None
    except ValidationError:
        return None
