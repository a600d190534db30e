"""Figures of money: payments by real devices in so many accounts, then their statements, with Redis and without.

    python -m loadtests.payments [--payments N] [--accounts N] [--towns N] [--no-verify] [--keep DIR]

Starts a server of its own. In each town a counter bills its accounts and takes payments, through the SDK, the wire and
every rule; the first account of the first town gets 1,000 entries. Then: do the books balance; how long do two workers
take to make every statement anew; what does a statement cost at the API, kept in Redis, made by a worker, and from the
books; and what is seen of a Redis that hangs and of one that is killed. Exit 0 when nothing failed and `verify` is
green, else 1.

With all defaults it makes 1,000,000 payments in 10,000 accounts, which takes some twenty-five minutes on two cores, and
half as long again to verify.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import Manager, get_context
from pathlib import Path
from queue import Empty
from typing import Any, cast

import httpx2
import orjson
import psycopg
from redis import Redis

from loadtests.season import Server, asked, served, tallystick
from loadtests.till import PIN, Done, Job, begin, work

EMAIL, ROLE = "figures@localhost", "counter_clerk"
PROBE_ENTRIES = 1_000
TRIES = 200
OUTAGE_SECONDS = 3.0
READERS = 4
POLL_SECONDS = 0.2
STOP_SECONDS_MAX = 20.0
WORK = "SELECT count(*) FROM tallystick.agenda WHERE done_at IS NULL"
MADE = """
    SELECT count(*), coalesce(sum(length(body)), 0),
        coalesce(extract(epoch FROM max(made_at) - min(made_at)), 0)::float8
    FROM tallystick.statements
"""
OFF = """
    SELECT count(*), coalesce(sum(off), 0) FROM (
        SELECT abs(sum(debit_minor) - sum(credit_minor)) AS off FROM tallystick.journal_entries
        GROUP BY town_id, device_id, seq, currency
    ) AS acts
"""

Say = Callable[[str], None]


class Reader:
    """Somebody in the office who reads statements over HTTP."""

    def __init__(self, server: Server, password: str) -> None:
        self._http = httpx2.Client(base_url=server.url, timeout=30.0)
        said = {"email": EMAIL, "password": password}
        self._http.post("/v1/sessions", json=said, headers={"Origin": server.url}).raise_for_status()

    def read(self, path: str) -> tuple[float, int, int]:
        """Milliseconds, status, and lines of the statement."""
        started = time.perf_counter()
        answer = self._http.get(path)
        took = (time.perf_counter() - started) * 1000
        lines = sum(len(one["lines"]) for one in answer.json()["currencies"]) if answer.status_code == 200 else 0  # noqa: PLR2004
        return took, answer.status_code, lines


def load(server: Server, directory: Path, options: argparse.Namespace, say: Say) -> tuple[dict[str, str], list[Done]]:
    """Found the towns and have a till in each work through its part; the ids of the towns by name."""
    towns = {name: _found(server, name) for name in (f"Figures {number + 1}" for number in range(options.towns))}
    jobs = [_job(server, directory, name, options, is_first=place == 0) for place, name in enumerate(towns)]
    total = sum(job.payments for job in jobs)
    started = time.perf_counter()
    with Manager() as manager, ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        told = manager.Queue()
        futures = [pool.submit(work, job, told) for job in jobs]
        done = 0
        while done < total and not any(one.done() and one.exception() for one in futures):
            try:
                done += told.get(timeout=1.0)
            except Empty:
                continue
            seconds = time.perf_counter() - started
            say(f"{done:,} of {total:,} payments, {done / seconds:,.0f} a second")
        return towns, [one.result() for one in futures]


def _found(server: Server, name: str) -> str:
    return str(asked(server, "town", "add", name, "--currency", "GBP")["id"])


def _job(server: Server, directory: Path, name: str, options: argparse.Namespace, *, is_first: bool) -> Job:
    accounts = max(2, options.accounts // options.towns)
    entries = PROBE_ENTRIES - 1 if is_first else 0  # the bill is an entry too
    each = max(1, (options.payments // options.towns - entries) // (accounts - (1 if is_first else 0)))
    user = asked(
        server, "user", "add", "--town", name, "--name", "Mona", "--login", "mona", "--role", ROLE, "--pin", PIN
    )
    code = asked(server, "device", "enrol", "--town", name, "--role", ROLE)["code"]
    path = directory / f"{name.replace(' ', '-')}.db"
    begin(server.url, code, path)
    return Job(
        user=user["id"],
        path=path,
        accounts=accounts,
        each=each,
        first=entries or each,
    )


def rebuild(server: Server, towns: Sequence[str], say: Say) -> Mapping[str, Any]:
    """Have every statement made anew by two workers, the server's own and one more; the scheduler helps."""
    note = orjson.loads((server.data / "up.json").read_bytes())
    environment = {**os.environ, **note["environment"]}
    with subprocess.Popen(tallystick("worker"), env=environment) as worker:  # noqa: S603 - our own
        try:
            started = time.perf_counter()
            for name in towns:
                subprocess.run(  # noqa: S603 - our own
                    tallystick("statements", "rebuild", "--town", name, "--data", str(server.data)),
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
            with psycopg.connect(server.database_url, autocommit=True) as books:
                while left := _number(books, WORK)[0]:
                    say(f"{left:,} pieces of statements are to be made")
                    time.sleep(POLL_SECONDS)
                seconds = time.perf_counter() - started
                made, size, working = _number(books, MADE)
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(STOP_SECONDS_MAX)
    return {
        "statements": made,
        "bytes": int(size),
        "seconds": round(seconds, 1),  # the commands that ask for it included
        "seconds_of_work": round(working, 1),
        "per_second": round(made / max(working, 0.1)),
    }


def statement(server: Server, reader: Reader, path: str, party: str, say: Say) -> Mapping[str, Any]:
    """What the statement of the large account costs at the API, by where it comes from."""
    say("reading a statement")
    redis = Redis.from_url(_redis_url(server))

    def forgotten() -> None:
        for key in redis.scan_iter("*statement*"):
            redis.delete(key)

    figures: dict[str, Any] = {"entries": reader.read(path)[2]}
    figures["cached_ms"] = _spread([reader.read(path)[0] for _ in range(TRIES)])
    figures["made_by_a_worker_ms"] = _spread([_after(forgotten, partial(reader.read, path)) for _ in range(TRIES)])
    with psycopg.connect(server.database_url, autocommit=True) as books:
        books.execute("DELETE FROM tallystick.statements WHERE owner_id = %s", [party])
    figures["from_the_books_ms"] = _spread([_after(forgotten, partial(reader.read, path)) for _ in range(TRIES)])
    return figures


def outage(server: Server, readers: Sequence[Reader], path: str, say: Say) -> Mapping[str, Any]:
    """Read without pause while Redis is up, while it hangs, and while it is killed and comes back."""
    url = _redis_url(server)
    figures = {}
    for name, stop, go_on in (
        ("up", None, None),
        ("hangs", signal.SIGSTOP, signal.SIGCONT),
        ("killed", signal.SIGKILL, None),
    ):
        say(f"Redis: {name}")
        pid = int(cast("Any", Redis.from_url(url).info("server"))["process_id"])
        found: list[tuple[float, int, int]] = []
        ending = threading.Event()
        threads = [threading.Thread(target=_read_on, args=(one, path, found, ending)) for one in readers]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        if stop is not None:
            os.kill(pid, stop)
        time.sleep(OUTAGE_SECONDS)
        if go_on is not None:
            os.kill(pid, go_on)
        time.sleep(1.0)
        ending.set()
        for thread in threads:
            thread.join()
        times = [took for took, _, _ in found]
        figures[name] = {
            "requests": len(found),
            "failed": sum(status != 200 for _, status, _ in found),  # noqa: PLR2004
            "longest_ms": round(max(times), 1),
            **_spread(times),
        }
    return figures


def _read_on(reader: Reader, path: str, found: list[tuple[float, int, int]], ending: threading.Event) -> None:
    while not ending.is_set():
        found.append(reader.read(path))


def _after(before: Callable[[], None], read: Callable[[], tuple[float, int, int]]) -> float:
    before()
    return read()[0]


def _spread(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 2),
    }


