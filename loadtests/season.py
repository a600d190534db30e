"""A season of real trade through the whole stack: every country a town, every invoice an order or its cancellation.

    python -m loadtests.season [--file FILE] [--lines N] [--keep DIR] [--json]

Starts a server of its own, seeds it from the file, lets crews of devices work through every invoice with their networks
coming and going, and then asks what must hold (`loadtests.check`): every replica equals its buckets, `verify` is green,
the sums of each town are those that `loadtests.sums` reads from the file. Exit 0 when all of it holds, else 1.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import Any

import orjson

from loadtests.check import all_differing, booked, database_mib
from loadtests.crew import Crew, CrewDevice, CrewReport, work
from loadtests.retail import Invoice, best_file, invoices, open_text, read_lines
from loadtests.sums import sums_by_country

EMAIL = "season@localhost"
HOME_CREWS = 4
"""How many crews share the work of the largest town; every other has one."""

HOME_TABLETS, AWAY_TABLETS = 2, 1
READY_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1
TOLD_EVERY_SECONDS = 5.0
WITHOUT_RATES = {f"TALLYSTICK_{whose}_REQUESTS_PER_MINUTE": "0" for whose in ("DEVICE", "ADDRESS", "TOWN")}
"""Half a year in a few minutes: each device asks more often than one that keeps to the calendar."""

Say = Callable[[str], None]
Begin = Callable[[], None] | None
_done: Queue[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server and where it keeps its data."""

    url: str
    database_url: str
    data: Path
    pid: int


