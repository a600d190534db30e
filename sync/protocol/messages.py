"""The messages of enrolment and exchange as values. `docs/reference/protocol.md` says what they mean and when.

What the server sends down is read leniently (unknown fields are ignored by older clients); what a device sends up is
read strictly. Rows are not modelled: they pass through as bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sync.kernel.clock import TIME_PATTERN
from sync.kernel.ids import Id
from sync.kernel.money import CurrencyCode
from sync.protocol import limits

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Time = Annotated[str, StringConstraints(pattern=TIME_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]
Count = Annotated[int, Field(ge=0, le=limits.INTEGER_MAX)]
Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z_]+(:[a-z0-9_-]{1,64})?$")]
Sum = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,4})?$")]
"""Many amounts of money together: more digits than one amount may have."""


class _Up(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Down(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class SignedHead(_Up):
    """The device's signature over the last line of this exchange; seq 0 before the first line."""

    seq: Count
    hash: Digest
    sig: Signature


class Witness(_Up):
    """The last journal head that the server signed for this device; with `sig` it proves that."""

    version: Count
    journal: Digest
    sig: Signature | None = None


class Told(_Up):
    """The verdict that a change set had in an epoch whose end the server has lost."""

    seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    status: Literal["accepted", "adjusted", "refused", "quarantined"]
    version: Count
    rule: Annotated[str, StringConstraints(max_length=100)] | None = None


class Hello(_Up):
    """The first line up. `cursors` says how far each held bucket is, `from_seq` the position of the first line."""

    protocol: Annotated[int, Field(ge=1, le=1000)]
    schema_: Annotated[int, Field(ge=1, le=100_000, alias="schema")]
    sdk: Text
    app: Text
    clock: Time
    epoch: Id | None
    cursors: Annotated[dict[Bucket, Count], Field(max_length=limits.BUCKETS_MAX)]
    head: SignedHead
    from_seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    pending: Count
    witness: Witness | None
    told: list[Told] = Field(default_factory=list, max_length=limits.TOLD_MAX)
    snapshots: bool = False
    """Whether the device takes the rows of a bucket that it does not hold as a file in zstd."""


class HelloLine(_Up):
    """The wrapper that marks the first line up."""

    hello: Hello


class Anchor(_Up):
    """How long after a time that the server said this is, by a clock that nobody can set; `boot` names its run."""

    server: Time
    mono_ms: Count
    boot: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Sums(_Up):
    """Money of one currency that went through the device so far."""

    in_: Annotated[Sum, Field(alias="in")]
    out: Sum


class ReplacedLine(_Up):
    """The line that this one stands for; of this device unless it says of which."""

    device: Id | None = None
    seq: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)]
    hash: Digest


class Circumstances(_Up):
    """What a change set may say beside what was done: its time, the device's totals, the last checkpoint it took.

    `receipt` is the number of the receipt that was given for it, `receipts` the highest that the device has given.
    """

    anchor: Anchor | None = None
    totals: Annotated[dict[CurrencyCode, Sums], Field(max_length=limits.CURRENCIES_MAX)] | None = None
    seen: Witness | None = None
    replaces: ReplacedLine | None = None
    receipt: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)] | None = None
    receipts: Annotated[int, Field(ge=1, le=limits.INTEGER_MAX)] | None = None


class EpochMark(_Down):
    """Where an epoch began: after `version` of the one `before`, whose journal had the hash `journal` there.

    `sig` is the server's over all of it (`sync.engine.chain.epoch_message`).
    """

    epoch: Id
    before: Id
    version: Count
    journal: Digest
    at: Time
    reason: str
    sig: Signature


class LeaseMark(_Down):
    """What the device may do without the server from `issued` to `until` (`sync.engine.leases`).

    `cash_units` is the most cash in whole units of each currency, null without a limit; `operations` are those that
    move money and are allowed. `sig` is the server's over all of it, town, device and the clock of the hello.
    """

    issued: Time
    until: Time
    cash_units: Count | None = None
    operations: list[str]
    sig: Signature


