"""Every decision is taken in a fresh market town, and whatever was decided, books and goods are accounted for after."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync.modules.billing.audit import audit
from sync.modules.commerce.audit import audit_goods
from tests.support.counters import CounterTown, found_counter_town
from tests.support.town_in_memory import MarketTown, found_market_town


@pytest.fixture
def town() -> Iterator[MarketTown]:
    made = found_market_town()
    yield made
    rows = [(key, stored.fields) for key, stored in made.rows.items()]
    assert (audit(rows), audit_goods(rows)) == ([], [])


@pytest.fixture
def counters() -> Iterator[CounterTown]:
    """A town with counters, and somebody to pay there."""
    made = found_counter_town()
    yield made
    assert audit((key, stored.fields) for key, stored in made.rows.items()) == []