@contextmanager
def served(data: Path) -> Iterator[Server]:
    """`tallystick up` on an empty directory, as an operator would."""
    data.mkdir(parents=True)
    ready, log = data / "ready.json", data.with_suffix(".log")
    command = tallystick("up", "--data", str(data), "--port", "0", "--seed", "none", "--ready-file", str(ready))
    environment = {**os.environ, **WITHOUT_RATES}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process,  # noqa: S603 - our own
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS_MAX
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the server does not come up; see {log}")
                time.sleep(POLL_SECONDS)
            said = orjson.loads(ready.read_bytes())
            yield Server(url=said["url"], database_url=said["database_url"], data=data, pid=said["pid"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS_MAX)


@dataclass(frozen=True, kw_only=True)
class Played:
    """A season that has been played: from which file, in which towns (ids by name), what the crews report."""

    source: Path
    towns: dict[str, str]
    invoices: int
    reports: Sequence[CrewReport]
    seconds: float

    @property
    def devices(self) -> list[Sequence[CrewDevice]]:
        """Crew by crew."""
        return [report.devices for report in self.reports]


def play(
    server: Server,
    file: Path,
    *,
    lines_max: int | None,
    directory: Path,
    processes: int,
    home_crews: int,
    say: Say,
    begin: Begin = None,
) -> Played:
    """Seed the towns and work through every invoice; `directory` takes the devices' files.

    `begin`, if given, is what each process of the crews does first.
    """
    trade: dict[str, list[Invoice]] = defaultdict(list)
    for invoice in invoices(list(read_lines(file, lines_max))):
        trade[invoice.country].append(invoice)
    source = _cut(file, lines_max, directory)
    say(f"seeding {len(trade)} towns")
    towns = _seeded(server, source)
    password = _signed_up(server, directory, towns, say)
    crews = _crews(server, directory, towns, trade, password, home_crews=home_crews)
    say(f"{len(crews)} crews begin, {sum(crew.tablets + 1 for crew in crews)} devices")
    started = time.perf_counter()
    reports = _worked(crews, processes, say, begin)
    return Played(
        source=source,
        towns=towns,
        invoices=sum(map(len, trade.values())),
        reports=reports,
        seconds=time.perf_counter() - started,
    )


def check(server: Server, played: Played, processes: int) -> tuple[list[str], dict[str, Any]]:
    """What is not as it must be, and the figures."""
    started = time.perf_counter()
    books = _books(server)
    verify_seconds = time.perf_counter() - started
    findings = [*_checked(server, played.devices, processes), *_wrong_sums(server, played), *_told(books)]
    by_devices = sum(report.change_sets for report in played.reports)
    return findings, {
        "invoices": played.invoices,
        "towns": len(played.towns),
        "replicas": sum(map(len, played.devices)),
        "cancelled_orders": sum(report.cancelled_orders for report in played.reports),
        "change_sets": sum(town["change_sets"] for town in books),
        "change_sets_of_devices": by_devices,
        "seconds": round(played.seconds, 1),
        "change_sets_per_second": round(by_devices / played.seconds, 1),
        "verify_seconds": round(verify_seconds, 1),
        "api_peak_mib": _peak_mib(server.pid),
        "database_mib": database_mib(server.database_url),
    }


def findings_of(server: Server, played: Played, name: str) -> list[str]:
    """What is not as it must be in one town."""
    town = played.towns[name]
    devices = [report.devices for report in played.reports if report.town == town]
    wrong = [found for found in _wrong_sums(server, played) if found.startswith(f"{name}:")]
    return [*_checked(server, devices, processes=1), *wrong, *_told(_books(server, "--town", town))]


def _cut(file: Path, lines_max: int | None, directory: Path) -> Path:
    """The part of the file that is played, as a file, so that the seed and the sums read the same."""
    if lines_max is None:
        return file
    cut = directory / "cut.csv"
    with open_text(file) as whole, cut.open("w", encoding="utf-8") as part:
        part.writelines(line for place, line in enumerate(whole) if place <= lines_max)
    return cut


def tallystick(*arguments: str) -> list[str]:
    """The command line of the product beside this Python."""
    return [str(Path(sys.executable).parent / "tallystick"), *arguments]


def asked(server: Server, *arguments: str, is_good: Sequence[int] = (0,)) -> Any:
    """What a command of the product says about this server; raises `RuntimeError` when it does not end well."""
    command = tallystick(*arguments, "--data", str(server.data), "--json")
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own program
    if done.returncode not in is_good:
        raise RuntimeError(f"tallystick {arguments[0]} ended with {done.returncode}")
    return orjson.loads(done.stdout)


def _seeded(server: Server, source: Path) -> dict[str, str]:
    """The ids of the towns by name, as the seed tells them."""
    return {town["name"]: town["id"] for town in asked(server, "seed", "--from", str(source))["towns"]}


def _signed_up(server: Server, directory: Path, towns: dict[str, str], say: Say) -> str:
    """Make one account that is an admin of every town; its password."""
    password = secrets.token_urlsafe(16)
    kept = directory / "password"
    kept.write_text(password)
    for place, name in enumerate(towns):
        say(f"an admin for town {place + 1} of {len(towns)}")
        whose = ("--name", "Season", "--login", "season", "--role", "admin", "--email", EMAIL)
        asked(server, "user", "add", "--town", name, *whose, "--password-file", str(kept))
    return password


def _crews(
    server: Server,
    directory: Path,
    towns: dict[str, str],
    trade: dict[str, list[Invoice]],
    password: str,
    *,
    home_crews: int,
) -> list[Crew]:
    """The largest town's trade shared by customer, every other's in one hand; the largest parts first."""
    folder = directory / "devices"
    folder.mkdir()
    home = max(trade, key=lambda name: len(trade[name]))
    crews: list[Crew] = []
    for name, all_of_it in trade.items():
        parts = _parts(all_of_it, home_crews) if name == home else [all_of_it]
        crews.extend(
            Crew(
                name=f"{name} {number}",
                url=server.url,
                email=EMAIL,
                password=password,
                town=towns[name],
                invoices=part,
                folder=folder,
                tablets=HOME_TABLETS if name == home else AWAY_TABLETS,
                seed=number,
            )
            for number, part in enumerate(parts)
        )
    return sorted(crews, key=lambda crew: -len(crew.invoices))


def _parts(trade: Sequence[Invoice], count: int) -> list[list[Invoice]]:
    parts: list[list[Invoice]] = [[] for _ in range(count)]
    for invoice in trade:
        parts[int(invoice.customer or 0) % count].append(invoice)
    return parts


def _begin(done: Queue[int], begin: Begin) -> None:
    global _done  # noqa: PLW0603 - how a pool's process is given its queue
    _done = done
    if begin:
        begin()


def _work(crew: Crew) -> CrewReport:
    assert _done is not None
    try:
        return work(crew, _done.put)
    except Exception as fault:  # not every exception can travel between processes
        raise RuntimeError(f"crew {crew.name}: {traceback.format_exc()}") from fault


def _worked(crews: Sequence[Crew], processes: int, say: Say, begin: Begin) -> list[CrewReport]:
    """All crews' reports, with what is done told now and then."""
    context = get_context("spawn")
    queue: Queue[int] = context.Queue()
    planned = sum(len(crew.invoices) for crew in crews)
    with ProcessPoolExecutor(processes, context, _begin, (queue, begin)) as pool:
        futures = [pool.submit(_work, crew) for crew in crews]
        finished, told, started = 0, 0.0, time.monotonic()
        while not all(future.done() for future in futures):
            _raise_fault(futures)
            with suppress(Empty):
                finished += queue.get(timeout=TOLD_EVERY_SECONDS)
            if time.monotonic() > told + TOLD_EVERY_SECONDS:
                told = time.monotonic()
                say(f"{finished:,} of {planned:,} invoices in {told - started:.0f} s")
        return [future.result() for future in futures]


def _raise_fault(futures: Sequence[Future[CrewReport]]) -> None:
    for future in futures:
        if future.done() and (fault := future.exception()):
            for other in futures:
                other.cancel()
            raise fault


def _checked(server: Server, devices: Sequence[Sequence[CrewDevice]], processes: int) -> list[str]:
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        checks = pool.map(partial(all_differing, server.database_url), devices)
        return [found for part in checks for found in part]


def _wrong_sums(server: Server, played: Played) -> Iterator[str]:
    """Towns whose sums are not those of the file; a cancelled order counts for what came back."""
    cancelled: dict[str, int] = defaultdict(int)
    for report in played.reports:
        cancelled[report.town] += report.cancelled_pieces
    for name, expected in sums_by_country(played.source).items():
        town = played.towns[name]
        found = booked(server.database_url, town)
        whole = replace(found, back=found.back + cancelled[town])
        if whole != expected:
            yield f"{name}: the file says {expected}, the books say {whole}"


def _books(server: Server, *options: str) -> list[dict[str, Any]]:
    books: list[dict[str, Any]] = asked(server, "verify", *options, is_good=(0, 1))
    return books


def _told(books: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{town['name']}: {found}" for town in books for found in town["findings"]]


def _peak_mib(up: int) -> float | None:
    """The peak of the API process, a descendant of `tallystick up`; None where the system does not tell."""
    peaks = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            said = dict(line.split(":", 1) for line in status.read_text().splitlines())
            command = status.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in command and _is_below(int(status.parent.name), up):
            peaks.append(int(said["VmHWM"].split()[0]) / 1024)
    return round(max(peaks), 1) if peaks else None


def _is_below(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        said = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        process = int(said[1])
    return False


def main() -> int:
    """The command; exit 0 when everything holds, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.season", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--file", type=Path, default=best_file(), help="an online-retail CSV file")
    parser.add_argument("--lines", type=int, help="only the first so many lines")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many crews work at a time")
    parser.add_argument("--home-crews", type=int, default=HOME_CREWS, help="crews in the largest town")
    parser.add_argument("--keep", type=Path, help="an empty directory to work in and to leave as it is")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    said = parser.parse_args()
    started = time.monotonic()

    def say(what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - started:7.0f} s  {what}\n")

    directory = said.keep or Path(tempfile.mkdtemp(prefix="tallystick-season-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711)  # as root, the database runs as another account and has to pass
    try:
        with served(directory / "server") as server:
            played = play(
                server,
                said.file,
                lines_max=said.lines,
                directory=directory,
                processes=said.processes,
                home_crews=said.home_crews,
                say=say,
            )
            say("checking every replica, the sums, and the books")
            findings, figures = check(server, played, said.processes)
    finally:
        if said.keep is None:
            shutil.rmtree(directory)
    _show(figures, findings, as_json=said.json)
    return 1 if findings else 0


def _show(figures: dict[str, Any], findings: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        said = {**figures, "findings": findings}
        sys.stdout.write(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for name, value in figures.items():
        sys.stdout.write(f"{name.replace('_', ' '):>28}  {value}\n")
    for found in findings:
        sys.stdout.write(f"NOT AS IT MUST BE: {found}\n")
    if not findings:
        sys.stdout.write("Every replica equals its buckets, the books verify, and the sums are those of the file.\n")


if __name__ == "__main__":
    sys.exit(main())
