"""Peers: other applications in a server of their own, to be measured beside ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
from starlette.types import Receive, Scope, Send

from server.listening import HOST
from server.main import HEAD_BYTES_MAX, HTTP

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
AS_OURS: Sequence[str] = ("--http", HTTP, "--h11-max-incomplete-event-size", str(HEAD_BYTES_MAX))
"""What makes uvicorn read HTTP as it does for us."""

BARE = "server.cli.bench.peers:bare"
_ANSWER = b'{"t":"welcome"}\n'


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers a line: the least that an ASGI application can do."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/x-ndjson")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def peer(app: str, log_path: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of `app` in a uvicorn of its own with these options, once it answers."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    usual = ["--host", HOST, "--port", str(port), "--no-access-log", "--loop", "uvloop"]
    command = [sys.executable, "-m", "uvicorn", app, *usual, *options]
    with (
        log_path.open("wb") as log,
        subprocess.Popen(  # noqa: S603 - as written here
            command, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
        ) as process,
    ):
        try:
            url = f"http://{HOST}:{port}"
            _await_answer(url, time.monotonic() + READY_SECONDS_MAX)
            yield url
        finally:
            process.terminate()


def _await_answer(url: str, deadline: float) -> None:
    while True:
        try:
            httpx2.get(url)
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return
