"""The whole system on one machine: database, Redis, API, worker and scheduler as children of whoever starts it.

Shared by `tallystick up`, the demo, the benchmarks and the end-to-end tests. Assumes Linux or macOS. What holds:
- One stack per data directory: a `flock` that our processes inherit; it is free when the last of them has gone.
- Nothing outlives its starter, however that ends: every child has a guard, as the embedded servers have theirs
  (`server.supervised`).
- The port stays the stack's own while the API is down: the stack holds it bound, without listening, so a client is
  refused, as by a crashed server, and nobody else can take the port before the API is back.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson

from server.bootstrap import migrate
from server.children import Child, has_ended
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from server.listening import HOST, POLL_SECONDS, is_ready, reserved
from server.metrics import SHARED_DIRECTORY, forget_processes_but
from server.settings import Settings, load_settings
from server.standing import BEATS_NAME, beat_ages
from sync.kernel.errors import TallystickError

ANY_HOST = frozenset({"0.0.0.0", ""})  # noqa: S104 - recognised, not bound
READY_SECONDS_MAX = 60.0
"""How long the API may take until `/readyz` says yes."""

STOP_SECONDS_MAX = 6.0
"""How long our processes may take to stop; with the embedded servers behind them a stop stays under 10 s."""

LOCK_SECONDS_MAX = 45.0
"""How long a start waits for the children of a stack that was killed; their guards are just stopping them."""

RESTARTS_MAX = 5
RESTART_WINDOW_SECONDS = 60.0
"""More restarts than that in this time, and the stack gives up: something is wrong that a restart does not mend."""

METRICS_TOKEN_NAME = "metrics.token"  # noqa: S105 - a file
NOTE_NAME = "up.json"
"""What other commands on the same data directory read to find the running stack; mode 0600, it holds passwords."""

SERVER_URLS = ("DATABASE_URL", "REDIS_URL")
SETTING_PREFIXES = ("TALLYSTICK_", "OTEL_", *SERVER_URLS)


class StackBusy(TallystickError):
    """Another tallystick is up on the same data directory."""

    code: ClassVar[str] = "stack_busy"


class StackFailed(TallystickError):
    """A part of the stack did not start or does not stay up."""

    code: ClassVar[str] = "stack_failed"


class StackStopped(TallystickError):
    """Asked to stop before everything was up."""

    code: ClassVar[str] = "stack_stopped"


class Stack:
    """A running stack; also a context manager that stops it. Made by `start`."""

    def __init__(self, data_dir: Path, *, environment: Mapping[str, str], is_stopping: Callable[[], bool]) -> None:
        self.data_dir = data_dir
        self.url = ""
        self.settings_environment: dict[str, str] = dict(environment)
        """What a process of this stack has to have set, secrets included; nothing of the caller's own environment."""
        self._is_stopping = is_stopping
        self._lock: int | None = None
        self._port: socket.socket | None = None
        self._postgres: EmbeddedPostgres | None = None
        self._redis: EmbeddedRedis | None = None
        self._api: list[Child] = []
        self._worker: Child | None = None
        self._scheduler: Child | None = None
        self._restarts: deque[float] = deque(maxlen=RESTARTS_MAX)

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        port: int = 0,
        host: str = HOST,
        api_processes: int = 1,
        environment: Mapping[str, str] | None = None,
        progress: Callable[[str], None] = lambda _step: None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Everything, migrated and answering `/readyz`; port 0 takes a free one. On a fault nothing is left running.

        `environment` holds settings; an embedded server is started for each of DATABASE_URL and REDIS_URL it lacks.
        `progress` is told what comes next. `is_stopping` is asked between steps. Raises `StackBusy`, `PortTaken`,
        `StackFailed`, `StackStopped`, `SettingsInvalid` and what the embedded servers raise.
        """
        stack = cls(data_dir.resolve(), environment=environment or {}, is_stopping=is_stopping)
        try:
            stack._claim(host, port)
            stack._start_servers(progress)
            progress("Bringing the database to the newest schema")
            stack._go_on()
            migrate(stack.database_url)
            progress("Starting the API, the worker and the scheduler")
            stack._launch(host, api_processes)
            stack._await_ready()
            stack._write_note()
        except BaseException:
            stack.stop()
            raise
        return stack

    @property
    def settings(self) -> Settings:
        """The settings of this stack's processes."""
        return load_settings(self.settings_environment)

    @property
    def database_url(self) -> str:
        """The database's URL, with its password."""
        return self.settings_environment["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """The URL of Redis, with its password."""
        return self.settings_environment["REDIS_URL"]

    @property
    def log_dir(self) -> Path:
        """Where `api.log`, `worker.log` and `scheduler.log` are."""
        return self.data_dir / "logs"

    @property
    def api_pid(self) -> int:
        """The first API process."""
        return self._api[0].pid

    @property
    def worker_pid(self) -> int:
        """The worker process."""
        assert self._worker is not None
        return self._worker.pid

    def kill_api(self) -> None:
        """End every API process as a power cut would; the port refuses until `restart_api`."""
        for child in self._api:
            child.kill()

    def kill_redis(self) -> None:
        """End Redis with all it held, as a power cut would; `restart_fallen` starts it anew."""
        _kill(self._redis, signal.SIGKILL)

    def crash_postgres(self) -> None:
        """End PostgreSQL without a word to anybody, as a crash would; `restart_fallen` starts it anew."""
        _kill(self._postgres, signal.SIGQUIT)

    def restart_api(self, environment: Mapping[str, str] | None = None) -> None:
        """Stop what is left of the API and start it anew with these settings on top; returns when it can serve."""
        self._stop_children(self._api)
        for child in self._api:
            self._start(child, environment)
        self._await_ready()

    def restart_fallen(self) -> list[str]:
        """Start again what has ended by itself and say what it was; raises `StackFailed` when that goes on and on."""
        fallen: list[tuple[str, Callable[[], None]]] = [
            *((name, partial(server.restart, "immediate")) for name, server in self._servers if has_ended(server.pid)),
            *((c.name, partial(self._start, c)) for c in self._children if not c.is_running),
        ]
        for name, restart in fallen:
            now = time.monotonic()
            if len(self._restarts) == RESTARTS_MAX and now - self._restarts[0] < RESTART_WINDOW_SECONDS:
                raise StackFailed(
                    f"{name} has ended again after {RESTARTS_MAX} restarts in {RESTART_WINDOW_SECONDS:.0f} s; "
                    f"look into {self.data_dir}"
                )
            self._restarts.append(now)
            restart()
        return [name for name, _ in fallen]

    def stop(self) -> None:
        """Stop everything in good order, the servers last. Stopping again does nothing."""
        self._stop_children(self._children)
        for _, server in reversed(self._servers):
            server.stop()
        self._api, self._worker, self._scheduler, self._redis, self._postgres = [], None, None, None, None
        if self._port is not None:
            self._port.close()
            self._port = None
        if self._lock is not None:
            (self.data_dir / NOTE_NAME).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()

    @property
    def _servers(self) -> list[tuple[str, EmbeddedPostgres | EmbeddedRedis]]:
        return [
            *([("PostgreSQL", self._postgres)] if self._postgres else []),
            *([("Redis", self._redis)] if self._redis else []),
        ]

    @property
    def _children(self) -> list[Child]:
        return [*self._api, *(child for child in (self._worker, self._scheduler) if child)]

    def _claim(self, host: str, port: int) -> None:
        # Everybody may pass through, nobody may list: as root the servers run as another account.
        self.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = os.open(self.data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_SECONDS_MAX
        while self._lock is None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
            except BlockingIOError:
                note = read_note(self.data_dir)
                if note or self._is_stopping() or time.monotonic() > deadline:
                    os.close(lock)
                    raise StackBusy(_busy_sentence(self.data_dir, note)) from None
                time.sleep(POLL_SECONDS)
        self._port = reserved(host, port, self._is_stopping)
        named = HOST if host in ANY_HOST else host
        self.url = f"http://{named}:{self._port.getsockname()[1]}"

    def _start_servers(self, progress: Callable[[str], None]) -> None:
        given = load_settings({**self.settings_environment, "TALLYSTICK_DATA_DIR": str(self.data_dir)})
        if given.database_url is None:
            progress("Starting PostgreSQL")
            self._go_on()
            self._postgres = EmbeddedPostgres.start(self.data_dir / "postgres")
        if given.redis_url is None:
            progress("Starting Redis")
            self._go_on()
            self._redis = EmbeddedRedis.start(self.data_dir / "redis")
        database = self._postgres.url if self._postgres else _revealed(given.database_url)
        redis = self._redis.url if self._redis else _revealed(given.redis_url)
        for name, value in zip(SERVER_URLS, (database, redis), strict=True):
            self.settings_environment.pop(f"{name}_FILE", None)
            self.settings_environment[name] = value
        self.settings_environment["TALLYSTICK_DATA_DIR"] = str(self.data_dir)
        if not self.settings_environment.get("TALLYSTICK_PUBLIC_URL"):
            self.settings_environment["TALLYSTICK_PUBLIC_URL"] = self.url
        if given.metrics_token is None:
            self.settings_environment["TALLYSTICK_METRICS_TOKEN"] = self._metrics_token()

    def _metrics_token(self) -> str:
        # Kept over restarts: whoever reads the metrics has it in a file of their own.
        path = self.data_dir / METRICS_TOKEN_NAME
        if not path.exists() or not path.stat().st_size:
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24), encoding="ascii")
        return path.read_text(encoding="ascii").strip()

    @property
    def _figures(self) -> Path:
        """Where our processes keep their metrics together."""
        return self.data_dir / "metrics"

    def _launch(self, host: str, api_processes: int) -> None:
        assert self._port is not None
        assert self._lock is not None
        for folder in (self._figures, self.data_dir / BEATS_NAME):  # of processes that are long gone
            shutil.rmtree(folder, ignore_errors=True)
        self._figures.mkdir()
        program = [sys.executable, "-m", "server.cli"]
        serve = [*program, "serve", "--host", host, "--port", str(self._port.getsockname()[1]), "--share-port"]
        numbers = range(1, api_processes + 1)
        self._api = [
            Child(
                name="API" if number == 1 else f"API {number}",
                command=serve,
                log_path=self.log_dir / "api.log",
                lock=self._lock,
            )
            for number in numbers
        ]
        self._worker, self._scheduler = (
            Child(name=name, command=[*program, name], log_path=self.log_dir / f"{name}.log", lock=self._lock)
            for name in ("worker", "scheduler")
        )
        for child in self._children:
            self._go_on()
            self._start(child)

    def _start(self, child: Child, extra: Mapping[str, str] | None = None) -> None:
        forget_processes_but((other.pid for other in self._children if other.is_running), self._figures)
        child.start(self._child_environment(extra))

    def _child_environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        ours = settings_in(os.environ)
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        return {**inherited, SHARED_DIRECTORY: str(self._figures), **self.settings_environment, **(extra or {})}

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not (is_ready(self.url) and self._have_beaten()):
            self._go_on()
            for child in self._children:
                if not child.is_running:
                    raise StackFailed(f"the {child.name} ended at its start; {child.log_end()}")
            if time.monotonic() > deadline:
                raise StackFailed(f"the API was not ready in {READY_SECONDS_MAX:.0f} s; {self._api[0].log_end()}")
            time.sleep(POLL_SECONDS)

    def _have_beaten(self) -> bool:
        beaten = {name.partition("@")[0] for name in beat_ages(self.data_dir)}
        return beaten >= {child.name for child in (self._worker, self._scheduler) if child}

    def _go_on(self) -> None:
        if self._is_stopping():
            raise StackStopped

    def _stop_children(self, children: list[Child]) -> None:
        for child in children:
            child.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for child in children:
            child.end(deadline)

    def _write_note(self) -> None:
        write_private(
            self.data_dir / NOTE_NAME,
            {"url": self.url, "pid": os.getpid(), "environment": self.settings_environment},
        )


def _kill(server: EmbeddedPostgres | EmbeddedRedis | None, number: signal.Signals) -> None:
    """End an embedded server, and return when it is gone; whoever started it hears of it at `restart_fallen`."""
    assert server is not None, "the stack has been given a server, which is not its own to end"
    os.kill(server.pid, number)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def settings_in(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment is a setting of ours."""
    return {name: value for name, value in environ.items() if name.startswith(SETTING_PREFIXES)}


def read_note(data_dir: Path) -> dict[str, Any] | None:
    """What the stack that is up on this data directory has left for other commands, or None."""
    try:
        note: dict[str, Any] = orjson.loads((data_dir / NOTE_NAME).read_bytes())
        os.kill(note["pid"], 0)  # a crash leaves the note behind
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        raise StackBusy(f"a tallystick of another account is up on {data_dir}: work as that account") from None
    return note


def write_private(path: Path, value: object) -> None:
    """Put a JSON file of mode 0600 there, whole or not at all."""
    _write(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_secret(path: Path, secret: str) -> None:
    """Put a file of mode 0600 with one secret there, whole or not at all."""
    _write(path, secret.encode("ascii"))


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.rename(path)


def _busy_sentence(data_dir: Path, note: Mapping[str, Any] | None) -> str:
    where = f" at {note['url']} (pid {note['pid']})" if note else ", just starting or stopping,"
    stop = f"stop it with `kill {note['pid']}`" if note else "wait a moment"
    return f"tallystick is already up{where} on {data_dir}: {stop}, or use another data directory"


def _revealed(secret: Any) -> str:
    return str(secret.get_secret_value())
