"""Whoever sits between a device and its server: passes on what is asked, and does what such boxes do when told to.

A box does one thing to one kind of request, once: `will` says what. Everything else passes as it is.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

EXCHANGE = "/exchange"
HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive"})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it came, still compressed."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer as it came, still compressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Server = Callable[[Asked], Told]
Trick = Callable[[Asked, Server], Told | None]
"""What is done to a request: an answer of whomever, or none, after which the connection is closed."""


class Middle:
    """The box; it listens at `url`."""

    def __init__(self, server_url: str) -> None:
        self.tricks = 0
        """How many were played."""
        self._address = urlsplit(server_url)
        self._trick: Trick | None = None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def will(self, trick: Trick) -> None:
        """Play this at the next exchange."""
        self._trick = trick

    def answer_to(self, asked: Asked) -> Told | None:
        """What comes of a request."""
        if self._trick is None or not asked.path.endswith(EXCHANGE):
            return self.pass_on(asked)
        trick, self._trick = self._trick, None
        self.tricks += 1
        return trick(asked, self.pass_on)

    def pass_on(self, asked: Asked) -> Told:
        """The server's own answer."""
        connection = http.client.HTTPConnection(str(self._address.hostname), self._address.port)
        try:
            connection.request(asked.method, asked.path, asked.body, dict(asked.headers))
            answer = connection.getresponse()
            return Told(status=answer.status, headers=_end_to_end(answer.headers.items()), body=answer.read())
        finally:
            connection.close()

    def serve(self) -> None:
        """Serve until `stop`; for a thread."""
        self._http.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._http.shutdown()
        self._http.server_close()


def asks_twice(asked: Asked, server: Server) -> Told:
    """A proxy that got no answer in time, asks again, and then gets both: the second one is told."""
    server(asked)
    return server(asked)


def asks_twice_at_once(asked: Asked, server: Server) -> Told:
    """A proxy that asks again while the first request is still under way."""
    first = threading.Thread(target=server, args=(asked,))
    first.start()
    told = server(asked)
    first.join()
    return told


def is_a_portal(_asked: Asked, _server: Server) -> Told:
    """A hotel's network that has its own page for everything."""
    return Told(status=200, headers={"Content-Type": "text/html"}, body=b"<html><h1>Welcome! Please log in</h1></html>")


def sends_to_a_portal(_asked: Asked, _server: Server) -> Told:
    """The same by a redirect."""
    return Told(status=302, headers={"Location": "http://127.0.0.1:1/login"}, body=b"")


def tells_nothing(asked: Asked, server: Server) -> None:
    """A network that lets requests through and no answer."""
    server(asked)


def cuts_the_frame(asked: Asked, server: Server) -> Told:
    """A box that stores answers, has stored half of one, and tells it as a whole."""
    told = server(asked)
    assert told.headers.get("content-encoding") == "zstd", told.headers
    return replace(told, body=told.body[: len(told.body) // 2])


def cuts_the_upload(asked: Asked, server: Server) -> Told:
    """The same for what goes up."""
    return server(replace(asked, body=asked.body[: len(asked.body) // 2]))


def calls_it_something_else(asked: Asked, server: Server) -> Told:
    """A box that knows better what a body is."""
    told = server(asked)
    return replace(told, headers={**told.headers, "content-type": "application/octet-stream"})


def _end_to_end(headers: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers if name.lower() not in HOP_BY_HOP}


def _handler(middle: Middle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = _end_to_end(list(self.headers.items()))
            told = middle.answer_to(Asked(method=self.command, path=self.path, headers=headers, body=body))
            if told is None:
                return
            with suppress(ConnectionError):
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server gives it
            """Tests are silent."""

    return Handler


@contextmanager
def middle_of(server_url: str) -> Iterator[Middle]:
    """A running box in front of this server."""
    middle = Middle(server_url)
    thread = threading.Thread(target=middle.serve)
    thread.start()
    try:
        yield middle
    finally:
        middle.stop()
        thread.join()
