"""A day of this release, as it goes over the wire: `python -m tests.support.record_release tests/faults/golden`.

Run it before the wire schema rises: it leaves the golden build of the release that will then be the one before, a tape
`schema_N.json` and the replica of a van with unsent work, as an update of the app would find it.
Everything that a device chooses is repeatable; ids that the server chose are named, so that a replay can put its own in
their place. A tablet receives goods, takes an order, picks and packs it; the office gives it to a driver, who hands it
over and takes cash; the tablet hears of it.
"""

from __future__ import annotations

import gzip
import http.client
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from client_sdk import Replica
from client_sdk.adapters.system import RealSystem
from server.office import Office, open_office
from server.stack import Stack
from sync.modules.billing import TakePayment
from sync.modules.catalogue import product_id
from sync.modules.commerce import (
    AssignDispatch,
    CompleteDelivery,
    CompletePack,
    PickLine,
    PlaceOrder,
    ReceiveStock,
    StartDelivery,
)
from sync.modules.commerce.operations import OrderLine
from sync.protocol.version import SCHEMA
from tests.support.stack import scratch_directory

TOWN, SKU, PRICE, STOCK = "Golden", "85123A", "2.50", 100
PASSPHRASE = "a release of before"
SKIPPED = frozenset({"host", "connection", "content-length"})
"""Headers that say nothing of the release."""


class StillSystem(RealSystem):
    """A machine whose clock stands and whose chance is repeatable."""

    def __init__(self, seed: int, now_ms: int) -> None:
        super().__init__()
        self._now_ms, self._random = now_ms, random.Random(seed)

    def now_ms(self) -> int:
        """Always the same."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Always the same."""
        return 1_000

    def boot_id(self) -> str:
        """Always the same."""
        return "golden"

    def random(self, size: int) -> bytes:
        """The same in each run."""
        return self._random.randbytes(size)


class Tape:
    """A proxy that writes down everything that passes, under the name of whoever speaks."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.speaker = ""
        self.target = ""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        """Ask the server, and write down what was asked and answered."""
        address = urlsplit(self.target)
        connection = http.client.HTTPConnection(str(address.hostname), address.port)
        connection.request(method, path, body, {**headers, "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        told, kind = answer.read(), answer.headers.get("Content-Type", "")
        connection.close()
        plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        asked = {name.lower(): value for name, value in headers.items() if name.lower() not in SKIPPED}
        self.steps.append(
            {
                "device": self.speaker,
                "method": method,
                "path": path,
                "headers": asked | ({"authorization": "Bearer"} if "authorization" in asked else {}),
                "body": plain.decode(),
                "status": answer.status,
                "type": kind,
                "answer": told.decode(),
            }
        )
        return answer.status, kind, told

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen for as long as the block lasts."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


def _handler(tape: Tape) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, kind, told = tape.pass_on(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server gives it
            """What passes is on the tape."""

    return Handler


class Day:
    """The town and its two devices."""

    def __init__(self, office: Office, tape: Tape, folder: Path, golden: Path) -> None:
        self._office, self._tape, self._folder, self._golden = office, tape, folder, golden
        self.now_ms = time.time_ns() // 1_000_000
        self.ids = {"town": office.found(TOWN)}
        self.ids |= {
            "clerk": office.add_user(TOWN, "Cleo", "warehouse_staff"),
            "driver": office.add_user(TOWN, "Dan", "driver"),
            "warehouse": office.add_warehouse(TOWN, "North"),
        }
        office.stock_products(TOWN, self.ids["warehouse"], {SKU: "Hanging heart"}, {SKU: STOCK}, price=PRICE)
        self._product = product_id(SKU)

    def go(self) -> None:
        """From the first enrolment to the last sync."""
        warehouse = self.ids["warehouse"]
        tablet = self._enrol("tablet", "warehouse_staff", user=self.ids["clerk"], warehouse=warehouse)
        lines = [OrderLine(product=self._product, quantity=2, price=PRICE)]
        order = tablet.record(
            PlaceOrder(number="G-1", warehouse=warehouse, customer_name="Grace", address="1 Strand", lines=lines)
        )
        order_id = orjson.loads(tablet.pending()[0].line)["ops"][0]["id"]
        assert order.seq == 1
        tablet.record(PickLine(order=order_id, product=self._product, quantity=2))
        tablet.record(CompletePack(order=order_id))
        tablet.record(ReceiveStock(warehouse=warehouse, product=self._product, quantity=5))
        self._sync("tablet", tablet)
        self.ids["dispatch"] = self._office.new_id()
        self._office.must(TOWN, AssignDispatch(id=self.ids["dispatch"], order=order_id, driver=self.ids["driver"]))
        self._tape.steps.append({"office": "assign", "order": order_id})
        van = self._enrol("van", "driver", user=self.ids["driver"])
        van.record(StartDelivery(dispatch=self.ids["dispatch"]))
        van.record(
            CompleteDelivery(dispatch=self.ids["dispatch"], received_by="Grace"),
            TakePayment(order=order_id, amount="5.00", currency="GBP"),
        )
        van.close()
        for suffix in ("", ".key"):
            shutil.copy(self._folder / f"van.db{suffix}", self._golden / f"schema_{SCHEMA}.replica{suffix}")
        with Replica.open(self._folder / "van.db", passphrase=PASSPHRASE, system=self._system("van")) as van:
            self._sync("van", van)
            self._sync("tablet", tablet)
            for replica in (tablet, van):
                assert {verdict.status.value for verdict in _verdicts(replica)} == {"accepted"}
        tablet.close()

    def _enrol(self, name: str, role: str, **whose: str) -> Replica:
        self._tape.speaker = name
        replica = Replica.enrol(
            self._tape.url,
            code=self._office.code(TOWN, role, **whose),
            path=self._folder / f"{name}.db",
            passphrase=PASSPHRASE,
            name=name,
            system=self._system(name),
        )
        self.ids[name] = replica.device_id
        replica.sync()
        return replica

    def _system(self, name: str) -> StillSystem:
        return StillSystem(len(name), self.now_ms)

    def _sync(self, name: str, replica: Replica) -> None:
        self._tape.speaker = name
        replica.sync()


def _verdicts(replica: Replica) -> list[Any]:
    return [entry.verdict for entry in replica.verdicts() if entry.verdict]


def main(golden: Path) -> None:
    """Leave the day in that folder."""
    tape = Tape()
    with scratch_directory() as directory, tape.running():
        environment = {"TALLYSTICK_PUBLIC_URL": tape.url}
        with Stack.start(directory / "data", environment=environment) as stack, open_office(stack.settings) as office:
            tape.target = stack.url
            day = Day(office, tape, directory, golden)
            day.go()
    told = {"schema": SCHEMA, "now_ms": day.now_ms, "ids": day.ids, "steps": tape.steps}
    (golden / f"schema_{SCHEMA}.json").write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
