"""Money in PostgreSQL: no transaction ends with books that are off, and whoever changes an amount is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Connection, errors
from psycopg.types.json import Jsonb

from server.embedded import EmbeddedPostgres
from server.jobs.relay import answer
from sync.kernel.clock import format_time
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty, TakePayment
from sync.modules.commerce import PlaceOrder
from sync.modules.commerce.operations import OrderLine
from tests.server.postgres.test_verify import NOBODY, places, verified
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.stack import database_from, tamper

TOWN = "00000000-0000-7000-8000-0000000000aa"
ENTRIES: LiteralString = """
INSERT INTO tallystick.journal_entries
  (town_id, id, version, account, debit_minor, credit_minor, currency, device_id, seq, claimed_at, booked_at)
SELECT %(town)s, gen_random_uuid(), 1, r.account, r.debit, r.credit, r.currency, %(town)s, r.seq, now(), now()
FROM jsonb_to_recordset(%(entries)s) AS r (account text, debit bigint, credit bigint, currency text, seq bigint)
"""


@pytest.fixture
def api(migrated_database: str) -> Iterator[Connection[Any]]:
    """As the application writes to one town."""
    with psycopg.connect(migrated_database) as connection:
        connection.execute("SET ROLE tallystick_api")
        connection.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + TOWN + "}"])
        connection.commit()
        connection.execute("SET ROLE tallystick_api")
        yield connection


def entry(account: str, debit: int, credit: int, currency: str = "KES", *, seq: int = 1) -> dict[str, str | int]:
    return {"account": account, "debit": debit, "credit": credit, "currency": currency, "seq": seq}


def post(connection: Connection[Any], *entries: dict[str, str | int]) -> None:
    """In one statement, as the write path does."""
    connection.execute(ENTRIES, {"town": TOWN, "entries": Jsonb(entries)})


def written(connection: Connection[Any]) -> int:
    connection.rollback()
    connection.execute("SET ROLE tallystick_api")
    count: int = (connection.execute("SELECT count(*) FROM tallystick.journal_entries").fetchone() or (-1,))[0]
    return count


def test_change_sets_that_balance_are_written_in_one_statement(api: Connection[Any]) -> None:
    post(
        api,
        *(entry("bank", 0, 300), entry("sales", 100, 0), entry("drawer", 200, 0)),
        *(entry("drawer", 7, 0, "GBP", seq=2), entry("sales", 0, 7, "GBP", seq=2)),
    )

    api.commit()

    assert written(api) == 5


@pytest.mark.parametrize(
    "entries",
    [
        [entry("drawer", 100, 0)],
        [entry("drawer", 100, 0), entry("sales", 0, 99)],
        [entry("drawer", 100, 0, "KES"), entry("sales", 0, 100, "GBP")],
        [entry("drawer", 100, 0), entry("sales", 0, 100, seq=2)],
        [entry("drawer", 100, 0), entry("sales", 0, 100), entry("drawer", 5, 0, seq=2)],
    ],
    ids=["one side", "off by one", "two currencies", "two change sets", "one of two"],
)
def test_a_change_set_that_does_not_balance_is_refused(
    api: Connection[Any], entries: list[dict[str, str | int]]
) -> None:
    with pytest.raises(errors.CheckViolation, match="are off by"):
        post(api, *entries)

    assert written(api) == 0


def test_what_is_added_to_a_change_set_later_has_to_balance_too(api: Connection[Any]) -> None:
    post(api, entry("drawer", 100, 0), entry("sales", 0, 100))
    with pytest.raises(errors.CheckViolation):
        post(api, entry("drawer", 1, 0))

    assert written(api) == 0


def test_entries_of_a_savepoint_have_to_balance_too(api: Connection[Any]) -> None:
    post(api, entry("drawer", 100, 0), entry("sales", 0, 100))
    with pytest.raises(errors.CheckViolation), api.transaction():
        post(api, entry("drawer", 1, 0))

    api.commit()

    assert written(api) == 2


async def _trade(url: str) -> dict[str, str]:
    """An order that is overpaid on a van, and an invoice that is paid in the office."""
    async with real_town(url) as town:
        names = {"town": town.id, "nobody": NOBODY}
        names |= await _sell(town)
        names |= await _bill(town)
        assert await town.shelf.note(town.id, format_time(town.system.now_ms())) == 2
        assert (await answer(town, town.id)).failed == 0
        return names


async def _sell(town: RealTown) -> dict[str, str]:
    tablet, van = await town.enrol("warehouse_staff"), await town.enrol("driver")
    order, payment = town.new_id(), town.new_id()
    lines = [OrderLine(product=PRODUCT, quantity=1, price="9.00")]
    await tablet.send(
        tablet.line(PlaceOrder(id=order, number="A1", warehouse=town.warehouse_id, customer_name="Grace", lines=lines))
    )
    await van.send(van.line(TakePayment(id=payment, order=order, amount="10.00", currency="GBP")))
    return {"order": order, "payment": payment}


async def _bill(town: RealTown) -> dict[str, str]:
    party, invoice, payment = town.new_id(), town.new_id(), town.new_id()
    await town.author(RegisterParty(id=party, name="Zoë"))
    lines = [InvoiceLine(text="rent", amount="30.00")]
    await town.author(IssueInvoice(id=invoice, party=party, title="Rent", lines=lines, currency="GBP"))
    await town.author(TakePayment(id=payment, invoice=invoice, amount="12.00", currency="GBP"))
    return {"party": party, "invoice": invoice, "paid": payment}


@pytest.fixture(scope="module")
def kept(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[tuple[str, dict[str, str]]]:
    with database_from(postgres, migrated_template) as url:
        yield url.rpartition("/")[2], asyncio.run(_trade(url))


@pytest.fixture
def copy(postgres: EmbeddedPostgres, kept: tuple[str, dict[str, str]]) -> Iterator[str]:
    with database_from(postgres, kept[0]) as url:
        yield url


TAMPERED: dict[str, tuple[str, str]] = {
    "the amount of a payment": (
        "UPDATE payments SET amount_minor = amount_minor + 1 WHERE id = '{paid}'",
        "payment {paid}",
    ),
    "what became of a payment": (
        "UPDATE settlements SET allocated_minor = 1 WHERE id = '{paid}'",
        "settlement {paid}",
    ),
    "what remains of an invoice": (
        "UPDATE invoices SET remaining_minor = 0, state = 'PAID' WHERE id = '{invoice}'",
        "invoice {invoice}",
    ),
    "an allocation, removed": ("DELETE FROM allocations WHERE invoice_id = '{invoice}'", "allocation "),
    "an allocation, moved": (
        "UPDATE allocations SET invoice_id = '{nobody}' WHERE invoice_id = '{invoice}'",
        "allocation ",
    ),
    "credit, one cent more": ("UPDATE credits SET left_minor = left_minor + 1", "credit "),
    "an entry, one cent more": (
        "UPDATE journal_entries SET debit_minor = debit_minor + 1 WHERE payment_id = '{paid}' AND debit_minor > 0",
        "journal_entry ",
    ),
    "an entry, moved to another account": (
        "UPDATE journal_entries SET account = 'bank' WHERE payment_id = '{paid}' AND debit_minor > 0",
        "journal_entry ",
    ),
    "an entry, removed": ("DELETE FROM journal_entries WHERE account = 'sales'", "journal_entry "),
    "a statement, one cent more": (
        """UPDATE statements SET body = replace(body, '"12.00"', '"12.01"') WHERE owner_id = '{party}'""",
        "statement of party {party}",
    ),
    "a statement, added up wrongly": (
        """UPDATE statements SET body = replace(body, '"18.00"', '"18.01"') WHERE owner_id = '{party}'""",
        "statement of party {party}",
    ),
    "a statement that lacks a payment": (
        "UPDATE statements SET body = '[]' WHERE owner_id = '{party}'",
        "statement of party {party}",
    ),
    "what a drawer should hold": (
        """UPDATE drawer_sessions SET expected = '{{"GBP": 0}}' WHERE is_implied""",
        "drawer_session ",
    ),
}


def test_the_books_of_a_town_that_nobody_has_touched_add_up(copy: str, kept: tuple[str, dict[str, str]]) -> None:
    assert verified(copy, kept[1]["town"]).findings == ()


@pytest.mark.parametrize(("statement", "place"), TAMPERED.values(), ids=TAMPERED)
def test_money_that_was_changed_is_found(
    copy: str, kept: tuple[str, dict[str, str]], statement: str, place: str
) -> None:
    names = kept[1]

    tamper(copy, statement.format(**names))

    found = places(verified(copy, names["town"]))
    assert found
    assert all(where.startswith(place.format(**names)) for where in found)
