"""Rolling upgrade: devices of the release before on this server, and this SDK in the middle of such a device's day.

`tests.support.record_release` made a tape on each release; they are played here, never edited.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from client_sdk import Replica
from client_sdk.adapters.http import HttpTransport
from server.stack import Stack
from sync.modules.billing import TakePayment
from sync.modules.commerce import AssignDispatch
from sync.protocol.version import SCHEMA
from tests.support.fake_server import LINES, Answer, FakeServer, fake_server, json_answer
from tests.support.golden import GOLDEN, GoldenDevice, Known, last_rows, lines_of, releases, statuses, tape_of
from tests.support.record_release import PASSPHRASE, PRICE, SKU, STOCK, StillSystem
from tests.support.site import Site, site_on

TOWN = "Golden"


@pytest.fixture(scope="module")
def site(shared_stack: Stack) -> Iterator[Site]:
    with site_on(shared_stack) as running:
        yield running


@pytest.fixture(scope="module", params=releases())
def tape(request: pytest.FixtureRequest) -> dict[str, Any]:
    return tape_of(request.param)


def test_the_release_before_is_among_those_that_are_kept() -> None:
    assert SCHEMA - 1 in releases()


def town_of_now(site: Site, tape: dict[str, Any]) -> dict[str, str]:
    """The same town here; the ids of then with those of now."""
    books, then = site.office.books, tape["ids"]
    now = {"town": books.found(TOWN)}
    now["clerk"] = books.add_user(TOWN, "Cleo", "warehouse_staff")
    now["driver"] = books.add_user(TOWN, "Dan", "driver")
    now["warehouse"] = books.add_warehouse(TOWN, "North")
    now["dispatch"] = books.new_id()
    books.stock_products(TOWN, now["warehouse"], {SKU: "Hanging heart"}, {SKU: STOCK}, price=PRICE)
    return {then[name]: now[name] for name in now}


def test_a_day_of_the_release_before_goes_on_this_server_as_it_went_on_its_own(
    site: Site, tape: dict[str, Any]
) -> None:
    ids, then, books, known = town_of_now(site, tape), tape["ids"], site.office.books, Known(tape)
    now_ms = time.time_ns() // 1_000_000
    codes = {
        "tablet": books.code(TOWN, "warehouse_staff", user=ids[then["clerk"]], warehouse=ids[then["warehouse"]]),
        "van": books.code(TOWN, "driver", user=ids[then["driver"]]),
    }
    devices = {name: GoldenDevice(site.stack.url, tape["schema"], ids, now_ms) for name in codes}
    verdicts, heard = 0, []
    for step in tape["steps"]:
        if "office" in step:
            order, dispatch, driver = step["order"], ids[then["dispatch"]], ids[then["driver"]]
            books.must(TOWN, AssignDispatch(id=dispatch, order=order, driver=driver))
            continue
        device = devices[step["device"]]
        if step["path"] == "/v1/devices":
            device.enrol(step, codes[step["device"]])
        elif step["path"] == "/v1/oauth/token":
            device.ask_for_token(step)
        elif step["path"].endswith("/exchange"):
            heard = device.exchange(step)
            assert [lacking for line in heard for lacking in known.missing(line)] == []
            assert statuses(heard) == statuses(lines_of(step["answer"]))
            verdicts += len(statuses(heard))
    for device in devices.values():
        device.close()

    assert verdicts == 6
    (level,) = last_rows(heard)["stock_level"]
    assert (level["on_hand"], level["reserved"]) == (STOCK - 2 + 5, 0)
    assert books.verify(TOWN).findings == ()


def test_what_the_release_before_would_miss_is_seen(tape: dict[str, Any]) -> None:
    known = Known(tape)
    checkpoint = lines_of(tape["steps"][2]["answer"])[-1]
    row = {"t": "rows", "b": "town", "e": "product", "put": [["…", 5, {"name": "Heart", "unit": "piece"}]], "gone": []}

    assert known.missing(checkpoint | {"members": "of later"}) == []
    assert known.missing({name: value for name, value in checkpoint.items() if name != "buckets"}) == [
        "checkpoint has no buckets"
    ]
    assert known.missing(row) == ["product has no sku"]
    assert known.missing({"t": "statement"}) == ["statement is unknown"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


def exchanges_of(tape: dict[str, Any], device: str) -> list[dict[str, Any]]:
    steps = [step for step in tape["steps"] if step.get("device") == device]
    return [step for step in steps if step["path"].endswith("/exchange")]


def as_answered(step: dict[str, Any]) -> Answer:
    return Answer(content_type=LINES, lines=[line.encode() for line in step["answer"].splitlines()])


def test_a_device_that_is_updated_enrols_and_syncs_with_a_server_of_the_release_before(
    tape: dict[str, Any], server: FakeServer, tmp_path: Path
) -> None:
    system = StillSystem(len("tablet"), tape["now_ms"])
    enrolled = orjson.loads(tape["steps"][0]["answer"])
    server.will_answer(json_answer(enrolled, 201), as_answered(exchanges_of(tape, "tablet")[0]))
    server.keys = enrolled["server_keys"]

    with Replica.enrol(
        server.url, code="…", path=tmp_path / "tablet.db", passphrase=PASSPHRASE, name="tablet", system=system
    ) as replica:
        replica.sync()

        assert [row["sku"] for row in replica.query("SELECT sku FROM products")] == [SKU]
        assert replica.query("SELECT on_hand, reserved FROM stock_levels") == [{"on_hand": STOCK, "reserved": 0}]
        assert list(replica.verify()) == []


def test_an_update_in_the_middle_of_a_day_keeps_the_unsent_work_byte_for_byte(
    tape: dict[str, Any], server: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "van.db"
    for suffix in ("", ".key"):
        shutil.copy(GOLDEN / f"schema_{tape['schema']}.replica{suffix}", f"{path}{suffix}")
    sent = exchanges_of(tape, "van")[1]
    unsent = [line.encode() for line in sent["body"].splitlines()[1:]]
    server.will_answer(as_answered(sent))
    server.keys = orjson.loads(tape["steps"][0]["answer"])["server_keys"]
    system = StillSystem(0, tape["now_ms"])
    with Replica.open(path, passphrase=PASSPHRASE, system=system) as replica:
        wire = HttpTransport(server.url, system, replica._store.identity())

    with Replica.open(path, passphrase=PASSPHRASE, system=system, transport=wire) as replica:
        assert [entry.line for entry in replica.pending()] == unsent
        assert list(replica.verify()) == []

        replica.sync()

        assert [entry.verdict.status for entry in replica.verdicts() if entry.verdict] == ["accepted", "accepted"]
        assert (list(replica.pending()), list(replica.verify())) == ([], [])
        (order,) = {re.sub(r".*order\W+([0-9a-f-]{36}).*", r"\1", unsent[1].decode())}
        assert replica.record(TakePayment(order=order, amount="1.00", currency="GBP")).seq == 3
    wire.close()
