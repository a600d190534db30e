"""Where the demo is played: servers, office and devices in one directory, and the network that can be cut.

The office is a second process on the same database, as somebody at a desk beside the server; devices reach the town by
HTTP only. Cutting the network ends the API, so that a device really finds nobody.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from client_sdk import Offline, Replica
from server.cli.demo import script
from server.cli.demo.apps import PASSPHRASE, Device
from server.cli.demo.books import Books
from server.cli.demo.provider import Provider, open_provider
from server.cli.demo.telling import Teller
from server.cli.demo.world import World, open_town
from server.office import Office, open_office
from server.stack import Stack

SERVER_FOLDER = "server"
DEVICES_FOLDER = "devices"


@dataclass(kw_only=True, slots=True)
class Stage:
    """Everything a scene needs."""

    directory: Path
    stack: Stack
    office: Office
    books: Books
    teller: Teller
    world: World
    provider: Provider
    devices: dict[str, Device] = field(default_factory=dict)

    def enrol(self, name: str, person: script.Person) -> Device:
        """Put a new device into somebody's hands, and let it sync for the first time."""
        self.teller.doing(f"Enrolling {name}")
        user = self.world.users[person.name]
        warehouse = self.world.warehouse if person.role == "warehouse_staff" else None
        code = self.office.code(script.TOWN, person.role, user=user, warehouse=warehouse)
        path = self.directory / DEVICES_FOLDER / f"{name.replace(' ', '-').replace(chr(39), '')}.db"
        replica = Replica.enrol(self.stack.url, code=code, path=path, passphrase=PASSPHRASE, name=name)
        rows = replica.sync().rows
        self.devices[name] = Device(name=name, user=user, pin=person.pin, path=path, replica=replica, first_rows=rows)
        return self.devices[name]

    def cut_network(self) -> None:
        """From now on no device reaches the server."""
        self.stack.kill_api()

    def restore_network(self, *, dying_at: str = "") -> None:
        """The API is back; armed, it kills itself when it reaches that step."""
        self.stack.restart_api(environment={"TALLYSTICK_FAILPOINT": dying_at} if dying_at else None)

    def sync(self, device: Device) -> None:
        """Let the device sync; raises `Offline` when that does not work."""
        self.teller.doing(f"{device.name} syncs")
        device.replica.sync()

    def try_to_sync(self, device: Device) -> None:
        """Let the device sync, whatever comes of it: its counts tell."""
        with suppress(Offline):
            self.sync(device)


@contextmanager
def open_stage(directory: Path, teller: Teller) -> Iterator[Stage]:
    """Servers started, town founded, nobody enrolled; at the end everything is closed and stopped."""
    (directory / DEVICES_FOLDER).mkdir()
    with (
        open_provider(directory) as provider,
        Stack.start(
            directory / SERVER_FOLDER,
            environment=provider.settings,
            progress=teller.doing,
            is_stopping=teller.is_stopping,
        ) as stack,
        open_office(stack.settings) as office,
    ):
        teller.doing(f"Founding {script.TOWN}")
        world = open_town(office)
        with Books(stack.database_url, office.towns[script.TOWN]) as books:
            stage = Stage(
                directory=directory,
                stack=stack,
                office=office,
                books=books,
                teller=teller,
                world=world,
                provider=provider,
            )
            try:
                yield stage
            finally:
                teller.ending("Stopping the servers")
                for device in stage.devices.values():
                    device.replica.close()


@contextmanager
def directory_for(keep: Path | None) -> Iterator[Path]:
    """`keep`, made when it is missing, or a temporary directory that is gone afterwards."""
    if keep is not None:
        keep.mkdir(mode=0o711, parents=True, exist_ok=True)
        yield keep.resolve()
        return
    directory = Path(tempfile.mkdtemp(prefix="tallystick-demo-"))
    directory.chmod(0o711)  # as root, the database runs as another account and has to pass
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
