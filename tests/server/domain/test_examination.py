"""Each check of the doctor: what is well, what is only tolerable, what is not; and that it says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from server.domain import examination as x
from server.domain.examination import DatabaseFacts, Finding, Level, TownFacts

GIB = 1024**3
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_connections": "100"}
WELL = DatabaseFacts(
    version_number=180006,
    login_role="tallystick_api",
    is_login_superuser=False,
    may_become_api=True,
    revision="0007",
    settings=DURABLE,
    connections=5,
    clock_ahead_seconds=0.01,
)
TOWN = TownFacts(
    town_id="t",
    name="Douglas",
    version=3,
    is_head_journalled=True,
    written_seconds_ahead=-60.0,
    is_signed_by_key=True,
)
OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL


def judged_clock(off: float, written: float = -60.0) -> Finding:
    return x.judge_clock(replace(WELL, clock_ahead_seconds=off), [replace(TOWN, written_seconds_ahead=written)])


def judged_provider(
    scheme: str = "https",
    host: str = "api.cards.example",
    our_host: str = "sync.example",
    *,
    missing: Sequence[str] = (),
    is_reached: bool = True,
) -> Finding:
    """What is said of a provider of cards."""
    return x.judge_provider("cards", scheme, host, our_host, missing=missing, is_reached=is_reached)


CASES: list[tuple[Callable[[], Finding], Level, str]] = [
    (lambda: x.judge_server(WELL), OK, "PostgreSQL 18"),
    (lambda: x.judge_server(replace(WELL, version_number=170002)), FAIL, "version 17"),
    (lambda: x.judge_server(replace(WELL, connections=81)), WARN, "81 of 100"),
    (lambda: x.judge_role(WELL), OK, "no superuser"),
    (lambda: x.judge_role(replace(WELL, is_login_superuser=True)), WARN, "superuser"),
    (lambda: x.judge_role(replace(WELL, may_become_api=False)), FAIL, "may not become"),
    (lambda: x.judge_schema(WELL, "0007"), OK, "0007"),
    (lambda: x.judge_schema(WELL, "0008"), FAIL, "needs 0008"),
    (lambda: x.judge_schema(replace(WELL, revision=None), "0007"), FAIL, "not there"),
    (lambda: x.judge_durability(WELL), OK, "on the disk"),
    (lambda: x.judge_durability(replace(WELL, settings=DURABLE | {"fsync": "off"})), FAIL, "fsync = off"),
    (lambda: x.judge_durability(replace(WELL, settings=DURABLE | {"synchronous_commit": "local"})), FAIL, "local"),
    (
        lambda: x.judge_durability(replace(WELL, settings=DURABLE | {"synchronous_commit": "remote_apply"})),
        OK,
        "on the disk",
    ),
    (lambda: x.judge_fences([]), OK, "fences every"),
    (lambda: x.judge_fences([("policies", f"t{number}") for number in range(7)]), FAIL, "t4 (policies) and 2 more"),
    (lambda: judged_clock(0.2), OK, "differ by 0.2 s"),
    (lambda: judged_clock(-3.0), WARN, "differ by 3.0 s"),
    (lambda: judged_clock(-31.0), FAIL, "differ by 31.0 s"),
    (lambda: judged_clock(0.0, written=6.0), FAIL, "journal of Douglas is 6 s ahead"),
    (lambda: x.judge_printer(None, "install it"), OK, "can be made"),
    (lambda: x.judge_printer("no libpango", "install it"), WARN, "cannot be made here (no libpango)"),
    (lambda: x.judge_disk("/data", 20 * GIB, 100 * GIB), OK, "20.0 of 100 GiB"),
    (lambda: x.judge_disk("/data", 4 * GIB, 100 * GIB), WARN, "4.0 of"),
    (lambda: x.judge_disk("/data", GIB // 4, 100 * GIB), FAIL, "0.2 of"),
    (lambda: x.judge_towns([TOWN], 0), OK, "1 towns are sound"),
    (lambda: x.judge_towns([TOWN], 2), WARN, "2 devices are suspended"),
    (lambda: x.judge_towns([replace(TOWN, is_head_journalled=False)], 0), FAIL, "disagree in Douglas"),
    (lambda: x.judge_towns([replace(TOWN, is_halted=True)], 2), FAIL, "halted, because"),
    (lambda: x.judge_signer("A" * 43, [TOWN]), OK, "signed the journals"),
    (lambda: x.judge_signer("A" * 43, [replace(TOWN, is_signed_by_key=False)]), FAIL, "another key"),
    (lambda: x.judge_outbox(3, 0, 5.0), OK, "3 items wait"),
    (lambda: x.judge_outbox(3, 0, 61.0), WARN, "for 61 s"),
    (lambda: x.judge_outbox(3, 1, 0.0), WARN, "1 items were given up"),
    (lambda: x.judge_outbox(3, 0, 3601.0), FAIL, "for 3601 s"),
    (judged_provider, OK, "api.cards.example is reached"),
    (lambda: judged_provider("http", "127.0.0.1", "127.0.0.1"), OK, "127.0.0.1 is reached"),
    (lambda: judged_provider(our_host="127.0.0.1"), WARN, "cannot call back"),
    (lambda: judged_provider(is_reached=False), WARN, "nothing answers at api.cards.example"),
    (lambda: judged_provider("http"), FAIL, "in clear"),
    (lambda: judged_provider(missing=["TALLYSTICK_CARD_API_KEY"]), FAIL, "and not TALLYSTICK_CARD_API_KEY"),
    (lambda: x.judge_gateway(None, has_secrets=False, is_reached=False), OK, "TALLYSTICK_REMINDERS_URL"),
    (lambda: x.judge_gateway("sms.example", has_secrets=True, is_reached=True), OK, "sms.example is reached"),
    (
        lambda: x.judge_gateway("sms.example", has_secrets=True, is_reached=False),
        WARN,
        "nothing answers at sms.example",
    ),
    (lambda: x.judge_gateway("sms.example", has_secrets=False, is_reached=False), FAIL, "TALLYSTICK_REMINDERS_SECRETS"),
    (lambda: x.judge_beats("worker", {"worker@a": 4.0, "worker@b": 900.0}, 60.0), OK, "4 s ago"),
    (lambda: x.judge_beats("worker", {"scheduler@a": 4.0}, 60.0), WARN, "no worker has run"),
    (lambda: x.judge_beats("worker", {"worker@a": 61.0}, 60.0), FAIL, "for 61 s"),
]


@pytest.mark.parametrize(("judge", "level", "said"), CASES)
def test_a_check_comes_out_as_it_should_and_says_what_to_do(
    judge: Callable[[], Finding], level: Level, said: str
) -> None:
    finding = judge()

    assert (finding.level, said in finding.said, bool(finding.do)) == (level, True, level is not OK), finding
