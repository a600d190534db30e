"""Seeding on a real database: what a town of the sample has, and that a second run adds only what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.adapters.postgres.migrate import migrate
from server.application.commands import seed_sample as seeding
from server.application.commands.seed_sample import Seeded, seed_sample
from server.application.queries.town_rows import rows_of
from server.application.retail import COLUMNS
from server.bootstrap import Core, open_parts
from server.embedded import EmbeddedRedis
from server.settings import Settings, load_settings
from sync.kernel.changeset import Fields
from sync.kernel.pins import verify_pin

LINES = [
    "1,A,APPLE CORER,10,2010-12-01,1.25,,Germany",
    "1,B,BREAD BIN,4,2010-12-01,8.00,,Germany",
    "2,A,APPLE CORER,90,2010-12-01,1.25,,Germany",
    "3,A,APPLE CORER,900,2010-12-01,1.25,,Germany",
    "4,C,CAKESTAND,1,2010-12-01,3.00,,France",
]


@pytest.fixture
def settings(fresh_database: str, redis_server: EmbeddedRedis, tmp_path: Path) -> Settings:
    migrate(fresh_database)
    return load_settings(
        {"DATABASE_URL": fresh_database, "REDIS_URL": redis_server.url, "TALLYSTICK_DATA_DIR": str(tmp_path)}
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("\n".join([",".join(COLUMNS), *LINES, ""]))
    return path


async def seed(core: Core, source: Path, *, towns_max: int | None = None, invoices_max: int = 0) -> Seeded:
    return await seed_sample(
        source,
        towns=core.towns,
        appliers=core.appliers,
        signer=core.signer,
        system=core.system,
        towns_max=towns_max,
        invoices_max=invoices_max,
    )


async def rows(core: Core, seeded: Seeded, entity: str) -> list[Fields]:
    return list((await rows_of(core.evidence, seeded.towns[0].town_id, entity)).values())


async def versions(core: Core) -> list[int]:
    found = []
    for town_id, _ in await core.towns.list_towns():
        async with core.towns.reading(town_id) as reader:
            found.append(reader.head.version)
    return found


async def test_a_country_becomes_a_town_with_people_products_prices_and_a_part_of_the_stock(
    settings: Settings, source: Path
) -> None:
    async with open_parts(settings) as core:
        seeded = await seed(core, source, towns_max=1)

        assert [(town.name, town.added) for town in seeded.towns] == [
            ("Germany", {"town": 1, "warehouse": 1, "user": 5, "product": 2, "town_product": 2, "stock_level": 2})
        ]
        products = {row["sku"]: row["name"] for row in await rows(core, seeded, "product")}
        assert products == {"A": "APPLE CORER", "B": "BREAD BIN"}
        assert sorted(row["price_minor"] for row in await rows(core, seeded, "town_product")) == [125, 800]
        assert sorted(row["on_hand"] for row in await rows(core, seeded, "stock_level")) == [2, 700]
        people = await rows(core, seeded, "user")
        assert sorted(role for row in people for role in row["roles"]) == [
            *("admin", "dispatcher", "driver", "driver", "warehouse_staff")
        ]
        assert all(verify_pin(seeding.PIN, row["hash"]) for row in await rows(core, seeded, "pin"))


async def test_orders_are_placed_by_invoice_and_covered_by_the_stock(settings: Settings, source: Path) -> None:
    async with open_parts(settings) as core:
        seeded = await seed(core, source, invoices_max=2)

        orders = {row["number"]: row for row in await rows(core, seeded, "order")}
        assert {number: row["total_minor"] for number, row in orders.items()} == {"1": 1250 + 3200, "2": 11250}
        assert {line["reserved"] == line["quantity"] for row in orders.values() for line in row["lines"]} == {True}


async def test_a_second_run_changes_nothing(settings: Settings, source: Path) -> None:
    async with open_parts(settings) as core:
        first = await seed(core, source, invoices_max=2)
        before = await versions(core)

        second = await seed(core, source, invoices_max=2)

        assert [town.added for town in second.towns] == [{}, {}]
        assert [town.town_id for town in second.towns] == [town.town_id for town in first.towns]
        assert await versions(core) == before


async def test_an_order_that_the_stock_does_not_cover_is_counted_and_not_asked_for(
    settings: Settings, source: Path
) -> None:
    async with open_parts(settings) as core:
        await seed(core, source, towns_max=1)
        before = await versions(core)

        seeded = await seed(core, source, towns_max=1, invoices_max=3)

        assert (seeded.towns[0].added, seeded.skipped) == ({"order": 1}, {seeding.NO_STOCK: 2})
        assert await versions(core) == [before[0] + 1]


async def test_an_invoice_of_more_lines_than_an_order_may_have_is_left_out_and_counted(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "LINES_MAX", 1)
    async with open_parts(settings) as core:
        seeded = await seed(core, source, towns_max=1, invoices_max=2)
        assert (seeded.towns[0].added["order"], seeded.skipped[seeding.TOO_LONG]) == (1, 1)


async def test_a_run_that_was_cut_short_is_finished_by_the_next(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "OPERATIONS_MAX", 3)
    asked: list[str] = []

    def stop_at_the_third(town: str, _done: int, _planned: int) -> None:
        asked.append(town)
        if len(asked) == 3:
            raise KeyboardInterrupt

    async with open_parts(settings) as core:
        with pytest.raises(KeyboardInterrupt):
            await seed_sample(
                source,
                towns=core.towns,
                appliers=core.appliers,
                signer=core.signer,
                system=core.system,
                towns_max=1,
                progress=stop_at_the_third,
            )

        seeded = await seed(core, source, towns_max=1)

        assert seeded.towns[0].added == {"product": 2, "town_product": 2, "stock_level": 2}
        assert sorted(row["on_hand"] for row in await rows(core, seeded, "stock_level")) == [2, 700]
