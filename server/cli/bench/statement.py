"""statement: an account with many entries, asked for over HTTP; beside it, a SELECT of its entries alone.

Three ways: kept in Redis, made anew from the books, and made anew while Redis is down.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import httpx2
import psycopg
from redis import Redis

from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.limits import median_ms
from sync.modules.billing import IssueInvoice, RegisterParty, TakePayment
from sync.modules.billing.operations import InvoiceLine

TOWN = "Statement"
EMAIL, PASSWORD = "bench@example.org", "a bench of stones and numbers"
SAMPLES = 50
GOAL_CACHED_MS = 2
GOAL_TIMES_UNCACHED = 1.5
"""What counts as costing nothing visible: with Redis down a statement takes less than so many times one made anew."""

ENTRIES_AN_INVOICE = 2
_ENTRIES = """
SELECT version, booked_at, currency, invoice_id, payment_id, debit_minor, credit_minor FROM tallystick.journal_entries
WHERE town_id = %s AND party_id = %s AND (account LIKE 'receivable:%%' OR account LIKE 'credit:%%') ORDER BY version
"""


def statement(bench: Bench) -> Measured:
    """Time a statement of `statement_entries` entries."""
    office, count = bench.office, bench.sizes.statement_entries
    town = office.found(TOWN)
    party = _account(bench, count)
    desk = _Desk(bench, f"/v1/towns/{town}/parties/{party}/statement")
    desk.ask()
    bench.say("statement: asking for what is kept, and for what is not")
    cached_ms = median_ms(desk.ask, SAMPLES)
    with Redis.from_url(bench.stack.redis_url) as redis:
        uncached_ms = median_ms(desk.ask, SAMPLES, before=lambda: _forget(redis))
    trip_ms = median_ms(desk.ping, SAMPLES)
    bench.say("statement: asking while Redis is down")
    bench.stack.kill_redis()
    down_first_ms = median_ms(desk.ask, 1)
    down_ms = median_ms(desk.ask, SAMPLES)
    desk.close()
    bench.stack.restart_fallen()
    bench.say("statement: its entries of PostgreSQL alone")
    with psycopg.connect(bench.stack.database_url, autocommit=True) as connection:
        connection.execute("ANALYZE tallystick.journal_entries")
        select_ms = median_ms(lambda: connection.execute(_ENTRIES, [town, party]).fetchall(), SAMPLES)
    return Measured(
        what=f"a statement of {count:,} entries that is kept, over HTTP, median",
        unit="ms",
        value=cached_ms,
        limit=select_ms,
        limit_what="a SELECT of the account's entries, median",
        goals=[
            Goal(what="kept, ms", value=cached_ms, bound=GOAL_CACHED_MS, is_ceiling=True),
            Goal(
                what="times made anew, while Redis is down",
                value=down_ms / uncached_ms,
                bound=GOAL_TIMES_UNCACHED,
                is_ceiling=True,
            ),
        ],
        where=f"an answer of this server that says nothing takes {trip_ms:.2f} ms; who asks is looked up each time",
        details={
            "entries": count,
            "bytes": desk.bytes,
            "cached_ms": cached_ms,
            "uncached_ms": uncached_ms,
            "redis_down_first_ms": down_first_ms,
            "redis_down_ms": down_ms,
            "select_ms": select_ms,
            "round_trip_ms": trip_ms,
        },
    )


def _account(bench: Bench, entries: int) -> str:
    """A party that was charged and has paid, in turn."""
    office = bench.office
    party = RegisterParty(id=office.new_id(), name="Grace Hopper")
    office.must(TOWN, party)
    bench.say(f"statement: booking {entries:,} entries")
    invoices = [
        IssueInvoice(
            id=office.new_id(),
            party=party.id,
            title=f"Season ticket {number}",
            lines=[InvoiceLine(text="Fees", amount=f"{number}.50")],
            currency="GBP",
        )
        for number in range(1, entries // ENTRIES_AN_INVOICE + 1)
    ]
    office.must(TOWN, *invoices)
    payments = [
        TakePayment(id=office.new_id(), invoice=one.id, amount=one.lines[0].amount, currency="GBP") for one in invoices
    ]
    office.must(TOWN, *payments)
    return party.id


def _forget(redis: Redis) -> None:
    for key in redis.scan_iter("*:statement:*"):
        redis.delete(key)


class _Desk:
    """Somebody of the office who is signed in, over one connection that stays open."""

    def __init__(self, bench: Bench, path: str) -> None:
        bench.office.add_admin(TOWN, EMAIL, PASSWORD)
        origin = {"Origin": bench.stack.url}
        said = {"email": EMAIL, "password": PASSWORD}
        answer = httpx2.post(f"{bench.stack.url}/v1/sessions", json=said, headers=origin).raise_for_status()
        self._headers = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
        address = urlsplit(bench.stack.url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port)
        self._path = path
        self.bytes = 0

    def ask(self) -> None:
        """The statement."""
        self.bytes = self._get(self._path)

    def ping(self) -> None:
        """An answer for which nothing is done."""
        self._get("/healthz")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _get(self, path: str) -> int:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == http.client.OK, body
        return len(body)