class Welcome(_Down):
    """The first line down; `acked` is the last position of the device's chain that the server holds.

    `epochs` are those that have begun since the one that the hello named, oldest first. A server of
    before gives no `lease`.
    """

    t: Literal["welcome"]
    protocol: int
    time: Time
    epoch: Id
    acked: Count
    epochs: list[EpochMark] = Field(default_factory=list)
    lease: LeaseMark | None = None


class VerdictLine(_Down):
    """What became of one change set, at which town version."""

    t: Literal["verdict"]
    seq: Count
    hash: Digest
    status: Literal["accepted", "adjusted", "refused", "quarantined"]
    version: Count
    rule: str | None = None
    notes: list[dict[str, Any]] = Field(default_factory=list)
    conflicts: list[Id] = Field(default_factory=list)


class BucketLine(_Down):
    """What becomes of one bucket: `added` and `reset` start from nothing, `dropped` is no longer held."""

    t: Literal["bucket"]
    b: Bucket
    state: Literal["kept", "added", "dropped", "reset"]


class SnapshotLine(_Down):
    """Where the rows of a bucket are as a file of `rows` lines in zstd; `bytes` and `sha256` are the file's."""

    t: Literal["snapshot"]
    b: Bucket
    version: Count
    url: str
    rows: Count
    bytes: Annotated[int, Field(ge=1, le=limits.SNAPSHOT_BYTES_MAX)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BucketMark(_Down):
    """A bucket at a checkpoint; `rows` and `sum` are given only when the bucket is complete."""

    version: Count
    rows: Count | None = None
    sum: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] | None = None


class JournalMark(_Down):
    """The signed journal head."""

    version: Count
    hash: Digest
    sig: Signature


class Checkpoint(_Down):
    """A version at which the replica is complete, or with `more`, a place from which to go on."""

    t: Literal["checkpoint"]
    epoch: Id
    version: Count
    buckets: dict[Bucket, BucketMark]
    journal: JournalMark
    more: bool


class EnrolRequest(_Up):
    """`POST /v1/devices`: the code, the device's public key, and its signature over the code."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    public_key: Digest
    proof: Signature
    name: Text


class ServerKey(_Down):
    """A public key under which this installation signs, and the X25519 key that is sealed to beside it.

    `sig` is its own signature over both, `endorsement` that of the key `endorsed_by`, which came before it.
    """

    kid: str
    public_key: Digest
    sealing_key: Digest | None = None
    sig: Signature | None = None
    endorsed_by: str | None = None
    endorsement: Signature | None = None


class KeysAnswer(_Down):
    """`GET /v1/keys`: every key that this installation ever signed with, oldest first; the last one is in use."""

    keys: Annotated[list[ServerKey], Field(min_length=1, max_length=limits.SERVER_KEYS_MAX)]


class WipeOrder(_Down):
    """In the answer to a revoked device: seal what is unsent, send it, and wipe yourself. Signed by a server key."""

    town: Id
    device: Id
    at: Time
    kid: str
    sig: Signature


class LastKept(_Down):
    """Beside an order to wipe: the last line of the device that the server has; at 0 its certificate."""

    seq: Count
    hash: Digest


class SealedReceipt(_Down):
    """The server holds the sealed lines of a revoked device up to `to_seq`; signed by a server key."""

    to_seq: Count
    head: Digest
    kid: str
    sig: Signature


class TownMark(_Down):
    """The town that a device belongs to."""

    id: Id
    name: str
    currency: str


class EnrolAnswer(_Down):
    """What an enrolled device needs to know; the certificate is a JWS by a server key."""

    device_id: Id
    role: str
    user_id: Id | None
    certificate: str
    server_keys: list[ServerKey]
    town: TownMark


def enrol_message(code: str, public_key: str) -> bytes:
    """What a device signs to prove that it holds the private key."""
    return f"tallystick/enrol/1\n{code}\n{public_key}".encode()


UP = (HelloLine, Circumstances, EnrolRequest)
DOWN = (Welcome, VerdictLine, BucketLine, SnapshotLine, Checkpoint, EnrolAnswer, KeysAnswer, WipeOrder, SealedReceipt)
