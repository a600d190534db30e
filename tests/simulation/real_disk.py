"""What a device of a world was told, once more over a SQLite file, which has to come to the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.application.ports import ExchangeState, Store
from sync.kernel.errors import TallystickError
from tests.simulation.device import Device
from tests.simulation.rules import DEVICE_RULES
from tests.simulation.told_store import Told
from tests.support.still_system import StillSystem

KEY = bytes(32)


class _Clock(StillSystem):
    """A device's system as it stood at each call."""

    at: tuple[int, int, str] = (0, 0, "")

    def now_ms(self) -> int:
        return self.at[0]

    def monotonic_ms(self) -> int:
        return self.at[1]

    def boot_id(self) -> str:
        return self.at[2]


def replayed(device: Device, directory: Path) -> Iterator[str]:
    """What a file comes to otherwise that was told the same; nothing is compared where the device has destroyed it.

    Nor once rows are lost: no row of a file goes without its page, and the pages of a replica are authenticated.
    """
    clock = _Clock()
    store = SqliteStore(directory / "replica.db", KEY, DEVICE_RULES, clock, may_create=True)
    try:
        store.device_key()
        store.enrolled(device.identity)
        for place, told in enumerate(device.disk.told):
            if told.name == "rot":
                return
            clock.at = told.clock
            try:
                answer = _tell(store, told)
            except TallystickError as fault:
                yield f"call {place}, {told.name}: {fault.code} {fault}"
                return
            if answer != told.answer:
                yield f"call {place}, {told.name}: {answer}, in memory {told.answer}"
        if device.wiped is None:
            yield from _differing(device.disk, store)
    finally:
        store.close()


def _tell(store: SqliteStore, told: Told) -> object:
    """The same call; a generation is the store's own affair."""
    arguments: list[Any] = [
        replace(one, generation=store.exchange_state().generation) if isinstance(one, ExchangeState) else one
        for one in told.arguments
    ]
    if told.name.startswith("downloads."):
        getattr(store.downloads, told.name.removeprefix("downloads."))(*arguments)
        return None
    if told.name == "recording":
        with store.recording() as recording:
            for name, given in told.acts:
                getattr(recording, name)(*given)
        return None
    if told.name == "rebasing":
        with store.rebasing(*arguments) as rebasing:
            for name, given in told.acts:
                getattr(rebasing.recording, name)(*given)
        return None
    answer = getattr(store, told.name)(*arguments)
    return answer if told.name == "settle" else None


def _differing(memory: Store, file: Store) -> Iterator[str]:
    for name, of_memory, of_file in (
        ("where it stands", memory.standing(), file.standing()),
        ("where it is in its exchange", _without_generation(memory), _without_generation(file)),
        ("its lines", memory.entries(), file.entries()),
        ("what is pending", memory.pending_count(), file.pending_count()),
    ):
        if of_memory != of_file:
            yield f"{name}: {of_file}, in memory {of_memory}"
    for entity in DEVICE_RULES.entities.values():
        if entity.bucket_kinds:
            view = f"SELECT * FROM {entity.plural} ORDER BY id"
            if memory.query(view, ()) != file.query(view, ()):
                yield f"{entity.plural} are shown otherwise than in memory"


def _without_generation(store: Store) -> ExchangeState:
    return replace(store.exchange_state(), generation=0)
