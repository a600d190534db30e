"""The demo as a person starts it: one real run, its story and its document; and every check of its proof can fail."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from server.cli.app import whole_app
from server.cli.demo import command, proof, script
from server.cli.demo.day import PowerCut
from server.cli.demo.proof import EMPTY, Bucket, Check, Half, JournalEntry, VerifySaid
from server.cli.demo.reconnect import Arrival, Return, Standing
from server.cli.demo.result import Message, OrderNow, Shelf, Till, Told
from server.cli.demo.world import Cash
from sync.engine.chain import encode_bytes
from sync.modules import registry
from tests.support.stack import scratch_directory

DEMO = [sys.executable, "-m", "server.cli", "demo"]
COLUMNS_MAX = 100
CONFLICTS = (
    "oversold",
    "delivered_after_cancel",
    "duplicate_delivery",
    "overpayment",
    "picked_after_cancel",
    "short_pick",
    "delivered_unpaid",
    "late_confirmation",
    "drawer_difference",
)
NOTED = ("orders.delivered_by_previous_driver", "orders.states_skipped", "orders.recall_requested")
CHECKS = (
    *("accidents", "change sets", "decisions", "messages", "replicas", "newcomer", "deltas", "stock", "cash"),
    *("telephones", "drawers", "every penny", "books", "receipts", "journal", "tallystick verify"),
)
OF_MONEY = frozenset({"telephones", "drawers", "every penny", "books", "receipts"})
"""Those that `tests/server/test_demo_money.py` shows to hold and to fail."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished demo."""

    exit_code: int
    document: dict[str, Any]
    story: list[str]
    left: list[Path]


