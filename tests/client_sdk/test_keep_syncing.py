"""Keeping in sync in the background: when an exchange is made, how long the pauses are, and that nothing ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue

import pytest

from client_sdk.application.keep_syncing import (
    BACKOFF_SECONDS,
    BACKOFF_SECONDS_MAX,
    BARRED,
    BARRED_SECONDS,
    HINT_THREAD,
    LIVE_POLL_SECONDS,
    POLL_SECONDS,
    SYNC_THREAD,
    KeepSyncing,
)
from client_sdk.errors import Offline, ReplicaClosed, ServerProblem
from tests.support.timed_system import PATIENCE_SECONDS, TimedSystem


class Line:
    """A stream of hints that a test speaks into: a version, a fault, or None for the end."""

    def __init__(self) -> None:
        self.said: Queue[int | Exception | None] = Queue()
        self.cut: list[int] = []

    def hints(self) -> Iterator[int]:
        while (word := self.said.get(timeout=PATIENCE_SECONDS)) is not None:
            if isinstance(word, Exception):
                raise word
            yield word

    def interrupt(self, thread_id: int) -> None:
        self.cut.append(thread_id)
        self.said.put(None)


class Office:
    """What exchanges come to: the version of each, or its fault; `rounds` has one entry for each that was made."""

    def __init__(self) -> None:
        self.version = 1
        self.fault: Exception | None = None
        self.rounds: Queue[int] = Queue()
        self.meanwhile: Callable[[], None] = lambda: None

    def sync(self) -> int:
        self.rounds.put(self.version)
        self.meanwhile()
        if self.fault:
            raise self.fault
        return self.version

    def check_one_round(self) -> None:
        """There is exactly one more exchange now."""
        self.rounds.get(timeout=PATIENCE_SECONDS)
        assert self.rounds.empty()


class Stage:
    """A keeper at rest: `wait` is the pause that it is in."""

    def __init__(self, *, line: Line | None) -> None:
        self.office, self.line, self.system = Office(), line, TimedSystem()
        self.keeper = KeepSyncing(sync=self.office.sync, source=line, system=self.system)
        self.keeper.start()
        self.check_round()

    def check_round(self) -> float:
        """There was exactly one more exchange; how long the pause after it is."""
        self.office.check_one_round()
        self.wait = self.system.next_wait(SYNC_THREAD)
        assert not self.wait.event.is_set()
        return self.wait.seconds

    def check_none(self) -> None:
        """It was woken, and waits on without an exchange."""
        self.wait = self.system.next_wait(SYNC_THREAD)
        assert self.office.rounds.empty()

    def next(self, fault: Exception | None = None) -> float:
        """Let the pause pass, and have the exchange after it come to this; how long the pause after it is."""
        self.office.fault = fault
        self.wait.let_pass()
        return self.check_round()

    def say(self, word: int | Exception | None) -> None:
        """Speak into the stream of hints."""
        assert self.line is not None
        self.line.said.put(word)


@pytest.fixture
def polling() -> Iterator[Stage]:
    """A keeper that has no hints, after its first exchange."""
    stage = Stage(line=None)
    yield stage
    stage.keeper.stop()


@pytest.fixture
def live() -> Iterator[Stage]:
    """A keeper that hears hints, after the exchanges at the start and at the opening of the stream."""
    stage = Stage(line=Line())
    stage.say(0)
    stage.check_round()
    yield stage
    stage.keeper.stop()


def test_without_hints_it_polls(polling: Stage) -> None:
    pauses = [polling.next() for _ in range(20)]

    assert POLL_SECONDS / 2 <= min(pauses) < max(pauses) <= POLL_SECONDS


def test_what_is_recorded_goes_up_at_once(polling: Stage) -> None:
    polling.keeper.recorded()

    assert polling.check_round() >= POLL_SECONDS / 2


def test_what_is_recorded_during_an_exchange_goes_with_the_next_at_once(polling: Stage) -> None:
    def record_once() -> None:
        polling.office.meanwhile = lambda: None
        polling.keeper.recorded()

    polling.office.meanwhile = record_once
    polling.wait.let_pass()

    assert [polling.office.rounds.get(timeout=PATIENCE_SECONDS) for _ in range(2)] == [1, 1]


def test_pauses_after_failures_are_drawn_below_a_limit_that_doubles(polling: Stage) -> None:
    pauses = [polling.next(Offline()) for _ in range(60)]
    limits = [min(BACKOFF_SECONDS * 2.0**place, BACKOFF_SECONDS_MAX) for place in range(60)]

    assert all(pause <= limit for pause, limit in zip(pauses, limits, strict=True))
    assert min(pauses[10:]) < BACKOFF_SECONDS_MAX / 4
    assert max(pauses[10:]) > BACKOFF_SECONDS_MAX * 3 / 4


def test_after_a_success_the_limit_begins_anew(polling: Stage) -> None:
    for _ in range(12):
        polling.next(Offline())
    polling.next()

    assert polling.next(Offline()) <= BACKOFF_SECONDS


def test_recording_does_not_shorten_the_pause_after_a_failure(polling: Stage) -> None:
    polling.office.meanwhile = polling.keeper.recorded
    polling.next(Offline())
    polling.keeper.recorded()

    assert not polling.wait.event.is_set()
    assert polling.office.rounds.empty()


def test_a_server_that_says_when_is_asked_no_sooner(polling: Stage) -> None:
    pause = polling.next(ServerProblem("busy", status=503, retry_after_seconds=45))

    assert 45 <= pause <= 45 + BACKOFF_SECONDS


@pytest.mark.parametrize("code", sorted(BARRED))
def test_what_only_a_person_can_help_is_asked_about_rarely(polling: Stage, code: str) -> None:
    assert BARRED_SECONDS / 2 <= polling.next(ServerProblem(code, status=403)) <= BARRED_SECONDS


def test_a_fault_of_our_own_ends_nothing(polling: Stage, caplog: pytest.LogCaptureFixture) -> None:
    polling.next(ZeroDivisionError())

    assert polling.next() >= POLL_SECONDS / 2
    assert "an exchange in the background failed" in caplog.text


def test_a_hint_of_something_new_makes_an_exchange(live: Stage) -> None:
    live.say(2)

    live.check_round()


def test_a_hint_of_what_is_held_makes_none(live: Stage) -> None:
    live.office.version = 7
    live.say(7)
    live.check_round()
    for version in (6, 7):
        live.say(version)
        live.check_none()

    assert live.wait.seconds > POLL_SECONDS


def test_while_hints_are_heard_it_polls_seldom(live: Stage) -> None:
    assert POLL_SECONDS < LIVE_POLL_SECONDS / 2 <= live.next() <= LIVE_POLL_SECONDS


@pytest.mark.parametrize("end", [None, Offline()], ids=["end", "cut"])
def test_a_stream_that_ended_is_opened_again_and_then_an_exchange_is_made(live: Stage, end: Exception | None) -> None:
    live.say(end)
    wait = live.system.next_wait(HINT_THREAD)
    assert wait.seconds <= BACKOFF_SECONDS
    wait.let_pass()
    assert live.office.rounds.empty()
    live.say(0)

    live.check_round()


def test_without_its_stream_it_polls_until_it_has_one_again(live: Stage) -> None:
    live.say(Offline())
    live.system.next_wait(HINT_THREAD).let_pass()
    live.say(ServerProblem("unavailable", status=503, retry_after_seconds=5))
    assert live.check_round() <= POLL_SECONDS
    assert live.next() <= POLL_SECONDS
    live.system.next_wait(HINT_THREAD).let_pass()
    live.say(0)

    assert live.check_round() > POLL_SECONDS


def test_a_server_that_has_no_hints_now_is_asked_for_them_no_sooner_than_it_says(live: Stage) -> None:
    live.say(ServerProblem("unavailable", status=503, retry_after_seconds=5))

    assert live.system.next_wait(HINT_THREAD).seconds >= 5


def test_a_word_from_the_server_ends_the_pause_after_a_failure(live: Stage) -> None:
    live.next(Offline())
    live.office.fault = None
    live.say(0)

    assert live.check_round() > POLL_SECONDS


def test_a_stop_ends_both_threads_and_cuts_what_they_read(live: Stage) -> None:
    live.keeper.stop()

    assert live.line is not None
    assert len(live.line.cut) == 1
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({SYNC_THREAD, HINT_THREAD})


def test_a_stop_cuts_an_exchange_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client_sdk.application.keep_syncing.GRACE_SECONDS", 0.01)
    stage, hanging = Stage(line=Line()), threading.Event()
    assert stage.line is not None
    stage.office.meanwhile = lambda: check_set(hanging)

    def cut(_thread_id: int) -> None:
        hanging.set()
        stage.say(None)

    monkeypatch.setattr(stage.line, "interrupt", cut)
    stage.wait.let_pass()
    stage.office.check_one_round()
    stage.keeper.stop()

    assert {thread.name for thread in threading.enumerate()}.isdisjoint({SYNC_THREAD, HINT_THREAD})


def test_a_replica_that_was_closed_is_kept_in_sync_no_more() -> None:
    stage = Stage(line=None)
    stage.office.fault = ReplicaClosed()
    stage.wait.let_pass()
    stage.keeper._syncing.join(PATIENCE_SECONDS)

    assert not stage.keeper._syncing.is_alive()


def check_set(event: threading.Event) -> None:
    assert event.wait(PATIENCE_SECONDS)