def _number(books: psycopg.Connection[Any], statement: str) -> tuple[Any, ...]:
    row = books.execute(statement.encode()).fetchone()
    assert row is not None
    return tuple(row)


def _redis_url(server: Server) -> str:
    return str(orjson.loads((server.data / "up.json").read_bytes())["environment"]["REDIS_URL"])


def figures_of(server: Server, directory: Path, options: argparse.Namespace, say: Say) -> Mapping[str, Any]:
    """All of it."""
    started = time.perf_counter()
    towns, done = load(server, directory, options, say)
    seconds = time.perf_counter() - started
    payments = sum(one.payments for one in done)
    password = secrets.token_urlsafe(16)
    kept = directory / "password"
    kept.write_text(password)
    whose = ("--name", "Ada", "--login", "ada", "--role", "admin", "--email", EMAIL)
    name, town = next(iter(towns.items()))
    asked(server, "user", "add", "--town", name, *whose, "--password-file", str(kept))
    say("adding up the books")
    with psycopg.connect(server.database_url, autocommit=True) as books:
        acts, off = _number(books, OFF)
    party = done[0].parties[0]
    path = f"/v1/towns/{town}/parties/{party}/statement"
    figures: dict[str, Any] = {
        "payments": payments,
        "accounts": sum(len(one.parties) for one in done),
        "refused": sum(one.refused for one in done),
        "seconds": round(seconds, 1),
        "payments_per_second": round(payments / seconds),
        "acts_in_the_ledger": acts,
        "off_by_minor": int(off),
        "rebuild": rebuild(server, list(towns), say),
        "redis": outage(server, [Reader(server, password) for _ in range(READERS)], path, say),
        "statement": statement(server, Reader(server, password), path, party, say),
    }
    if not options.no_verify:
        say("tallystick verify")
        started = time.perf_counter()
        report = asked(server, "verify", is_good=(0, 1))
        figures["verify"] = {
            "good": all(one["good"] for one in report),
            "seconds": round(time.perf_counter() - started, 1),
        }
    return figures


def is_good(figures: Mapping[str, Any]) -> bool:
    """Whether nothing failed; how long things took is for whoever reads."""
    failed = sum(one["failed"] for one in figures["redis"].values())
    is_verified = figures.get("verify", {"good": True})["good"]
    return not failed and not figures["off_by_minor"] and not figures["refused"] and is_verified


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(mode=0o711, parents=True)
        yield keep.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="tallystick-figures-"))
    made.chmod(0o711)  # as root, the database runs as another account and has to pass
    try:
        yield made
    finally:
        shutil.rmtree(made)


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.payments", description=__doc__.partition("\n")[0])
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--towns", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2, help="tills that work at once")
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args()

    def say(step: str) -> None:
        print(f"\r\x1b[K{step}", end="", file=sys.stderr, flush=True)  # noqa: T201 - a program

    with _directory(options.keep) as directory, served(directory / "server") as server:
        figures = figures_of(server, directory, options, say)
    say("")
    print(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())  # noqa: T201 - a program
    return 0 if is_good(figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
