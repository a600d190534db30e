"""A small business and a town that keeps it, for tests of the machinery: jobs in zones, and cash taken for them.

`ToyTown` is a server in memory: it decides with the engine and answers exchanges from a feed, without a wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.application.ports import Identity, OutboxLine, Settled, Store
from client_sdk.errors import Offline
from sync.engine.chain import encode_bytes, journal_hash, journal_message, line_hash, sign
from sync.engine.feed import BucketSum, Stored
from sync.engine.town import Submitted, TownHead, step_loading
from sync.kernel.cases import CASES
from sync.kernel.changeset import ChangeSet, Fields, Intent, Operation, RowKey
from sync.kernel.clock import format_time
from sync.kernel.draft import Draft
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref, Registry
from sync.kernel.money import Amount, CurrencyCode, to_minor
from sync.modules import casework
from sync.protocol.codec import parse_line
from sync.protocol.messages import Checkpoint, EnrolAnswer, EnrolRequest, Hello, LeaseMark, Welcome

TOWN_ID = derived_id("toy", "town")
DEVICE_ID = derived_id("toy", "device")
CLERK_ID = derived_id("toy", "clerk")
EPOCH = derived_id("toy", "epoch", 1)
OTHER_EPOCH = derived_id("toy", "epoch", 2)
START_MS = 1_795_248_000_000
STAFF = frozenset({"clerk"})
SERVER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

NO_NAME = Case(id="toy.no_name", sentence="A job needs a name.", is_refusal=True)
ALREADY_DONE = Case(
    id="toy.already_done", sentence="{name} was done already.", conflict="already_done", task="Ask about {name}"
)

IN_TOWN: dict[str, Any] = {"bucket_kinds": frozenset({"town"}), "buckets": lambda _row: ("town",)}
USER = Entity(
    name="user",
    plural="users",
    fields={"name": FieldKind.TEXT, "roles": FieldKind.JSON}
    | dict.fromkeys(("is_active", "has_pin"), FieldKind.BOOLEAN),
    **IN_TOWN,
)
DEVICE = Entity(name="device", plural="devices", fields={"role": FieldKind.TEXT, "user_id": FieldKind.ID})
PIN = Entity(
    name="pin",
    plural="pins",
    fields={"user_id": FieldKind.ID, "hash": FieldKind.TEXT},
    **IN_TOWN,
)
JOB = Entity(
    name="job",
    plural="jobs",
    fields={
        "name": FieldKind.TEXT,
        "zone": FieldKind.TEXT,
        "is_done": FieldKind.BOOLEAN,
        "paid_minor": FieldKind.INTEGER,
        "tags": FieldKind.JSON,
    },
    bucket_kinds=frozenset({"zone"}),
    buckets=lambda row: (f"zone:{row['zone']}",),
)


class PlaceJob(Operation):
    op: ClassVar = "job.place"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = STAFF
    creates: ClassVar = "job"
    name: str
    zone: str = "a"


class FinishJob(Operation):
    op: ClassVar = "job.finish"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = STAFF
    job: Annotated[Id, Ref(entity="job")]


class MoveJob(Operation):
    op: ClassVar = "job.move"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = STAFF
    job: Annotated[Id, Ref(entity="job")]
    after: Annotated[Id, Ref(entity="job")] | None = None
    zone: str


class TakeCash(Operation):
    op: ClassVar = "payment.take"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = STAFF
    job: Annotated[Id, Ref(entity="job")]
    amount: Amount
    currency: CurrencyCode


class Explode(Operation):
    op: ClassVar = "job.explode"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = STAFF


def _place(operation: PlaceJob, draft: Draft) -> None:
    if not operation.name:
        raise draft.refuse(NO_NAME)
    draft.create("job", operation.id, job_row(operation.name, operation.zone))


def _finish(operation: FinishJob, draft: Draft) -> None:
    row = draft.need("job", operation.job)
    if row["is_done"]:
        draft.adjust(ALREADY_DONE, operation, subject=("job", operation.job), name=row["name"])
        return
    draft.update("job", operation.job, is_done=True)


def _move(operation: MoveJob, draft: Draft) -> None:
    """Where a job goes may depend on another one, so that decisions are connected."""
    zone = operation.zone
    if operation.after:
        zone = draft.need("job", operation.after)["zone"]
    draft.update("job", operation.job, zone=zone)


def _take(operation: TakeCash, draft: Draft) -> None:
    row = draft.need("job", operation.job)
    minor = to_minor(operation.amount, operation.currency)
    draft.update("job", operation.job, paid_minor=row["paid_minor"] + minor)


def _explode(_operation: Explode, _draft: Draft) -> None:
    raise ZeroDivisionError


def toy_registry(*more: Entity) -> Registry:
    """The toy business, with further entities when a test plays a newer version."""
    engine = Module(name="engine", kind=ModuleKind.TRUTH, cases=CASES)
    toy = Module(
        name="toy",
        kind=ModuleKind.WORKFLOW,
        entities=(USER, PIN, DEVICE, JOB, *more),
        operations=(PlaceJob, FinishJob, MoveJob, TakeCash, Explode),
        rules={PlaceJob: _place, FinishJob: _finish, MoveJob: _move, TakeCash: _take, Explode: _explode},
        cases=(NO_NAME, ALREADY_DONE),
    )
    return Registry([engine, casework.MODULE, toy])


REGISTRY = toy_registry()


def clerk_row(**changes: Any) -> dict[str, Any]:
    return {"name": "Ann", "roles": ["clerk"], "is_active": True, "has_pin": False} | changes


def job_row(name: str, zone: str = "a") -> dict[str, Any]:
    return {"name": name, "zone": zone, "is_done": False, "paid_minor": 0, "tags": []}


def job_id(number: int) -> str:
    return derived_id("toy", "job", number)


def toy_identity(key: Ed25519PrivateKey, user_id: str | None = CLERK_ID) -> Identity:
    return Identity(
        server_url="http://127.0.0.1:9",
        device_id=DEVICE_ID,
        town_id=TOWN_ID,
        town_name="Toytown",
        currency="GBP",
        role="clerk",
        user_id=user_id,
        certificate="toy-certificate",
        server_keys={"k": encode_bytes(SERVER_KEY.public_key().public_bytes_raw())},
        key=key,
    )


@dataclass(kw_only=True)
class ToyTown:
    """A town and its feed; `answer` is one exchange."""

    epoch: str = EPOCH
    version: int = 0
    rows: dict[RowKey, Stored] = field(default_factory=dict)
    feed: dict[tuple[str, str, str], tuple[int, bytes | None]] = field(default_factory=dict)
    sums: dict[str, BucketSum] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    verdicts: list[bytes] = field(default_factory=list)
    now: int = START_MS
    lease: LeaseMark | None = None
    buckets: tuple[str, ...] = ("town", "zone:a", "zone:b", f"device:{DEVICE_ID}")

    def put(self, rows: Mapping[RowKey, Fields]) -> None:
        """Change rows as a server would, in one version."""
        self.version += 1
        for (entity, row_id), fields in rows.items():
            before = self.rows.get((entity, row_id))
            old = REGISTRY.entities[entity].buckets(before.fields) if before else ()
            new = REGISTRY.entities[entity].buckets(fields)
            for bucket in old:
                assert before
                self.sums[bucket] = self.sums.get(bucket, BucketSum()).without_row(entity, row_id, before.version)
                self.feed[bucket, entity, row_id] = (self.version, None)
            for bucket in new:
                self.sums[bucket] = self.sums.get(bucket, BucketSum()).with_row(entity, row_id, self.version)
                self.feed[bucket, entity, row_id] = (self.version, orjson.dumps(fields))
            self.rows[entity, row_id] = Stored(version=self.version, fields=fields)

    def with_clerk(self, pin_hash: str | None = None) -> ToyTown:
        """The town with somebody who may work in it."""
        device = {"role": "clerk", "user_id": CLERK_ID}
        self.put({("user", CLERK_ID): clerk_row(has_pin=pin_hash is not None), ("device", DEVICE_ID): device})
        if pin_hash:
            self.put({("pin", CLERK_ID): {"user_id": CLERK_ID, "hash": pin_hash}})
        return self

    def receive(self, lines: Sequence[OutboxLine]) -> list[bytes]:
        """Decide lines that are new and give the verdict of each."""
        said = []
        for line in lines:
            if line.seq == len(self.lines) + 1:
                self._decide(line)
            assert self.lines[line.seq - 1] == line.line
            said.append(self.verdicts[line.seq - 1])
        return said

    def answer(
        self, state: Cursors, lines: Sequence[OutboxLine] = (), *, buckets: Sequence[str] | None = None
    ) -> tuple[Welcome, list[bytes], Checkpoint]:
        """The whole answer to one exchange."""
        verdicts = self.receive(lines)
        held, said = self.buckets if buckets is None else tuple(buckets), []
        is_new_epoch = state.epoch not in (None, self.epoch)
        since: dict[str, int] = {}
        for bucket in held:
            is_kept = bucket in state.cursors and not is_new_epoch
            since[bucket] = state.cursors[bucket] if is_kept else 0
            what = "kept" if is_kept else "reset" if bucket in state.cursors else "added"
            said.append({"t": "bucket", "b": bucket, "state": what})
        said += [{"t": "bucket", "b": bucket, "state": "dropped"} for bucket in state.cursors if bucket not in held]
        for bucket in held:
            said += self._rows(bucket, since[bucket])
        return self.welcome(), [*verdicts, *(orjson.dumps(line) for line in said)], self.checkpoint(held)

    def welcome(self) -> Welcome:
        time, acked = format_time(self.now), len(self.lines)
        return Welcome(t="welcome", protocol=1, time=time, epoch=self.epoch, acked=acked, lease=self.lease)

    def checkpoint(self, buckets: Sequence[str] | None = None, *, more: bool = False) -> Checkpoint:
        """The checkpoint at the town's version; with `more` it says only how far each bucket is."""
        marks = {}
        for bucket in self.buckets if buckets is None else buckets:
            held = self.sums.get(bucket, BucketSum())
            whole = {} if more else {"rows": held.rows, "sum": f"{held.total:016x}"}
            marks[bucket] = {"version": self.version, **whole}
        digest = journal_hash(f"{self.epoch} {self.version}".encode())
        signature = sign(SERVER_KEY, journal_message(TOWN_ID, self.epoch, self.version, digest))
        journal = {"version": self.version, "hash": encode_bytes(digest), "sig": signature}
        said = {"t": "checkpoint", "epoch": self.epoch, "version": self.version, "buckets": marks}
        return Checkpoint.model_validate({**said, "journal": journal, "more": more})

    def _rows(self, bucket: str, since: int) -> list[dict[str, Any]]:
        lines: dict[str, dict[str, Any]] = {}
        for (of, entity, row_id), (version, body) in self.feed.items():
            if of != bucket or version <= since:
                continue
            line = lines.setdefault(entity, {"t": "rows", "b": bucket, "e": entity, "put": [], "gone": []})
            if body is None:
                line["gone"].append([row_id, version])
            else:
                line["put"].append([row_id, version, orjson.loads(body)])
        return list(lines.values())

    def _decide(self, line: OutboxLine) -> None:
        parsed = parse_line(line.line, town=TOWN_ID, device=DEVICE_ID, registry=REGISTRY)
        failure = None
        if isinstance(parsed.change_set, ChangeSet) and any(op.op == Explode.op for op in parsed.change_set.ops):
            failure = "it exploded"
        submitted = Submitted(
            device=DEVICE_ID,
            seq=line.seq,
            line=line.line,
            digest=line_hash(line.line),
            change_set=parsed.change_set,
            failure=failure,
        )
        head = TownHead(town=TOWN_ID, epoch=self.epoch, version=self.version, journal=bytes(32))
        step = step_loading(
            head, [submitted], lambda keys: {key: self.rows.get(key) for key in keys}, REGISTRY, format_time(self.now)
        )
        self.put({(row.entity, row.row_id): row.after for row in step.rows})
        self.lines.append(line.line)
        self.verdicts.append(step.answered[0].verdict_line)


