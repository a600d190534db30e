"""A receipt from a real van: good offline in another process with the published key alone, and followed online."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import orjson
import pytest

from client_sdk import PrintedReceipt, Replica
from server.stack import Stack
from sync.modules.billing import TakePayment, VoidPayment
from sync.modules.commerce import AssignDispatch, PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from tests.support.site import TOWN, Site, site_on

ROOT = Path(__file__).parents[2]
ELSEWHERE = """
import sys
from client_sdk import verify_receipt
receipt = verify_receipt(sys.argv[1], sys.argv[2:])
print(receipt.label, *receipt.amounts)
assert not {name for name in sys.modules if name.partition(".")[0] in {"server", "apsw", "httpx2", "segno"}}
"""


@pytest.fixture
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


def order_of(site: Site, driver: str) -> str:
    """An order for 1.00 that the driver has with them."""
    books = site.office.books
    order = books.new_id()
    lines = [OrderLine(product=site.product, quantity=1)]
    books.must(TOWN, ReceiveStock(warehouse=site.warehouse, product=site.product, quantity=1))
    books.must(
        TOWN, PlaceOrder(id=order, number="A1", warehouse=site.warehouse, customer_name="Grace", phone="", lines=lines)
    )
    books.must(TOWN, AssignDispatch(order=order, driver=driver))
    return order


def keys_of(site: Site) -> list[str]:
    """What anybody is told."""
    return [one["public_key"] for one in httpx2.get(f"{site.stack.url}/v1/keys").json()["keys"]]


def elsewhere(receipt: PrintedReceipt, keys: list[str]) -> str:
    """What a process says that has the code and the keys, and nothing else."""
    command = [sys.executable, "-c", ELSEWHERE, receipt.code, *keys]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def online(receipt: PrintedReceipt) -> str:
    """The state that the server's page tells, by the address in the QR code."""
    answer = httpx2.get(receipt.url)
    assert answer.status_code == 200, answer.text
    return str(orjson.loads(answer.content)["state"])


def test_a_receipt_holds_without_a_network_and_is_followed_with_one(site: Site, tmp_path: Path) -> None:
    site.tablet()
    driver = site.office.books.add_user(TOWN, "Finn", "driver")
    with site.office.enrol(TOWN, tmp_path / "van.db", "driver", user=driver) as van:
        order = order_of(site, driver)
        van.sync()
        first = van.record(TakePayment(order=order, amount="0.60", currency="GBP"))
        second = van.record(TakePayment(order=order, amount="0.40", currency="GBP"))
        slips = [done.receipt for done in (first, second)]
        assert slips[0] is not None
        assert slips[1] is not None

        assert elsewhere(slips[1], keys_of(site)) == f"{slips[1].number} 0.40 GBP"
        assert [slip.number[-6:] for slip in slips if slip] == ["000001", "000002"]
        assert online(slips[0]) == "waiting"

        van.sync()
        assert [online(slip) for slip in slips if slip] == ["paid", "paid"]
        van.record(VoidPayment(payment=second.id, reason="a wrong button"))
        van.sync()
        assert [online(slip) for slip in slips if slip] == ["paid", "void"]

        assert van.query("SELECT number FROM receipts ORDER BY number") == [{"number": 1}, {"number": 2}]
        assert van.receipt(second.seq) == slips[1]
        assert van.verify() == ()
    with Replica.open(tmp_path / "van.db", passphrase="a passphrase for tests") as again:
        third = again.record(TakePayment(order=order, amount="0.40", currency="GBP")).receipt
    assert third is not None
    assert third.number.endswith("-000003")
    assert site.office.books.verify(TOWN).findings == ()
