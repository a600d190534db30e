"""Whoever opens the door: an RQ worker that runs in a thread and stops when it is told to.

RQ's worker wants the main thread for its signals, waits for Redis for ever, takes commands over publish and subscribe,
and runs whatever function a job names. Here the process's owner has the signals, absence of Redis ends the worker so
that it can be started anew, and whoever can write to Redis can ring and nothing else.
"""

from __future__ import annotations

import threading
from typing import Any

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from rq.worker import WorkerStatus

ANSWER = "server.worker.answer_bell"
"""The only function that a job may name."""

CONNECT_SECONDS_MAX = 2
RETRY_SECONDS = 2
WORKER_TTL_SECONDS = 17
"""RQ waits for a job 15 seconds less than this, so that `stopping` is looked at every two seconds."""

_log = structlog.stdlib.get_logger(__name__)


class ForeignJob(Exception):
    """The job is not a ring of ours."""


class BellJob(Job):
    """A job of which our one function and its arguments are believed, and nothing else that Redis says should run."""

    @property
    def func(self) -> Any:
        """The function to run; raises `ForeignJob`."""
        if self.func_name != ANSWER:
            _log.warning("foreign_job_refused", remedy="see who else writes to this Redis")
            raise ForeignJob
        return super().func

    def restore(self, raw_data: Any) -> None:
        """Read the job, without callbacks and webhooks: functions and addresses that somebody else has named."""
        super().restore(raw_data)
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.webhooks = []


class BellWorker(SimpleWorker):
    """RQ's worker without fork, signals and remote commands, for one kind of job."""

    job_class = BellJob
    death_penalty_class = TimerDeathPenalty  # the other one takes SIGALRM, which only the main thread can

    def __init__(self, queue: str, *, connection: Redis, stopping: threading.Event) -> None:
        super().__init__([queue], connection=connection, serializer=JSONSerializer, worker_ttl=WORKER_TTL_SECONDS)
        self._stopping = stopping

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ beats at each turn of its waiting loop, which nothing else can end."""
        is_waiting = self.get_state() != WorkerStatus.BUSY
        if is_waiting and self._stopping.is_set():
            raise StopRequested
        try:
            super().heartbeat(timeout, pipeline)
        except RedisAway:
            if is_waiting:
                raise StopRequested from None
            raise

    def _install_signal_handlers(self) -> None:
        """The process has its own."""

    def subscribe(self) -> None:
        """No commands."""

    def unsubscribe(self) -> None:
        """As `subscribe`."""


def listen(redis_url: str, queue: str, stopping: threading.Event) -> None:
    """Run jobs of the queue, one at a time, until `stopping` is set; Redis may come and go."""
    was_away = False
    while not stopping.is_set():
        try:
            with _connect(redis_url) as connection:
                worker = BellWorker(queue, connection=connection, stopping=stopping)
                _log.info("bell_heard_again" if was_away else "bell_heard")
                was_away = False
                worker.work(logging_level="CRITICAL")  # RQ tells at length what the jobs tell in a line
        except RedisError as fault:
            if not was_away and not stopping.is_set():
                _log.warning("bell_unheard", fault=type(fault).__name__, remedy="the scheduler does the work")
            was_away = True
        stopping.wait(RETRY_SECONDS)


def _connect(redis_url: str) -> Redis:
    return Redis.from_url(redis_url, socket_connect_timeout=CONNECT_SECONDS_MAX, retry=Retry(NoBackoff(), 0))
