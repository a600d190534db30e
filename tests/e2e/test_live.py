"""Live over the whole stack: what one device records is seen on another, with Redis, without it, and after it is back.

No time passes by itself: the waits of the watching device are the test's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest
from redis import Redis

from client_sdk import Offline, Replica
from client_sdk.application.keep_syncing import BACKOFF_SECONDS, HINT_THREAD, POLL_SECONDS, SYNC_THREAD
from server.adapters.redis.hints import CHANNEL
from server.stack import Stack
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site, site_on
from tests.support.timed_system import PATIENCE_SECONDS, TimedRealSystem, Wait

ON_SHELF = "SELECT coalesce(sum(on_hand), 0) AS pieces FROM stock_levels WHERE warehouse_id = ?"


@dataclass(kw_only=True)
class Pair:
    """Two tablets at one shelf: one that records and syncs by hand, and one that only watches."""

    site: Site
    hand: Replica
    eye: Replica
    system: TimedRealSystem
    seen: Queue[int]

    def receive(self) -> None:
        """Another piece comes in, and the server knows."""
        self.site.receive(self.hand)
        self.hand.sync()

    def check_seen(self, pieces: int) -> None:
        assert self.seen.get(timeout=PATIENCE_SECONDS) == pieces

    def await_pause(self, *, is_live: bool) -> Wait:
        """The pause between two exchanges that is long because hints are heard, or short because they are not."""
        while True:
            wait = self.system.next_wait(SYNC_THREAD)
            if (wait.seconds > POLL_SECONDS) == is_live:
                return wait


@pytest.fixture
def pair(shared_stack: Stack, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as held:
        site = held.enter_context(site_on(shared_stack))
        hand = held.enter_context(Replica.open(site.tablet(), passphrase=PASSPHRASE))
        path, system = tmp_path / "eye.db", TimedRealSystem()
        site.office.enrol(TOWN, path, "warehouse_staff", warehouse=site.warehouse).close()
        eye = held.enter_context(Replica.open(path, passphrase=PASSPHRASE, system=system))
        seen: Queue[int] = Queue()

        def watch() -> None:
            for rows in eye.watch(ON_SHELF, [site.warehouse]):
                seen.put(rows[0]["pieces"])

        threading.Thread(target=watch, daemon=True).start()
        eye.start()
        yield Pair(site=site, hand=hand, eye=eye, system=system, seen=seen)


def test_what_is_recorded_is_seen_elsewhere_with_redis_without_it_and_with_it_again(pair: Pair) -> None:
    pair.check_seen(0)
    pair.await_pause(is_live=True)
    pair.receive()
    pair.check_seen(1)
    pair.await_pause(is_live=True)

    redis = pair.site.stack._redis
    assert redis is not None
    pair.site.stack.kill_redis()
    for _ in range(2):
        pair.system.next_wait(HINT_THREAD).let_pass()
    pause = pair.await_pause(is_live=False)
    pair.receive()
    assert pair.seen.empty()
    pause.let_pass()
    pair.check_seen(2)
    assert (pair.eye.status.online, pair.eye.status.last_problem) == (True, None)

    assert pair.site.stack.restart_fallen() == ["Redis"]
    with Redis.from_url(redis.url) as client:
        while client.pubsub_numsub(CHANNEL) != [(CHANNEL.encode(), 1)]:
            pass
    pair.system.next_wait(HINT_THREAD).let_pass()
    pair.await_pause(is_live=True)
    pair.receive()
    pair.check_seen(3)


def test_a_server_that_was_away_is_found_again_and_nothing_is_lost(pair: Pair) -> None:
    pair.check_seen(0)
    pair.await_pause(is_live=True)
    pair.receive()
    pair.check_seen(1)
    pair.await_pause(is_live=True)
    pair.site.stack.kill_api()
    pair.system.next_wait(HINT_THREAD)
    pair.site.receive(pair.eye)
    pair.check_seen(2)
    while (wait := pair.system.next_wait(SYNC_THREAD)).seconds > BACKOFF_SECONDS:
        pass  # pauses from before the failure
    assert (pair.eye.status.online, type(pair.eye.status.last_problem)) == (False, Offline)

    pair.site.stack.restart_api()
    wait.let_pass()
    assert pair.system.next_wait(SYNC_THREAD).seconds > BACKOFF_SECONDS
    assert (pair.eye.status.online, pair.eye.status.pending) == (True, 0)
    pair.hand.sync()
    assert pair.hand.query(ON_SHELF, [pair.site.warehouse]) == [{"pieces": 2}]
