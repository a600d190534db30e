"""What a device may do without the server: decided by its lease alone, before anything is recorded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sync.engine.leases import Lease, cash_left, check_lease
from sync.kernel.clock import parse_time
from sync.kernel.draft import Refused

LEASE = Lease(
    issued="2026-11-21T08:00:00.000Z",
    until="2026-11-28T08:00:00.000Z",
    cash_units=100,
    operations=("payment.take",),
)
END_MS = parse_time(LEASE.until)


def told(
    *names: str, now_ms: int = END_MS, taking: Mapping[str, int] | None = None, unheard: Mapping[str, int] | None = None
) -> tuple[str, str]:
    """The case and its sentence, both empty when the lease allows it."""
    try:
        check_lease(LEASE, names, now_ms=now_ms, taking=taking or {}, unheard=unheard or {})
    except Refused as refused:
        return refused.case.id, refused.case.explain(refused.data)
    return "", ""


def test_engine_lease_over_once_its_last_moment_has_passed() -> None:
    assert told("payment.take", now_ms=END_MS) == ("", "")
    assert told("payment.take", now_ms=END_MS + 1) == (
        "engine.lease_over",
        f"This device could take money without the server until {LEASE.until}; let it sync, and then record this.",
    )


def test_engine_lease_over_is_only_about_money() -> None:
    assert told("delivery.complete", "pick.line", now_ms=END_MS + 1) == ("", "")
    assert told("delivery.complete", "payment.take", now_ms=END_MS + 1)[0] == "engine.lease_over"


def test_engine_lease_lacks_what_the_server_has_not_named() -> None:
    assert told("refund.pay") == ("engine.lease_lacks", "The server does not let this device do refund.pay by itself.")


@pytest.mark.parametrize(("unheard", "taking"), [(0, 10_000), (9_999, 1), (10_000, 0)])
def test_engine_cash_ceiling_is_reached_and_not_passed(unheard: int, taking: int) -> None:
    assert told("payment.take", taking={"GBP": taking}, unheard={"GBP": unheard}) == ("", "")


def test_engine_cash_ceiling_says_what_is_left() -> None:
    case, sentence = told("payment.take", taking={"GBP": 2_001}, unheard={"GBP": 8_000})

    assert case == "engine.cash_ceiling"
    assert sentence.startswith("This device may take 20.00 GBP more before it has synced, and this is 20.01;")


def test_engine_cash_ceiling_is_for_each_currency_in_its_own_units() -> None:
    unheard = {"GBP": 10_000, "JPY": 40}

    assert [cash_left(LEASE, currency, unheard) for currency in ("GBP", "JPY", "KES")] == [0, 60, 10_000]
    assert told("payment.take", taking={"JPY": 60}, unheard=unheard) == ("", "")
    assert told("payment.take", taking={"JPY": 61}, unheard=unheard)[0] == "engine.cash_ceiling"
