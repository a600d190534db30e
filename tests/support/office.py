"""The office of the stack under test, which can also enrol real devices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client_sdk import Replica
from server.office import Office, open_office
from server.stack import Stack
from sync.modules.identity import RevokeDevice
from tests.support import device_process

PASSPHRASE = device_process.PASSPHRASE


class TestOffice:
    """An office and the address that its devices are told."""

    __test__ = False

    def __init__(self, office: Office, url: str) -> None:
        self.books = office
        self._url = url

    def enrol(
        self,
        town: str,
        path: Path,
        role: str,
        *,
        user: str | None = None,
        warehouse: str | None = None,
        school: str | None = None,
    ) -> Replica:
        """A new device with a replica at `path`."""
        code = self.books.code(town, role, user=user, warehouse=warehouse, school=school)
        return Replica.enrol(self._url, code=code, path=path, passphrase=PASSPHRASE, name=path.stem)

    def revoke(self, town: str, device_id: str) -> None:
        """Put a device out of use."""
        self.books.must(town, RevokeDevice(id=self.books.new_id(), device=device_id, reason="lost"))


@contextmanager
def office_of(stack: Stack) -> Iterator[TestOffice]:
    """The office of a running stack."""
    with open_office(stack.settings) as office:
        yield TestOffice(office, stack.url)
