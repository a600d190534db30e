"""Every decision is taken in a fresh market town."""

from __future__ import annotations

import pytest

from tests.support.town_in_memory import MarketTown, found_market_town


@pytest.fixture
def town() -> MarketTown:
    return found_market_town()
