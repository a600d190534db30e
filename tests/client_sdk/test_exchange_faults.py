"""Answers that are wrong, and answers that are not ours: nothing of them is taken, and nothing recorded is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.errors import BadAnswer, HistoryAltered, Offline, ReplicaCorrupt, ServerProblem
from sync.kernel.ids import derived_id
from tests.support.exchange_world import DEVICE, World, exchange_world
from tests.support.fake_server import Answer, Town, problem


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with exchange_world(tmp_path) as made:
        yield made


def wrong_answers(world: World) -> dict[str, tuple[type[Exception], list[bytes]]]:
    """Answers to two lines sent, each wrong in one way."""
    good = [*world.whole()[:5], world.final(1)]
    other = Town(key=Ed25519PrivateKey.from_private_bytes(bytes(32)))
    marks = {"town": {"version": 1, "rows": 1, "sum": "0" * 16}}
    return {
        "no answer at all": (Offline, []),
        "a line that is no JSON": (Offline, [*good[:4], b"<html>", *good[4:]]),
        "a line that is no message": (Offline, [*good[:4], b'{"t":"surprise"}', *good[4:]]),
        "a message without its members": (Offline, [b'{"t":"welcome"}', *good[1:]]),
        "an empty line": (Offline, [good[0], b"", *good[1:]]),
        "half a rows line": (Offline, [*good[:4], good[4][:-9], good[5]]),
        "rows that cannot be read": (BadAnswer, [*good[:4], b'{"t":"rows","b":}', good[5]]),
        "no welcome": (BadAnswer, good[1:]),
        "two welcomes": (BadAnswer, [good[0], *good]),
        "a verdict twice": (BadAnswer, [*good[:2], good[1], *good[2:]]),
        "verdicts out of order": (BadAnswer, [good[0], good[2], good[1], *good[3:]]),
        "a verdict too many": (BadAnswer, [*good[:3], world.town.verdict(3, bytes(32), 1), *good[3:]]),
        "a verdict for other bytes": (BadAnswer, [good[0], world.town.verdict(1, bytes(32), 1), *good[2:]]),
        "a verdict missing before buckets": (BadAnswer, [*good[:2], *good[3:]]),
        "a verdict missing before the checkpoint": (BadAnswer, [good[0], good[1], good[5]]),
        "a bucket after rows": (BadAnswer, [*good[:5], good[3], good[5]]),
        "a signature by another key": (BadAnswer, [*good[:5], other.checkpoint(1, marks)]),
        "a checkpoint of another town": (BadAnswer, [*good[:5], Town(id=derived_id("t", 2)).checkpoint(1, marks)]),
        "a checkpoint of another epoch": (BadAnswer, [*good[:5], Town(epoch=DEVICE).checkpoint(1, marks)]),
        "a checkpoint before its verdicts": (BadAnswer, [*good[:5], world.town.checkpoint(0, {})]),
        "a bucket beyond its checkpoint": (
            BadAnswer,
            [*good[:5], world.town.checkpoint(1, {"town": {**marks["town"], "version": 2}})],
        ),
        "a complete bucket without checksum": (
            BadAnswer,
            [*good[:5], world.town.checkpoint(1, {"town": {"version": 1}})],
        ),
        "a final checkpoint without a bucket that is held": (BadAnswer, [*good[:5], world.town.checkpoint(1, {})]),
        "a final checkpoint with a bucket that is not held": (BadAnswer, [*good[:3], *good[4:]]),
        "a bucket behind its final checkpoint": (
            BadAnswer,
            [*good[:5], world.town.checkpoint(2, {"town": {**marks["town"], "version": 1}})],
        ),
        "a checkpoint without more and then the end": (Offline, good[:5]),
        "a final page before an intermediate one": (
            HistoryAltered,
            [*good[:5], world.more(3), world.rows(2), world.final(2)],
        ),
    }


WRONG = [
    "no answer at all",
    "a line that is no JSON",
    "a line that is no message",
    "a message without its members",
    "an empty line",
    "half a rows line",
    "rows that cannot be read",
    "no welcome",
    "two welcomes",
    "a verdict twice",
    "verdicts out of order",
    "a verdict too many",
    "a verdict for other bytes",
    "a verdict missing before buckets",
    "a verdict missing before the checkpoint",
    "a bucket after rows",
    "a signature by another key",
    "a checkpoint of another town",
    "a checkpoint of another epoch",
    "a checkpoint before its verdicts",
    "a bucket beyond its checkpoint",
    "a complete bucket without checksum",
    "a final checkpoint without a bucket that is held",
    "a final checkpoint with a bucket that is not held",
    "a bucket behind its final checkpoint",
    "a checkpoint without more and then the end",
    "a final page before an intermediate one",
]


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_breaks_the_protocol_takes_nothing_and_loses_nothing(world: World, wrong: str) -> None:
    world.record(2)
    fault, lines = wrong_answers(world)[wrong]
    world.server.will_answer(Answer(lines=lines))

    with pytest.raises(fault):
        world.sync()

    assert (world.pending(), world.names(), world.store.standing().epoch) == ([1, 2], [], None)


def test_every_wrong_answer_is_tried(world: World) -> None:
    world.record(2)

    assert set(WRONG) == set(wrong_answers(world))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(content_type="text/html", lines=[b"<html>Welcome to Free Wifi</html>"]),
        Answer(content_type="application/json", lines=[b"{}"]),
        Answer(status=302, content_type="text/html", headers={"Location": "http://127.0.0.1:1/login"}),
        Answer(status=502, content_type="text/html", lines=[b"<html>Bad gateway</html>"]),
        Answer(status=511, content_type="text/html", lines=[b"<html>Log in</html>"]),
        Answer(status=400, content_type="application/problem+json", lines=[b'{"title":"no code"}']),
        Answer(status=400, content_type="application/problem+json", lines=[b"not JSON"]),
    ],
)
def test_whatever_is_not_our_server_is_offline(world: World, answer: Answer) -> None:
    world.record(1)
    world.server.will_answer(answer)

    with pytest.raises(Offline):
        world.sync()

    assert world.pending() == [1]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("device_suspended", 403),
        ("device_revoked", 403),
        ("upgrade_required", 426),
        ("chain_broken", 409),
        ("chain_forked", 409),
        ("history_altered", 409),
        ("not_found", 404),
        ("malformed", 400),
        ("limit_exceeded", 413),
        ("unsupported_media_type", 415),
        ("a_code_of_tomorrow", 418),
    ],
)
def test_a_problem_is_told_as_it_is_and_pending_work_stays(world: World, code: str, status: int) -> None:
    world.record(1)
    world.server.will_answer(problem(code, status))

    with pytest.raises(ServerProblem) as told:
        world.sync()

    assert (told.value.code, told.value.status, world.pending()) == (code, status, [1])


@pytest.mark.parametrize("expected", [None, 0, 2, 9, "1"])
def test_a_gap_that_is_nowhere_is_a_bad_answer(world: World, expected: object) -> None:
    world.record(1)
    world.server.will_answer(problem("chain_gap", 409, expected_seq=expected))

    with pytest.raises(BadAnswer):
        world.sync()

    assert (len(world.server.exchanges), world.pending()) == (1, [1])


def test_a_server_that_sees_the_same_gap_for_ever_is_told_so(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)))
    world.sync()
    welcome = [world.town.welcome(0)]
    world.server.will_answer(Answer(lines=welcome), *[problem("chain_gap", 409, expected_seq=1)] * 9)

    with pytest.raises(BadAnswer):
        world.sync()

    assert len(world.server.exchanges) == 3


def test_a_line_that_the_device_no_longer_keeps_cannot_be_sent_again(world: World) -> None:
    world.record(2)
    world.server.will_answer(world.good(1, range(1, 3)), problem("chain_gap", 409, expected_seq=1))
    world.sync()
    world.store._writer.execute("DELETE FROM outbox WHERE seq = 1")
    world.server.will_answer(world.good(2, acked=0))

    with pytest.raises(ServerProblem, match="no longer keeps") as told:
        world.sync()

    assert (told.value.code, told.value.expected_seq) == ("chain_gap", 1)


def test_a_replica_without_its_last_line_says_so_before_it_asks(world: World) -> None:
    world.record(1)
    world.server.will_answer(world.good(1, range(1, 2)))
    world.sync()
    world.store._writer.execute("DELETE FROM outbox")

    with pytest.raises(ReplicaCorrupt, match="change set 1"):
        world.sync()

    assert len(world.server.exchanges) == 1
