"""idle: pulls that find nothing new, over connections that stay open; beside them, an application that says so at once.

Both are asked by the same plain sockets, so that what is measured is the server and not a client.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from client_sdk import Replica
from client_sdk.adapters.http import HttpTransport
from server.cli.bench.frame import PASSPHRASE, Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, told
from server.cli.bench.peers import AS_OURS, BARE, peer
from server.cli.bench.shop import code_for_tablet, enrol, open_shop

TOWN = "Idle"
CONNECTIONS = 4
SECONDS = 3.0
GOAL_SHARE = 0.3
RECEIVE_BYTES = 64 * 1024
HEAD_END, BODY_END = b"\r\n\r\n", b"0\r\n\r\n"
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def idle(bench: Bench) -> Measured:
    """Pulls per second of `CONNECTIONS` devices that are at the town's version."""
    shop = open_shop(bench, TOWN)
    requests = []
    for number in range(CONNECTIONS):
        path = bench.folder / f"idle-{number}.db"
        enrol(bench.stack.url, code_for_tablet(bench, shop), path).close()
        requests.append(_pull_of(bench, path))
    bench.say("idle: pulling when nothing is new")
    watch = ApiWatch(bench.stack.log_dir, bench.stack.api_pid)
    pulls = _rate(bench.stack.url, requests)
    api_cpu_seconds = watch.cpu_seconds()
    bench.say("idle: the same of an application that only answers")
    with peer(BARE, bench.folder / "bare.log", *AS_OURS) as url:
        limit = _rate(url, requests)
    return Measured(
        what=f"pulls with nothing new, over {CONNECTIONS} connections",
        unit="pulls/s",
        value=pulls,
        limit=limit,
        limit_what="a bare ASGI application in the same kind of server, the same requests",
        goals=[Goal(what="share of the limit", value=pulls / limit, bound=GOAL_SHARE)],
        where=f"in {SECONDS:.0f} s the API's processor was busy for {told(api_cpu_seconds, 's')}",
        details={"connections": CONNECTIONS, "seconds": SECONDS},
    )


class _Overheard(HttpTransport):
    """A transport that keeps the last exchange as it was sent."""

    sent: tuple[str, bytes, dict[str, str]] = ("", b"", {})

    def _lines(self, path: str, body: bytes, headers: dict[str, str]) -> Iterator[bytes]:
        self.sent = (path, body, headers)
        return super()._lines(path, body, headers)


def _pull_of(bench: Bench, path: Path) -> bytes:
    """The request with which this replica, once it has everything, asks for what is new."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        wire = _Overheard(bench.stack.url, replica._system, replica._identity)  # noqa: SLF001 - an instrument
        replica._transport = wire  # noqa: SLF001 - as above
        for _ in range(2):
            replica.sync()
        address, body, headers = wire.sent
    said = {"Host": urlsplit(bench.stack.url).netloc, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return f"POST {address} HTTP/1.1\r\n{head}\r\n".encode() + body


def _rate(url: str, requests: Sequence[bytes]) -> float:
    """Answers per second, each request sent again and again over a connection of its own."""
    until = time.perf_counter() + SECONDS
    with ThreadPoolExecutor(len(requests)) as threads:
        counts = list(threads.map(lambda request: _answers(url, request, until), requests))
    return sum(counts) / SECONDS


def _answers(url: str, request: bytes, until: float) -> int:
    address = urlsplit(url)
    with closing(socket.create_connection((address.hostname, address.port))) as connection:
        count = 0
        while time.perf_counter() < until:
            connection.sendall(request)
            _hear(connection)
            count += 1
    return count


def _hear(connection: socket.socket) -> None:
    """One whole answer, of a told length or chunked."""
    heard = b""
    while not _is_whole(heard):
        part = connection.recv(RECEIVE_BYTES)
        assert part, "the server has hung up"
        heard += part
    status = heard.split(b" ", 2)[1]
    assert status == b"200", heard[: heard.find(HEAD_END)]


def _is_whole(heard: bytes) -> bool:
    head, end, body = heard.partition(HEAD_END)
    if not end:
        return False
    told = LENGTH.search(head)
    return len(body) == int(told[1]) if told else body.endswith(BODY_END)
