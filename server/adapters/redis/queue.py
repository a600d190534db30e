"""The doorbell: one RQ job for each town with work, on one queue, with nothing in it but the town's id.

Ringing takes no time of whoever rings: a thread does it, with short timeouts and behind a breaker. A ring may be lost
at every step; the scheduler's sweep finds the work in PostgreSQL anyway.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from server.adapters.redis.breaker import Breaker
from server.adapters.redis.listener import ANSWER, listen
from server.application.ports import Unavailable

QUEUE = "tallystick"
"""The only queue: a worker on several would pop with BLPOP, and a crash would lose the job."""

SOCKET_TIMEOUT_SECONDS = 0.2
WAITING_MAX = 1_000
"""Towns waiting in this process to be rung for; beyond it a ring is dropped."""

JOB_SECONDS_MAX = 30
KEPT_SECONDS = 600
"""How long Redis keeps a job that has ended. Not 0: ending a job would delete the ring that came while it ran."""

_log = structlog.stdlib.get_logger(__name__)


class RedisBell:
    """The `Bell` port over RQ; connects when it is first rung."""

    def __init__(
        self,
        redis_url: str,
        *,
        socket_timeout_seconds: float = SOCKET_TIMEOUT_SECONDS,
        breaker: Breaker | None = None,
    ) -> None:
        self._redis_url = redis_url
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=socket_timeout_seconds,
            socket_connect_timeout=socket_timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._queue = Queue(QUEUE, connection=self._redis, serializer=JSONSerializer)
        self._breaker = breaker or Breaker()
        self._waiting: set[str] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bell")

    async def ring(self, town_id: str) -> None:
        """Have a job put into the queue for this town unless one is waiting there; returns at once, never raises."""
        if town_id in self._waiting or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting.add(town_id)
        self._thread.submit(self._ring, town_id)

    async def check(self) -> None:
        """Raise `Unavailable` when Redis does not answer."""
        try:
            await asyncio.to_thread(self._redis.ping)
        except RedisError as fault:
            raise Unavailable(f"Redis does not answer ({type(fault).__name__})") from fault

    def listen(self, stopping: threading.Event) -> None:
        """Answer rings in this thread until `stopping` is set, through every absence of Redis."""
        listen(self._redis_url, QUEUE, stopping)

    def close(self) -> None:
        """Let the rings that are under way end, and hang up."""
        self._thread.shutdown()
        self._redis.close()

    def _ring(self, town_id: str) -> None:
        self._waiting.discard(town_id)  # first: a ring from now on is not covered by the job that is put in below
        if not self._breaker.may_ask():
            return
        try:
            self._enqueue(town_id)
        except Exception as fault:  # noqa: BLE001  a bell that cannot be rung is no reason for anything to fail
            if self._breaker.failed():
                _log.warning("bell_silent", fault=type(fault).__name__, remedy="the scheduler does the work")
        else:
            if self._breaker.succeeded():
                _log.info("bell_rings_again")

    def _enqueue(self, town_id: str) -> None:
        job_id = f"bell-{town_id}"
        # A job that waits will see what was just committed, one that runs may not: so not `unique`, which refuses both.
        if self._redis.lpos(self._queue.key, job_id) is not None:
            return
        self._queue.enqueue_call(
            ANSWER,
            args=(town_id,),
            job_id=job_id,
            timeout=JOB_SECONDS_MAX,
            result_ttl=KEPT_SECONDS,
            failure_ttl=KEPT_SECONDS,
        )
