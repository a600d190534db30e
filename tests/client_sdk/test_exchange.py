"""The exchange against a real HTTP server that says what a test has scripted, over a real replica file.

Whatever the server says or fails to say, what was recorded stays recorded, and the next good answer repairs everything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_sdk.application import exchange, request
from client_sdk.application.exchange import FRUITLESS_ROUNDS_MAX, exchange_once
from client_sdk.errors import BadAnswer, HistoryAltered, Offline, OldCopy, ServerProblem, StaleExchange
from sync.engine.chain import encode_bytes, genesis_hash, head_message, is_signed, journal_message, sign
from sync.kernel.ids import derived_id
from sync.protocol.version import SCHEMA
from tests.support.exchange_world import DEVICE, World, exchange_world
from tests.support.fake_server import Answer, problem

GONE = "the process is gone"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        yield made


def test_recorded_lines_go_up_as_they_are_and_come_back_answered(world: World) -> None:
    world.record(2)
    sent = [line.line for line in world.store.outbox_from(1, lines_max=9, bytes_max=9999)]
    world.server.will_answer(world.good(1, range(1, 3)))

    report = world.sync()

    assert world.server.exchanges[0].lines == sent
    assert (report.pushed, report.rows, report.version, report.rounds) == (2, 1, 1, 1)
    assert [(seq, verdict.status) for seq, verdict in report.verdicts] == [(1, "accepted"), (2, "accepted")]
    assert (world.pending(), world.names()) == ([], ["product of 1"])


def test_the_hello_says_where_the_replica_stands(world: World) -> None:
    world.server.will_answer(world.good(1))
    world.sync()
    world.record(2)
    world.server.will_answer(world.good(2, range(1, 3)))
    world.sync()

    hello = world.server.exchanges[1].hello

    assert {name: hello[name] for name in ("protocol", "schema", "app", "clock", "epoch", "cursors", "from_seq")} == {
        "protocol": 1,
        "schema": SCHEMA,
        "app": "test",
        "clock": "2026-11-21T12:00:00.000Z",
        "epoch": world.town.epoch,
        "cursors": {"town": 1},
        "from_seq": 1,
    }
    assert hello["pending"] == 2
    digest = world.town.journal(1)
    signature = sign(world.town.key, journal_message(world.town.id, world.town.epoch, 1, digest))
    assert hello["witness"] == {"version": 1, "journal": encode_bytes(digest), "sig": signature}


def check_head(world: World, seq: int, digest: bytes) -> None:
    head = world.server.exchanges[-1].hello["head"]
    key = world.key.public_key()
    assert (head["seq"], head["hash"]) == (seq, encode_bytes(digest))
    assert is_signed(key, head["sig"], head_message(DEVICE, seq, digest))


def test_the_head_is_the_certificate_before_the_first_line(world: World) -> None:
    world.server.will_answer(world.good(1))

    world.sync()

    check_head(world, 0, genesis_hash("header.claims.signature"))


def test_the_head_is_the_last_line_sent(world: World) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))

    world.sync()

    check_head(world, 3, world.digest(3))


def test_the_head_is_the_last_line_recorded_when_none_is_sent(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)), world.good(2, acked=2))
    world.sync()

    world.sync()

    assert world.server.exchanges[1].lines == []
    check_head(world, 2, world.digest(2))


def test_more_than_one_request_holds_goes_up_in_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.record(5)
    monkeypatch.setattr(request, "LINES_BYTES_MAX", 300)
    size = len(world.store.outbox_from(1, lines_max=1, bytes_max=1)[0].line) + 1
    each = 300 // size
    parts = [range(first, min(first + each, 6)) for first in range(1, 6, each)]
    world.server.will_answer(*(world.good(number + 1, part) for number, part in enumerate(parts)))

    report = world.sync()

    assert [len(asked.lines) for asked in world.server.exchanges] == [len(part) for part in parts]
    assert (len(parts) > 1, report.pushed, world.pending()) == (True, 5, [])


def test_work_recorded_during_a_sync_is_sent_before_it_ends(world: World) -> None:
    world.record(1)
    world.at("exchange.before_settle", world.record)
    world.server.will_answer(world.good(1, range(1, 2)))

    with pytest.raises(ServerProblem):
        world.sync()

    assert [asked.hello["from_seq"] for asked in world.server.exchanges] == [1, 2]
    assert world.pending() == [2]


def test_pages_of_one_answer_are_taken_together(world: World) -> None:
    lines = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), world.more(1), world.rows(2)]
    world.server.will_answer(Answer(lines=[*lines, world.final(2)]))

    report = world.sync()

    assert (report.rows, report.rounds, world.names()) == (2, 1, ["product of 1", "product of 2"])


def test_an_answer_that_ends_at_an_intermediate_page_is_asked_on(world: World) -> None:
    world.server.will_answer(
        Answer(lines=[world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), world.more(1)]),
        Answer(lines=[world.town.welcome(), world.town.bucket("town"), world.rows(2), world.final(2)]),
    )

    report = world.sync()

    assert [asked.hello["cursors"] for asked in world.server.exchanges] == [{}, {"town": 1}]
    assert (report.rounds, world.names()) == (2, ["product of 1", "product of 2"])


@pytest.mark.parametrize("heard", range(8))
def test_a_cut_after_any_line_leaves_the_old_state_and_is_repaired(world: World, heard: int) -> None:
    world.record(2)
    whole = world.whole()
    world.server.will_answer(Answer(lines=whole[:heard], is_cut=True))

    with pytest.raises(Offline):
        world.sync()

    assert (world.pending(), world.names()) == ([1, 2], [])
    resumed = heard > whole.index(world.more(1))
    rest = [*whole[:3], world.town.bucket("town"), *whole[6:]] if resumed else whole
    world.server.will_answer(Answer(lines=rest))
    report = world.sync()
    assert world.server.exchanges[-1].hello["cursors"] == ({"town": 1} if resumed else {})
    assert (report.pushed, world.pending(), world.names()) == (2, [], ["product of 1", "product of 2"])


def test_a_cut_after_the_final_checkpoint_costs_nothing(world: World) -> None:
    world.record(2)
    world.server.will_answer(Answer(lines=world.whole(), is_cut=True))

    assert world.sync().pushed == 2


@pytest.mark.parametrize(
    "step",
    [
        "exchange.before_send",
        "exchange.after_welcome",
        "exchange.after_verdicts",
        "exchange.after_page",
        "exchange.before_settle",
        "exchange.after_settle",
    ],
)
def test_a_process_killed_at_any_step_goes_on_where_it_was(world: World, step: str) -> None:
    world.record(2)
    whole = world.whole()

    def kill() -> None:
        raise Killed(GONE)

    world.system.armed[step] = kill
    world.server.will_answer(Answer(lines=whole))
    with pytest.raises(Killed):
        world.sync()
    world.system.armed.clear()
    world.store.close()
    world.store = world.open()

    is_settled = step == "exchange.after_settle"
    has_page = step in {"exchange.after_page", "exchange.before_settle"}
    assert world.pending() == ([] if is_settled else [1, 2])
    page = [world.town.bucket("town"), *whole[6:]] if has_page else whole[3:]
    again = [world.town.welcome(2), world.town.bucket("town"), world.final(2)]
    world.server.will_answer(Answer(lines=again if is_settled else [*whole[:3], *page]))
    world.sync()
    assert (world.pending(), world.names()) == ([], ["product of 1", "product of 2"])


@pytest.mark.parametrize(("code", "status"), [("busy", 503), ("rate_limited", 429)])
def test_a_busy_server_says_when_to_come_back_and_pending_work_stays(world: World, code: str, status: int) -> None:
    world.record(1)
    world.server.will_answer(problem(code, status, {"Retry-After": "7"}))

    with pytest.raises(ServerProblem) as told:
        world.sync()

    assert (told.value.code, told.value.retry_after_seconds) == (code, 7)
    assert world.pending() == [1]


def test_a_hole_that_the_server_sees_is_filled_from_the_position_it_expects(world: World) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))
    world.sync()
    world.record(1)
    lines = [world.town.verdict(seq, world.digest(seq), 1) for seq in (2, 3)]
    lines += [world.town.verdict(4, world.digest(4), 2), world.town.bucket("town"), world.rows(2), world.final(2)]
    world.server.will_answer(problem("chain_gap", 409, expected_seq=2), Answer(lines=[world.town.welcome(1), *lines]))

    report = world.sync()

    assert [asked.hello["from_seq"] for asked in world.server.exchanges] == [1, 4, 2]
    assert [len(asked.lines) for asked in world.server.exchanges] == [3, 1, 3]
    assert (report.pushed, world.pending()) == (1, [])


@pytest.mark.parametrize("held", [1, 3])
def test_a_new_epoch_gets_what_it_lost_again_and_all_rows_anew(world: World, held: int) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))
    world.sync()
    world.town.epoch, world.town.kept_versions = derived_id("epoch", 2), 1
    lines = [world.town.verdict(seq, world.digest(seq), 1, "refused") for seq in (2, 3)]
    reset = [world.town.bucket("town", "reset"), world.rows(1), world.final(1)]
    world.server.will_answer(
        Answer(lines=[world.town.welcome(1), *reset]), Answer(lines=[world.town.welcome(held), *lines, *reset])
    )

    report = world.sync()

    assert [asked.hello["from_seq"] for asked in world.server.exchanges] == [1, 4, 2]
    assert [(seq, verdict.status) for seq, verdict in report.verdicts] == [(2, "refused"), (3, "refused")]
    assert (world.names(), world.store.standing().epoch) == (["product of 1"], world.town.epoch)


def test_a_page_of_an_epoch_that_was_lost_is_never_taken(world: World) -> None:
    lines = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(3), world.more(3)]
    world.server.will_answer(Answer(lines=lines, is_cut=True))
    with pytest.raises(Offline):
        world.sync()
    world.town.epoch = derived_id("epoch", 2)
    anew = [world.town.welcome(), world.town.bucket("town", "reset"), world.rows(1), world.final(1)]
    world.server.will_answer(Answer(lines=anew), Answer(lines=anew))

    world.sync()

    assert [asked.hello["cursors"] for asked in world.server.exchanges] == [{}, {"town": 3}, {}]
    assert world.names() == ["product of 1"]


@pytest.mark.parametrize(("version", "history"), [(1, ""), (2, "another")])
def test_a_history_that_goes_back_or_changes_is_an_alarm(world: World, version: int, history: str) -> None:
    world.server.will_answer(Answer(lines=[*world.good(2).lines[:3], world.final(2, 2)]))
    world.sync()
    mark = {"version": version, "rows": 0, "sum": "0" * 16}
    changed = world.town.checkpoint(version, {"town": mark}, history=history)
    world.server.will_answer(Answer(lines=[world.town.welcome(), world.town.bucket("town", "reset"), changed]))

    with pytest.raises(HistoryAltered):
        world.sync()

    assert (world.store.standing().version, world.names()) == (2, ["product of 2"])


def test_a_server_that_holds_more_than_was_recorded_here_means_an_old_copy(world: World) -> None:
    world.record(1)
    world.server.will_answer(Answer(lines=[world.town.welcome(5)]))

    with pytest.raises(OldCopy, match="change set 5"):
        world.sync()

    assert world.pending() == [1]


def test_what_another_process_recorded_and_sent_meanwhile_is_no_old_copy(world: World) -> None:
    def other_process() -> None:
        world.record()
        world.server.will_answer(Answer(lines=[world.town.welcome(1)]), world.good(1, range(1, 2)))

    world.at("exchange.before_send", other_process)

    assert world.sync().pushed == 1


def test_two_processes_on_one_replica_do_not_disturb_each_other(world: World) -> None:
    world.record(1)
    good = world.good(1, range(1, 2))
    nothing_new = Answer(lines=[world.town.welcome(1), world.town.bucket("town"), world.final(1)])
    world.at("exchange.before_settle", world.sync)
    world.server.will_answer(good, good, nothing_new)

    report = world.sync()

    assert (report.rounds, report.pushed, world.pending(), world.names()) == (2, 0, [], ["product of 1"])


def test_a_replica_that_is_stale_every_time_gives_up_and_says_so(world: World) -> None:
    world.system.armed["exchange.before_settle"] = lambda: world.store.rewind(0)
    world.server.will_answer(*[world.good(1)] * FRUITLESS_ROUNDS_MAX)

    with pytest.raises(StaleExchange):
        world.sync()


def test_a_bucket_whose_checksum_does_not_fit_is_fetched_anew(world: World) -> None:
    wrong = world.town.checkpoint(1, {"town": {"version": 1, "rows": 7, "sum": "0" * 16}})
    whole = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1)]
    world.server.will_answer(Answer(lines=[*whole, wrong]), Answer(lines=[*whole, world.final(1)]))

    report = world.sync()

    assert [asked.hello["cursors"] for asked in world.server.exchanges] == [{}, {}]
    assert (report.mismatched, world.names()) == (("town",), ["product of 1"])


def test_a_server_that_never_gets_anywhere_is_not_asked_for_ever(world: World) -> None:
    nowhere = Answer(lines=[world.town.welcome(), world.more(0)])
    world.server.will_answer(*[nowhere] * (FRUITLESS_ROUNDS_MAX + 1))

    with pytest.raises(BadAnswer, match="nowhere"):
        world.sync()

    assert len(world.server.exchanges) == FRUITLESS_ROUNDS_MAX + 1


def test_a_page_beyond_memory_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAGE_BYTES_MAX", 100)
    world.server.will_answer(world.good(1))

    with pytest.raises(Offline, match="100 bytes"):
        world.sync()

    assert world.names() == []


def test_one_exchange_says_where_to_go_on(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)))

    done = exchange_once(world.store, world.transport, world.system)

    assert (done.sent, done.next_seq, done.version, done.goes_on, done.setback) == (2, 3, 1, False, None)


def test_bytes_on_the_wire_are_counted_compressed(world: World) -> None:
    world.record(30)
    world.server.will_answer(world.good(1, range(1, 31)))

    report = world.sync()

    asked = world.server.exchanges[0]
    tokens = sum(token.wire_bytes for token in world.server.tokens)
    assert report.bytes_up == asked.wire_bytes + tokens
    assert asked.wire_bytes < len(asked.body)


def test_the_hello_names_the_version_of_this_release() -> None:
    told = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert told["project"]["version"] == request.SDK_VERSION