def exchange(store: Store, town: ToyTown, **how: Any) -> Settled:
    """One whole exchange between a store and a town."""
    state = store.exchange_state()
    lines = store.outbox_from(state.acked + 1, lines_max=1000, bytes_max=1_000_000)
    welcome, answer, checkpoint = town.answer(state, lines, **how)
    return store.settle(state, welcome, answer, checkpoint)


class ToyTransport:
    """The way to a `ToyTown` without a wire; a test takes it away by setting `is_cut`."""

    def __init__(self, town: ToyTown, user_id: str | None = CLERK_ID) -> None:
        self.town = town
        self.user_id = user_id
        self.is_cut = False
        self.is_answer_lost = False
        self.public_keys: list[str] = []
        self.bytes_up = 0
        self.bytes_down = 0

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """Any code is good; the certificate is real."""
        self._reach()
        self.public_keys.append(request.public_key)
        claims = {"sub": DEVICE_ID, "town": TOWN_ID, "role": "clerk", "key": request.public_key, "prefix": "T1"}
        times = dict.fromkeys(("iat", "nbf"), START_MS // 1000) | {"exp": START_MS // 1000 + 86400}
        certificate = jwt.encode({**claims, **times}, SERVER_KEY, algorithm="EdDSA", headers={"kid": "k"})
        if self.is_answer_lost:
            raise Offline
        public_key = encode_bytes(SERVER_KEY.public_key().public_bytes_raw())
        return EnrolAnswer.model_validate(
            {
                "device_id": DEVICE_ID,
                "role": "clerk",
                "user_id": self.user_id,
                "certificate": certificate,
                "server_keys": [{"kid": "k", "public_key": public_key}],
                "town": {"id": TOWN_ID, "name": "Toytown", "currency": "GBP"},
            }
        )

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """One request and its answer."""
        self._reach()
        self.bytes_up += sum(map(len, lines))
        outbox = [
            OutboxLine(seq=hello.from_seq + place, line=line, digest=line_hash(line), signature="")
            for place, line in enumerate(lines)
        ]
        welcome, answer, checkpoint = self.town.answer(hello, outbox)
        said = [welcome.model_dump_json().encode(), *answer, checkpoint.model_dump_json(exclude_none=True).encode()]
        self.bytes_down += sum(map(len, said))
        yield from said

    def _reach(self) -> None:
        if self.is_cut:
            raise Offline


class Cursors(Protocol):
    """What an answer depends on: a hello, or what a hello is made from."""

    @property
    def epoch(self) -> str | None: ...

    @property
    def cursors(self) -> Mapping[str, int]: ...