@contextmanager
def demo(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo under way, and the directory in which it makes its own."""
    with scratch_directory() as directory:
        environment = {**os.environ, "TMPDIR": str(directory), "NO_COLOR": "1"}
        with subprocess.Popen(
            [*DEMO, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            yield process, directory


@pytest.fixture(scope="module")
def run() -> Run:
    with demo("--json") as (process, directory):
        document, story = process.communicate()
        return Run(
            exit_code=process.returncode,
            document=json.loads(document or "{}"),
            story=[line.rstrip() for line in story.splitlines()],
            left=list(directory.iterdir()),
        )


def test_the_day_ends_well_and_leaves_nothing_behind(run: Run) -> None:
    assert (run.exit_code, run.document.get("good"), run.left) == (0, True, []), "\n".join(run.story)


@pytest.mark.parametrize("kind", CONFLICTS)
def test_a_conflict_happens_once_with_a_sentence_and_a_task(run: Run, kind: str) -> None:
    [told, *more] = [told for told in run.document["told"] if told["conflict"] == kind]
    assert len(more) == (3 if kind == "overpayment" else 0)  # at a second door, and Mooring 17 at two counters

    story = " ".join(" ".join(run.story).split())
    assert f"! {told['sentence']} task: {told['task']}" in story


@pytest.mark.parametrize("rule", NOTED)
def test_what_needs_nobody_is_noted_all_the_same(run: Run, rule: str) -> None:
    assert {told["conflict"] for told in run.document["told"] if told["rule"] == rule} == {""}


def test_what_two_tablets_booked_apart_adds_up_on_both(run: Run) -> None:
    base, *seen = run.document["offline"]["levels"].values()
    both = set(run.document["levels"].values())

    assert seen == [base + script.PIECES_RECEIVED, base - script.PIECES_BROKEN]
    assert both == {base + script.PIECES_RECEIVED - script.PIECES_BROKEN}


def test_the_driver_who_came_too_late_has_the_orders_no_more(run: Run) -> None:
    late = {script.REASSIGNED, script.DELIVERED_TWICE}

    assert late < set(run.document["offline"]["jos_tour"])
    assert set(run.document["let_go"]) == late


def test_the_driver_sees_what_is_pending_over_what_the_server_said(run: Run) -> None:
    screen = run.document["offline"]["screen"]

    assert {job["status"] for job in screen["jobs"]} == {"DELIVERED"}
    assert {job["server_said"] for job in screen["jobs"]} == {"OUT_FOR_DELIVERY", "PLACED"}
    assert "cannot be reached" in screen["problem"]


def test_a_lost_answer_a_dead_server_and_a_dead_device_lose_and_double_nothing(run: Run) -> None:
    returns = run.document["returns"]
    sent = [one["arrival"]["before"]["unanswered"] for one in returns]

    arrived = [one["arrival"]["then"]["in_journal"] - one["arrival"]["before"]["in_journal"] for one in returns]
    waiting = [one["arrival"]["then"]["unanswered"] for one in returns]
    assert arrived == [sent[0], 0, *sent[2:]]
    assert waiting == [*sent[:3], 0, 0, 0]
    assert [one["after"] for one in returns] == [{"in_journal": one["recorded"], "unanswered": 0} for one in returns]
    assert min(sent) > 0


def test_the_last_lines_are_the_proof(run: Run) -> None:
    checks = run.document["proof"]

    assert tuple(check["name"] for check in checks) == CHECKS
    proven = [f"  ✓  {check['name']:<17}  {check['said']}" for check in checks]
    assert run.story[-len(checks) - 2 : -2] == proven
    assert run.story[-2:] == ["", f"  Both halves fit. {run.document['seconds']:.0f} seconds."]


def test_the_story_fits_a_page_and_has_no_escape_codes_without_a_terminal(run: Run) -> None:
    assert max(map(len, run.story)) <= COLUMNS_MAX
    assert "\x1b" not in "".join(run.story)


def test_it_stops_when_it_is_told_to_and_leaves_nothing_behind() -> None:
    with demo() as (process, directory):
        assert process.stdout is not None
        assert any("products" in line for line in process.stdout)

        process.send_signal(signal.SIGINT)
        _, said = process.communicate()

        assert (process.returncode, said, list(directory.iterdir())) == (
            command.STOPPED,
            "Stopped. Nothing is left running.\n",
            [],
        )


def test_a_directory_that_is_in_use_is_not_played_in(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    result = CliRunner().invoke(whole_app(), ["demo", "--keep", str(tmp_path)], env={"COLUMNS": "200"})

    assert (result.exit_code, "is not an empty directory" in result.stderr) == (2, True)


@pytest.mark.parametrize(("is_good", "exit_code"), [(True, 0), (False, 1)])
def test_it_exits_by_whether_the_proof_holds(monkeypatch: pytest.MonkeyPatch, *, is_good: bool, exit_code: int) -> None:
    monkeypatch.setattr(command, "StopRequest", lambda: SimpleNamespace(is_set=False))  # signals are pytest's here
    monkeypatch.setattr(command, "play", lambda _keep, _teller: {"good": is_good})

    assert CliRunner().invoke(whole_app(), ["demo"]).exit_code == exit_code


ROW = Bucket(rows={("order", "o"): (3, {"number": "N-1"})}, count=1, total=77)
BODY = orjson.dumps({"version": 1, "prev": encode_bytes(bytes(32)), "sets": [["van", 1, "line", "verdict"]]})
DIGEST = hashlib.sha256(b"\x02" + BODY).digest()
ENTRY = JournalEntry(version=1, body=BODY, digest=DIGEST)
HALF = Half(
    name="van",
    buckets={"town": ROW, "device:van": EMPTY},
    chain={1: (b"line", "accepted")},
    pending=0,
    findings=(),
    witness=(1, encode_bytes(DIGEST)),
)
NEW = replace(HALF, name="new", chain={})
BEFORE, AFTER = Standing(in_journal=0, unanswered=1), Standing(in_journal=1, unanswered=0)
LOST_ANSWER = Arrival(
    device="van",
    accident="the answer is lost",
    shall_commit=True,
    shall_answer=False,
    before=BEFORE,
    then=Standing(in_journal=1, unanswered=1),
)
ONE = {"van": 1, "new": 0}
BACK = Return(arrival=LOST_ANSWER, recorded=1, after=AFTER)
POWER_CUT = PowerCut(pid=1, status=-9, said=script.SCANS_BEFORE_POWER_CUT, kept=script.SCANS_BEFORE_POWER_CUT)
SHELF = Shelf(
    sku="T", name="tea", opening=9, booked=2, handed_over=1, on_hand=10, moved=10, reserved=3, reserved_by_orders=3
)
CASH = Cash(driver="van", order="N-1", pence=500)
TILL = Till(device="van", payments=1, taken_pence=500, phone_pence=500, booked_pence=500)
ORDER = OrderNow(number="N-1", axes=script.WAITING, status="PLACED", total_pence=500, paid_pence=500, credit_pence=100)
MESSAGE = Message(order="N-1", asked="It is cancelled.", written="It is cancelled.")
TOWN = {"name": "Douglas", "good": True, "version": 1, "change_sets": 1, "rows": 5, "feed_rows": 4, "findings": []}
SAID = VerifySaid(exit_code=0, town=TOWN)
TOLD = [
    Told(
        rule=rule,
        order=beat.order,
        sentence="It is so.",
        conflict=registry().cases[rule].conflict or "",
        task=registry().cases[rule].task or "",
    )
    for beat in script.BEATS
    for rule in beat.rules
]
LEVELS = {"this morning": 10}
SUM = 10 + script.PIECES_RECEIVED - script.PIECES_BROKEN

FITTING: list[Check] = [
    proof.convergence([HALF, NEW], {"town": ROW}),
    proof.newcomer([HALF, NEW], "new", "van"),
    proof.accidents([LOST_ANSWER], POWER_CUT),
    proof.change_sets([BACK], [HALF, NEW], {"van": HALF.chain}, ONE),
    proof.decisions(TOLD, [ORDER], registry()),
    proof.deltas(LEVELS, {"one": SUM, "other": SUM}),
    proof.stock([SHELF], 1),
    proof.cash([CASH], [CASH], [TILL], [ORDER], 100),
    proof.messages([MESSAGE]),
    proof.journal([ENTRY], (1, DIGEST), 1, [HALF]),
    proof.verify(SAID, 1, 1),
]

TAMPERED: dict[str, Callable[[], Check]] = {
    "a row": lambda: proof.convergence([HALF], {"town": replace(ROW, rows={("order", "o"): (3, {"number": "N-2"})})}),
    "a version": lambda: proof.convergence(
        [HALF], {"town": replace(ROW, rows={("order", "o"): (4, {"number": "N-1"})})}
    ),
    "a checksum": lambda: proof.convergence([HALF], {"town": replace(ROW, total=78)}),
    "a bucket": lambda: proof.convergence([HALF], {}),
    "a finding": lambda: proof.convergence([replace(HALF, findings=("a hash",))], {"town": ROW}),
    "waiting work": lambda: proof.convergence([replace(HALF, pending=1)], {"town": ROW}),
    "an empty replica": lambda: proof.convergence([replace(HALF, buckets={})], {"town": ROW}),
    "a newcomer's row": lambda: proof.newcomer([HALF, replace(NEW, buckets={"town": EMPTY})], "new", "van"),
    "an accident that was none": lambda: proof.accidents([replace(LOST_ANSWER, then=AFTER)], POWER_CUT),
    "a power cut that was none": lambda: proof.accidents([LOST_ANSWER], replace(POWER_CUT, status=0)),
    "a scan that was lost": lambda: proof.accidents([LOST_ANSWER], replace(POWER_CUT, kept=POWER_CUT.kept - 1)),
    "a lost change set": lambda: proof.change_sets([replace(BACK, recorded=2)], [HALF], {"van": HALF.chain}, ONE),
    "a doubled change set": lambda: proof.change_sets([replace(BACK, recorded=0)], [HALF], {"van": HALF.chain}, ONE),
    "one change set more": lambda: proof.change_sets([BACK], [HALF], {"van": HALF.chain}, {"van": 2}),
    "a line": lambda: proof.change_sets([BACK], [HALF], {"van": {1: (b"another", "accepted")}}, ONE),
    "a verdict": lambda: proof.change_sets([BACK], [HALF], {"van": {1: (b"line", "refused")}}, ONE),
    "a missing decision": lambda: proof.decisions(TOLD[1:], [ORDER], registry()),
    "one decision more": lambda: proof.decisions([*TOLD, TOLD[0]], [ORDER], registry()),
    "a conflict": lambda: proof.decisions([replace(TOLD[0], conflict=""), *TOLD[1:]], [ORDER], registry()),
    "a task": lambda: proof.decisions([replace(TOLD[0], task=""), *TOLD[1:]], [ORDER], registry()),
    "an order": lambda: proof.decisions(TOLD, [replace(ORDER, axes=("active", "customer", "paid"))], registry()),
    "a level on a tablet": lambda: proof.deltas(LEVELS, {"one": SUM, "other": SUM - 1}),
    "a stock level": lambda: proof.stock([replace(SHELF, on_hand=11)], 1),
    "a movement": lambda: proof.stock([replace(SHELF, moved=9)], 1),
    "a reservation": lambda: proof.stock([replace(SHELF, reserved=4)], 1),
    "a product": lambda: proof.stock([SHELF], 2),
    "a lost payment": lambda: proof.cash([CASH], [], [TILL], [ORDER], 100),
    "a doubled payment": lambda: proof.cash([CASH], [CASH, CASH], [TILL], [ORDER], 100),
    "a till": lambda: proof.cash([CASH], [CASH], [replace(TILL, phone_pence=400)], [ORDER], 100),
    "money by telephone": lambda: proof.cash([CASH], [CASH], [TILL], [ORDER], 0),
    "an order's money": lambda: proof.cash([CASH], [CASH], [TILL], [replace(ORDER, paid_pence=600)], 100),
    "a message": lambda: proof.messages([replace(MESSAGE, written=None)]),
    "a journal's body": lambda: proof.journal([replace(ENTRY, body=BODY + b" ")], (1, DIGEST), 1, [HALF]),
    "a journal's version": lambda: proof.journal([replace(ENTRY, version=2)], (1, DIGEST), 1, [HALF]),
    "a journal's link": lambda: proof.journal([ENTRY, ENTRY], (2, DIGEST), 2, [HALF]),
    "a journal's head": lambda: proof.journal([ENTRY], (1, bytes(32)), 1, [HALF]),
    "a stray change set": lambda: proof.journal([ENTRY], (1, DIGEST), 2, [HALF]),
    "a device's witness": lambda: proof.journal([ENTRY], (1, DIGEST), 1, [replace(HALF, witness=(1, "another"))]),
    "what verify found": lambda: proof.verify(replace(SAID, exit_code=1), 1, 1),
    "the town it verified": lambda: proof.verify(SAID, 2, 1),
}


@pytest.mark.parametrize("check", FITTING, ids=lambda check: check.name)
def test_a_check_holds_when_everything_fits(check: Check) -> None:
    assert check.is_good, check.said


@pytest.mark.parametrize("what", TAMPERED)
def test_a_check_finds_what_was_tampered_with(what: str) -> None:
    assert not TAMPERED[what]().is_good


def test_every_check_of_the_run_can_hold_and_fail() -> None:
    assert {check.name for check in FITTING} == set(CHECKS) - OF_MONEY == {check().name for check in TAMPERED.values()}
