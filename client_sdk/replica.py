"""The public face: one replica of one town on this device. Blocking, thread-safe, usable with no network all day."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from client_sdk.adapters.keys import erase, is_wiped, key_path, make_key, read_key
from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.adapters.system import RealSystem
from client_sdk.application.attention import Attention, attention
from client_sdk.application.ports import Entry, Identity, LineStatus, Store, System, Transport
from client_sdk.application.reauthor import find, receipt_at
from client_sdk.application.receipts import PrintedReceipt
from client_sdk.application.record import Recorded, record
from client_sdk.application.status import ReplicaStatus, status_of
from client_sdk.application.verify import verify
from client_sdk.application.watching import Changes, Rows, watch
from client_sdk.errors import (
    ActingAsMissing,
    ActorInactive,
    AlreadyEnrolled,
    KeyMissing,
    NotAReplica,
    Offline,
    PinMissing,
    ReplicaWiped,
    UnknownActor,
    WrongDevice,
    WrongPin,
)
from sync.kernel.authority import is_device_of
from sync.kernel.changeset import Fields, Operation
from sync.kernel.clock import format_time
from sync.kernel.errors import TallystickError
from sync.kernel.module import Registry
from sync.kernel.pins import verify_pin

if TYPE_CHECKING:
    from client_sdk.application.exchange import SyncReport
    from client_sdk.application.keep_syncing import KeepSyncing

# Who acts, by replica; a context variable, so that threads and tasks each have their own.
_ACTORS: ContextVar[Mapping[int, str]] = ContextVar("tallystick_actors", default=MappingProxyType({}))


class Replica:
    """One replica; make it with `enrol` or `open`, close it or use it in a `with` block."""

    def __init__(self, store: Store, registry: Registry, system: System, transport: Transport | None = None) -> None:
        self._store = store
        self._registry = registry
        self._system = system
        self._transport = transport
        self._identity = store.identity()
        self._sync_lock = threading.Lock()
        self._keeper_lock = threading.Lock()
        self._keeper: KeepSyncing | None = None
        self._changes = Changes()
        self._is_online = False
        self._problem: TallystickError | None = None

    @classmethod
    def enrol(
        cls,
        url: str,
        *,
        code: str,
        path: str | Path,
        passphrase: str | None = None,
        name: str = "",
        registry: Registry | None = None,
        transport: Transport | None = None,
        system: System | None = None,
        insecure: bool = False,
    ) -> Self:
        """Make this device a device of a town: needs the network, once. `name` is what admins see in the fleet.

        Keys are on the disk before the server hears of them, so when the answer is lost, call it again on the same
        path with the same passphrase and any valid code. Without a passphrase the platform's keystore keeps the key.
        `url` is https://, or http:// on this machine; `insecure` lets this replica speak to another http:// server, now
        and later. Raises `InsecureServer`, `Offline`, `ServerProblem` (`enrolment_refused`), `AlreadyEnrolled`,
        `WrongPassphrase`, `NoKeystore`.
        """
        from client_sdk.application.enrol import enrol_device  # noqa: PLC0415  needed once in the life of a replica

        path, system, registry = Path(path), system or RealSystem(), registry or _built_in()
        wire, name = transport or _http(url, system, None, insecure=insecure), name or platform.node() or "device"
        store = _enrolling_store(path, passphrase, registry, system)
        try:
            _check_new(store)
            try:
                store.enrolled(enrol_device(wire, server_url=url, code=code, key=store.device_key(), name=name))
            finally:
                if wire is not transport:
                    _hang_up(wire)
            return cls(store, registry, system, transport)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        passphrase: str | None = None,
        registry: Registry | None = None,
        transport: Transport | None = None,
        system: System | None = None,
    ) -> Self:
        """Open an enrolled replica, with or without a network.

        Raises `NotAReplica`, `NotEnrolled`, `WrongPassphrase`, `KeyMissing`, `ReplicaCorrupt`, `ReplicaTooNew`,
        `ReplicaReadOnly`.
        """
        path, system, registry = Path(path), system or RealSystem(), registry or _built_in()
        if not path.is_file() and not is_wiped(path):
            raise NotAReplica(f"there is no replica at {path.name}; check the path, or enrol first")
        store: SqliteStore | None = None
        try:
            store = SqliteStore(path, read_key(path, passphrase), registry, system)
            store.judge_anew()
            return cls(store, registry, system, transport)
        except BaseException as fault:
            if store is not None:
                store.close()
            if isinstance(fault, ReplicaWiped):  # a wipe that was broken off is finished
                erase(path, format_time(system.now_ms()), system.reached)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and the connections; recorded work stays for the next time. A second call does nothing."""
        self.stop()
        self._changes.end()
        _hang_up(self._transport)
        self._store.close()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Sequence[dict[str, Any]]:
        """The rows of one SELECT over the views (`orders`, `payments` ...): what the server said plus pending work.

        Columns are id, version (NULL for what only pending work has made) and the entity's fields; lists and maps are
        JSON text, booleans 0 and 1. Raises `NotAQuery`.
        """
        return self._store.query(sql, parameters)

    def watch(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Rows]:
        """The rows of `query` at once, and again whenever a record or a sync here has made them others.

        It waits in between, in whichever thread goes through it, and ends when the replica closes. Raises `NotAQuery`.
        """
        return watch(self._changes, lambda: self.query(sql, parameters))

    def get(self, entity: str, row_id: str) -> dict[str, Any] | None:
        """One row as a dict of id, version and fields, or None when this replica does not hold it."""
        row = self._store.row(entity, row_id)
        return {"id": row_id, "version": row.version, **row.fields} if row else None

    @contextmanager
    def acting_as(self, user_id: str, pin: str | None = None) -> Iterator[None]:
        """Inside this block, in this thread or task, the user `user_id` is who records.

        Raises `UnknownActor`, `ActorInactive`, `WrongDevice` when the device is another driver's or of a role that the
        user does not have, and for a user with a PIN `WrongPin` or, when this device does not hold it, `PinMissing`.
        """
        user = self._user(user_id)
        if user is None:
            raise UnknownActor
        if user["has_pin"]:
            self._check_pin(user_id, pin)
        token = _ACTORS.set({**_ACTORS.get(), id(self): user_id})
        try:
            yield
        finally:
            _ACTORS.reset(token)

    def record(self, *operations: Operation) -> Recorded:
        """Record one business action of one or more operations, all or none; durable when it returns, online or not.

        Raises `Refused` when the rules do not allow it, `ActingAsMissing`, `ActorInactive`, `NeverSynced`, `DiskFull`;
        then nothing was recorded.
        """
        actor = self._actor()
        recorded = record(self._store, self._system, self._registry, actor, operations)
        self._changes.happened()
        if keeper := self._keeper:
            keeper.recorded()
        return recorded

    def sync(self) -> SyncReport:
        """Exchange with the server until nothing is pending and the replica is at the town's last version.

        Raises `Offline`, `ServerProblem` and the other faults of an exchange; recorded work stays as it is. Only when
        an admin has revoked this device it is handed in, sealed to the server, and the replica destroys itself: that
        raises `ReplicaWiped`, as everything does from then on.
        """
        from client_sdk.application.exchange import sync_to_quiet  # noqa: PLC0415  offline apps start without it
        from client_sdk.application.quotas import return_unsold  # noqa: PLC0415  as above
        from client_sdk.application.trust import learn_sealing_key  # noqa: PLC0415  as above
        from client_sdk.application.wipe import faced  # noqa: PLC0415  as above

        with self._sync_lock:
            try:
                return_unsold(self._store, self._system, self._registry)
                report = sync_to_quiet(self._store, self._wire(), self._system)
                learn_sealing_key(self._store, self._wire())
            except TallystickError as problem:
                told = faced(self._store, self._wire(), self._system, problem)
                self._is_online = not isinstance(told, Offline)
                self._problem = told
                if told is problem:
                    raise
                raise told from problem
            finally:
                self._changes.happened()
            self._is_online, self._problem = True, None
            return report

    def start(self) -> None:
        """Keep in sync in the background until `stop` or `close`; a second call does nothing. Never raises.

        What is recorded goes up at once, what changes elsewhere comes down when the server hints at it, and without
        hints after a while. How that goes is in `status`.
        """
        from client_sdk.application.keep_syncing import KeepSyncing  # noqa: PLC0415  as in `sync`
        from client_sdk.application.live_ports import HintSource  # noqa: PLC0415  as in `sync`

        with self._keeper_lock:
            if self._keeper is None:
                wire = self._wire()
                source = wire if isinstance(wire, HintSource) else None
                self._keeper = KeepSyncing(sync=lambda: self.sync().version, source=source, system=self._system)
                self._keeper.start()

    def stop(self) -> None:
        """End what `start` has begun, within a few seconds; an exchange that is cut is resumed by the next one."""
        with self._keeper_lock:
            keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.stop()

    @property
    def device_id(self) -> str:
        """Which device of its town this is."""
        return self._identity.device_id

    @property
    def status(self) -> ReplicaStatus:
        """How this replica stands."""
        return status_of(self._store, self._system, self._problem, is_online=self._is_online)

    def pending(self) -> Sequence[Entry]:
        """Change sets that the server has not answered, in order."""
        return self._store.entries(LineStatus.PENDING)

    def verdicts(self) -> Sequence[Entry]:
        """Change sets that the server has answered in the last 30 days, in order."""
        return self._store.entries(LineStatus.ANSWERED)

    def find(self, digest: str) -> Entry | None:
        """The change set that `record` gave this hash for, also when it was written anew since; None if let go."""
        return find(self._store, digest)

    def attention(self) -> Sequence[Attention]:
        """What the user must look at: verdicts other than accepted, and open conflicts, each with its sentence."""
        return attention(self._store)

    def receipt(self, seq: int) -> PrintedReceipt:
        """The receipt of the change set at this place once more, as it was; raises `NoReceipt`."""
        return receipt_at(self._store, self._registry, seq)

    def dismiss(self, item: Attention) -> None:
        """The user has looked at it; `attention` leaves it out from now on."""
        self._store.dismiss(item.key)

    def export_unsent(self, path: str | Path) -> int:
        """Write what the server has not answered into a file that only the server can read; how many change sets.

        For a device that cannot reach its server any more: `tallystick rescue` takes the file, each change set once,
        also when the device comes back after all. Where nothing is unsent no file is written. Raises `NoSealingKey`,
        `DiskFailed`.
        """
        from client_sdk.application.rescue import export_unsent  # noqa: PLC0415  hardly ever needed

        return export_unsent(self._store, self._system, Path(path))

    def verify(self) -> Sequence[str]:
        """Check chain, signatures, checksums and overlay; one sentence for each thing that does not fit."""
        return verify(self._store, self._registry)

    def _wire(self) -> Transport:
        if self._transport is None:
            # Whether this address may be spoken to in the clear was decided when the replica was enrolled.
            self._transport = _http(self._identity.server_url, self._system, self._identity, insecure=True)
        return self._transport

    def _actor(self) -> str:
        actor = _ACTORS.get().get(id(self))
        if actor is not None:
            return actor
        own = self._identity.user_id
        if own is None:
            raise ActingAsMissing
        user = self._user(own)
        if user is not None and user["has_pin"]:
            raise ActingAsMissing
        return own

    def _user(self, user_id: str) -> Fields | None:
        """The user, who may act on this device; None before the town's people are known here."""
        row = self._store.row("user", user_id)
        if row is None:
            return None
        if not row.fields["is_active"]:
            raise ActorInactive
        if not is_device_of(user_id, row.fields, self._identity.device):
            raise WrongDevice
        return row.fields

    def _check_pin(self, user_id: str, pin: str | None) -> None:
        row = self._store.row("pin", user_id)
        if row is None:
            raise PinMissing
        if pin is None or not verify_pin(pin, row.fields["hash"]):
            raise WrongPin


def _enrolling_store(path: Path, passphrase: str | None, registry: Registry, system: System) -> SqliteStore:
    """The replica at `path` as an earlier enrolment left it, or a new one."""
    has_key = key_path(path).is_file()
    if path.is_file() and not has_key:
        raise KeyMissing
    key = read_key(path, passphrase) if has_key else make_key(path, passphrase, system.random)
    return SqliteStore(path, key, registry, system, may_create=True)


def _check_new(store: Store) -> None:
    """Before a code is used up."""
    if store.is_enrolled():
        raise AlreadyEnrolled


def _hang_up(transport: Transport | None) -> None:
    close = getattr(transport, "close", None)
    if close:
        close()


def _http(url: str, system: System, identity: Identity | None, *, insecure: bool) -> Transport:
    from client_sdk.adapters.http import HttpTransport  # noqa: PLC0415  offline apps start without it

    return HttpTransport(url, system, identity, insecure=insecure)


def _built_in() -> Registry:
    from sync.modules import registry  # noqa: PLC0415  apps may bring a registry of their own

    return registry()
