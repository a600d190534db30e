"""What the server has signed or said is not forgotten with a spool, and a new epoch leaves no verdict behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from client_sdk.errors import BadAnswer, HistoryAltered, Offline, ServerProblem
from sync.engine.chain import encode_bytes
from sync.kernel.ids import derived_id
from sync.protocol import limits
from tests.support.exchange_world import World, exchange_world
from tests.support.fake_server import Answer, problem

OTHER_EPOCH = derived_id("epoch", 2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        yield made


def verdicts(world: World, seqs: range, version: int, status: str = "accepted") -> list[bytes]:
    return [world.town.verdict(seq, world.digest(seq), version, status) for seq in seqs]


def receipt(world: World, acked: int, seqs: range, version: int, status: str = "accepted") -> Answer:
    """The answer to a request that is not the last one."""
    signed = world.town.checkpoint(version, {}, more=True)
    return Answer(lines=[world.town.welcome(acked), *verdicts(world, seqs, version, status), signed])


def rest(world: World, acked: int, seqs: range, version: int, status: str = "accepted") -> Answer:
    """The answer to the last request: all rows anew."""
    down = [world.town.bucket("town", "added"), world.rows(version), world.final(version, version)]
    return Answer(lines=[world.town.welcome(acked), *verdicts(world, seqs, version, status), *down])


def sync_torn(world: World) -> None:
    with pytest.raises(Offline):
        world.sync()


def shown(world: World) -> list[tuple[str, list[str]]]:
    """The status of each verdict and of those before it."""
    return [
        (entry.verdict.status.value if entry.verdict else "", [verdict.status.value for verdict in entry.earlier])
        for entry in world.store.entries()
    ]


def sent_from(world: World) -> list[int]:
    return [asked.hello["from_seq"] for asked in world.server.exchanges]


def test_the_witness_is_the_last_head_that_was_signed_spooled_or_taken(world: World) -> None:
    first = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), world.more(1)]
    world.server.will_answer(Answer(lines=first, is_cut=True))
    sync_torn(world)
    world.server.will_answer(Answer(lines=[world.town.welcome(), world.rows(2), world.final(2)]))

    world.sync()

    hello = world.server.exchanges[-1].hello
    signature = orjson.loads(world.more(1))["journal"]["sig"]
    assert hello["witness"] == {"version": 1, "journal": encode_bytes(world.town.journal(1)), "sig": signature}
    assert (hello["epoch"], world.store.standing().version) == (world.town.epoch, 2)


def test_a_download_across_epochs_that_was_torn_goes_on_without_an_alarm(world: World) -> None:
    world.server.will_answer(Answer(lines=[*world.good(3).lines[:3], world.final(3, 3)]))
    world.sync()
    world.town.epoch = OTHER_EPOCH
    torn = [world.town.welcome(), world.town.bucket("town", "reset"), world.rows(1), world.more(1)]
    world.server.will_answer(
        Answer(lines=torn, is_cut=True),
        Answer(lines=[world.town.welcome(), world.town.bucket("town"), world.rows(2), world.final(2)]),
    )
    sync_torn(world)

    world.sync()

    hello = world.server.exchanges[-1].hello
    assert (hello["epoch"], hello["cursors"], hello["witness"]["version"]) == (world.town.epoch, {"town": 1}, 1)
    assert world.names() == ["product of 1", "product of 2"]


@pytest.mark.parametrize(("version", "history"), [(2, ""), (3, "another")])
def test_a_history_that_contradicts_a_spooled_page_is_an_alarm(world: World, version: int, history: str) -> None:
    first = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(3), world.more(3)]
    world.server.will_answer(Answer(lines=first, is_cut=True))
    sync_torn(world)
    mark = {"version": version, "rows": 1, "sum": "0" * 16}
    other = world.town.checkpoint(version, {"town": mark}, history=history)
    world.server.will_answer(Answer(lines=[world.town.welcome(), other]))

    with pytest.raises(HistoryAltered):
        world.sync()

    assert (world.names(), world.store.standing().version) == ([], 0)


def test_a_history_that_contradicts_a_receipt_is_an_alarm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGE_SETS_MAX", 2)
    world.record(3)
    other = world.town.checkpoint(5, {"town": {"version": 5, "rows": 0, "sum": "0" * 16}}, history="another")
    lines = [world.town.welcome(2), *verdicts(world, range(3, 4), 5), world.town.bucket("town", "added"), other]
    world.server.will_answer(receipt(world, 0, range(1, 3), 5), Answer(lines=lines))

    with pytest.raises(HistoryAltered):
        world.sync()

    assert world.pending() == [1, 2, 3]


def test_a_checkpoint_that_says_nothing_of_a_bucket_held_is_not_taken(world: World) -> None:
    world.server.will_answer(world.good(1))
    world.sync()
    world.server.will_answer(Answer(lines=[world.town.welcome(), world.town.checkpoint(9, {})]))

    with pytest.raises(BadAnswer, match="town"):
        world.sync()

    assert (world.names(), world.store.standing().version) == (["product of 1"], 1)


def test_a_bucket_that_is_dropped_is_named_no_more(world: World) -> None:
    world.server.will_answer(world.good(1))
    world.sync()
    lines = [world.town.welcome(), world.town.bucket("town", "dropped"), world.town.checkpoint(2, {})]
    world.server.will_answer(Answer(lines=lines))

    world.sync()

    assert (world.names(), world.store.exchange_state().cursors) == ([], {})


def test_a_bucket_that_does_not_add_up_is_left_out_and_its_rows_stay(world: World) -> None:
    wrong = world.town.checkpoint(1, {"town": {"version": 1, "rows": 7, "sum": "0" * 16}})
    down = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), wrong]
    world.server.will_answer(Answer(lines=down), Answer(lines=[], is_cut=True))

    sync_torn(world)

    assert world.server.exchanges[-1].hello["cursors"] == {}
    assert (world.names(), world.store.standing().version) == (["product of 1"], 1)


def test_a_bucket_that_is_miscounted_is_emptied_of_all_that_it_has(world: World) -> None:
    world.server.will_answer(world.good(1))
    world.sync()
    world.store._writer.execute("UPDATE bucket SET rows = 0, total = '0'")
    again = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(2), world.final(2, 2)]
    world.server.will_answer(Answer(lines=[world.town.welcome(), world.final(2, 1)]), Answer(lines=again))

    assert world.sync().mismatched == ("town",)

    assert world.names() == ["product of 2"]


def test_a_spooled_page_that_cannot_be_read_any_more_is_fetched_again(world: World) -> None:
    first = [world.town.welcome(), world.town.bucket("town", "added"), world.rows(1), world.more(1)]
    world.server.will_answer(Answer(lines=first, is_cut=True))
    sync_torn(world)
    world.store._writer.execute("UPDATE spool SET line = CAST('damaged' AS BLOB)")
    last = [world.rows(2), world.final(2)]
    world.server.will_answer(Answer(lines=[world.town.welcome(), *last]), Answer(lines=[*first, *last]))

    world.sync()

    assert [asked.hello["cursors"] for asked in world.server.exchanges] == [{}, {"town": 1}, {}]
    assert world.names() == ["product of 1", "product of 2"]


def test_a_new_epoch_gets_everything_again_in_as_many_requests_as_it_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))
    world.sync()
    monkeypatch.setattr(limits, "CHANGE_SETS_MAX", 2)
    world.town.epoch = OTHER_EPOCH
    world.server.will_answer(
        Answer(lines=[world.town.welcome(0)]),
        receipt(world, 2, range(1, 3), 1, "refused"),
        rest(world, 3, range(3, 4), 2, "refused"),
    )

    world.sync()

    assert sent_from(world)[1:] == [4, 1, 3]
    assert shown(world) == [("refused", ["accepted"])] * 3
    last = world.server.exchanges[-1].hello
    assert (last["epoch"], last["cursors"]) == (OTHER_EPOCH, {})


def test_an_answer_of_a_new_epoch_that_was_torn_between_pages_leaves_no_verdict_behind(world: World) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))
    world.sync()
    world.record()
    world.town.epoch = OTHER_EPOCH
    fourth = world.town.verdict(4, world.digest(4), 1)
    again = [world.town.welcome(4), *verdicts(world, range(1, 4), 1, "refused"), fourth]
    page = [world.town.bucket("town", "reset"), world.rows(1), world.more(1)]
    world.server.will_answer(problem("chain_gap", 409, expected_seq=1), Answer(lines=[*again, *page], is_cut=True))
    sync_torn(world)
    world.server.will_answer(Answer(lines=[*again, world.rows(2), world.final(2)]))

    world.sync()

    assert sent_from(world)[1:] == [4, 1, 1]
    assert shown(world) == [("refused", ["accepted"])] * 3 + [("accepted", [])]


@pytest.mark.parametrize("is_told_by_welcome", [False, True])
def test_a_resend_of_which_nothing_was_heard_is_done_again(world: World, *, is_told_by_welcome: bool) -> None:
    world.record(3)
    world.server.will_answer(world.good(1, range(1, 4)))
    world.sync()
    world.town.epoch, world.town.kept_versions = OTHER_EPOCH, 1
    gap = problem("chain_gap", 409, expected_seq=2)
    behind = Answer(lines=[world.town.welcome(1)]) if is_told_by_welcome else gap
    world.server.will_answer(behind, Answer(lines=[], is_cut=True))
    sync_torn(world)
    world.store.close()
    world.store = world.open()
    world.server.will_answer(rest(world, 3, range(2, 4), 2, "refused"))

    world.sync()

    assert sent_from(world)[1:] == [4, 2, 2]
    assert shown(world) == [("accepted", []), ("refused", ["accepted"]), ("refused", ["accepted"])]


def test_an_upload_that_a_new_epoch_overtook_is_finished_in_the_same_sync(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.server.will_answer(world.good(1))
    world.sync()
    monkeypatch.setattr(limits, "CHANGE_SETS_MAX", 2)
    world.record(3)
    world.server.will_answer(receipt(world, 0, range(1, 3), 1))

    def overtaken() -> None:
        world.town.epoch = OTHER_EPOCH
        last = rest(world, 3, range(3, 4), 2)
        world.server.will_answer(last, receipt(world, 3, range(1, 3), 2), last)

    world.at("exchange.after_page", overtaken)

    world.sync()

    assert (sent_from(world)[1:], world.pending()) == ([1, 3, 1, 3], [])


def test_a_gap_before_the_first_line_kept_is_no_trap(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)), problem("chain_gap", 409, expected_seq=1))
    world.sync()
    world.store._writer.execute("DELETE FROM outbox WHERE seq = 1")
    world.server.will_answer(world.good(2, acked=0))
    with pytest.raises(ServerProblem, match="no longer keeps"):
        world.sync()
    world.server.will_answer(world.good(2, acked=2))

    assert world.sync().version == 2


def test_lines_that_were_answered_in_a_lost_part_are_sent_again_also_when_the_server_has_them(world: World) -> None:
    """A proxy had repeated the request after the failover: nothing is missing there, and the verdicts are others."""
    world.record()
    world.server.will_answer(world.good(1, range(1, 2)))
    world.sync()
    world.record(2)
    world.server.will_answer(world.good(2, range(2, 4)))
    world.sync()
    world.town.epoch, world.town.kept_versions = OTHER_EPOCH, 1
    world.server.will_answer(Answer(lines=[world.town.welcome(3)]), rest(world, 3, range(2, 4), 2, "refused"))

    world.sync()

    last = world.server.exchanges[-1].hello
    assert sent_from(world)[2:] == [4, 2]
    assert [(told["seq"], told["status"]) for told in last["told"]] == [(2, "accepted"), (3, "accepted")]
    assert shown(world) == [("accepted", []), ("refused", ["accepted"]), ("refused", ["accepted"])]


def test_when_an_epoch_is_lost_as_a_whole_everything_that_was_answered_is_sent_again(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)))
    world.sync()
    world.town.epoch = OTHER_EPOCH
    begun = world.town.begun(before=derived_id("epoch", 0), version=9, at="2026-11-21T08:21:00.000Z")
    welcome = orjson.dumps({**orjson.loads(world.town.welcome(2)), "epochs": [begun]})
    again = Answer(lines=[welcome, *rest(world, 2, range(1, 3), 1, "refused").lines[1:]])
    world.server.will_answer(Answer(lines=[welcome]), again)

    world.sync()

    assert sent_from(world)[1:] == [3, 1]
    assert shown(world) == [("refused", ["accepted"])] * 2
