"""Real trade through the whole stack: ten devices that are offline in spells, one server, and sums that a script knows.

The first 20,000 lines of the online-retail file where it is, the sample of the project elsewhere. Afterwards every
replica equals its buckets, the books verify, and pieces and amounts per town are those of the file.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path

import psycopg
import pytest

from client_sdk import Replica
from server.stack import Stack
from tests.support.office import TestOffice, office_of
from tests.support.online_retail import (
    Invoice,
    Line,
    Planner,
    Tablet,
    Van,
    best_file,
    demand,
    invoices,
    open_text,
    read_lines,
)
from tests.support.replicas import check_replica
from tests.support.stack import scratch_directory

LINES_MAX = 20_000
HOME = "United Kingdom"
SPELL_SHARE = 0.08
STOCKED_SHARE = 0.9
"""How much of what will be sold is in stock; the rest shows in oversold orders and shelves below zero."""

FLEET = {HOME: (4, 2), "Abroad": (2, 2)}
"""Tablets and vans by town."""


@pytest.fixture
def stack() -> Iterator[Stack]:
    with scratch_directory() as directory, Stack.start(directory / "data") as running:
        yield running


def expected_sums(path: Path) -> dict[str, tuple[int, Decimal, int]]:
    """By town: pieces sold, what they cost, pieces that came back. Reads the file with nothing of the product."""
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    with open_text(path) as file:
        for row in islice(csv.DictReader(file), LINES_MAX):
            price, quantity = Decimal(row["UnitPrice"]), int(row["Quantity"])
            if row["InvoiceNo"][0] == "A" or price < 0 or price != round(price, 2):
                continue
            town = HOME if row["Country"] == HOME else "Abroad"
            if quantity > 0:
                sums[town][0] += quantity
                sums[town][1] += quantity * price
            elif row["InvoiceNo"][0] == "C":
                sums[town][2] -= quantity
    return {town: (int(sold), amount, int(back)) for town, (sold, amount, back) in sums.items()}


def booked_sums(database_url: str, town_id: str) -> tuple[int, Decimal, int]:
    """The same three from the tables of a town, read as the owner of the database."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT set_config('app.town_ids', %s, false)", ["{" + town_id + "}"])
        sold, amount = connection.execute(
            "SELECT coalesce(sum((line ->> 'quantity')::int), 0), "
            "coalesce(sum((line ->> 'quantity')::int * (line ->> 'price_minor')::bigint), 0) "
            "FROM tallystick.orders, jsonb_array_elements(lines) AS line WHERE town_id = %s",
            [town_id],
        ).fetchone() or (0, 0)
        back = connection.execute(
            "SELECT coalesce(sum(on_hand_delta), 0) FROM tallystick.stock_movements "
            "WHERE town_id = %s AND reason LIKE 'returned %%'",
            [town_id],
        ).fetchone() or (0,)
    return int(sold), Decimal(int(amount)) / 100, int(back[0])


def replicas_of(tablets: Sequence[Tablet], vans: Sequence[Van]) -> list[Replica]:
    """Everybody's replica."""
    return [tablet.replica for tablet in tablets] + [van.replica for van in vans]


def work_a_season(
    planner: Planner, tablets: Sequence[Tablet], vans: Sequence[Van], trade: Sequence[Invoice], chance: random.Random
) -> None:
    """Each tablet takes its share of the invoices; everybody meets the network now and then, at the end all do."""
    for place, invoice in enumerate(trade):
        tablets[place % len(tablets)].handle(invoice)
        for tablet in tablets:
            if chance.random() < SPELL_SHARE:
                planner.hear(tablet)
        for van in vans:
            if chance.random() < SPELL_SHARE:
                van.replica.sync()
        if chance.random() < SPELL_SHARE:
            chance.choice(vans).deliver_all()
    for tablet in tablets:
        planner.hear(tablet)
    for van in vans:
        van.replica.sync()
        van.deliver_all()
        van.replica.sync()


def make_fleet(
    office: TestOffice, town: str, directory: Path, lines: Sequence[Line]
) -> tuple[Planner, list[Tablet], list[Van]]:
    """A town with people, products and stock, and its devices, enrolled and synced once."""
    tablets_count, vans_count = FLEET[town]
    warehouse = office.books.add_warehouse(town, "Main")
    clerk = office.books.add_user(town, "Cleo", "warehouse_staff")
    drivers = [office.books.add_user(town, f"Driver {number}", "driver") for number in range(vans_count)]
    wanted = demand(lines)
    stock = {sku: int(count * STOCKED_SHARE) for sku, count in wanted.items()}
    office.books.stock_products(town, warehouse, {line.sku: line.name for line in lines}, stock)
    tablets = []
    for number in range(tablets_count):
        replica = office.enrol(town, directory / f"{town} tablet {number}.db", "warehouse_staff", warehouse=warehouse)
        tablets.append(Tablet(replica, clerk=clerk, warehouse=warehouse))
    vans = [
        Van(office.enrol(town, directory / f"{town} van {number}.db", "driver", user=driver), driver=driver)
        for number, driver in enumerate(drivers)
    ]
    for replica in replicas_of(tablets, vans):
        replica.sync()
    return Planner(office.books, town, drivers), tablets, vans


def test_a_season_of_real_trade_over_ten_devices_ends_in_books_that_agree(stack: Stack, tmp_path: Path) -> None:
    source = best_file()
    lines = list(read_lines(source, LINES_MAX))
    chance = random.Random(20101201)
    with office_of(stack) as office:
        devices: dict[str, list[Replica]] = {}
        for town in FLEET:
            part = [line for line in lines if (line.country == HOME) == (town == HOME)]
            office.books.found(town)
            planner, tablets, vans = make_fleet(office, town, tmp_path, part)
            work_a_season(planner, tablets, vans, invoices(part), chance)
            devices[town] = replicas_of(tablets, vans)
            for replica in devices[town]:
                replica.sync()
                assert not replica.pending()
        assert sum(map(len, devices.values())) == 10
        sums = expected_sums(source)
        for town in FLEET:
            assert booked_sums(stack.database_url, office.books.towns[town]) == sums[town]
            assert office.books.verify(town).findings == ()
            bodies = office.books.feed_bodies(town)
            for replica in devices[town]:
                check_replica(replica, bodies)
                replica.close()
