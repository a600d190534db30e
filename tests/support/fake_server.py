"""A real HTTP server in a thread that says what a test has scripted: good answers, wrong ones, cuts, other people's.

It keeps no state of a town: `Town` makes signed messages, and a test puts them in the order it wants.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import encode_bytes, epoch_message, journal_hash, journal_message, sign
from sync.kernel.ids import derived_id

LINES = "application/x-ndjson"
PROBLEM = "application/problem+json"
TOKEN_PATH = "/v1/oauth/token"
KEYS_PATH = "/v1/keys"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One scripted answer. `cut` drops the connection after the body; `lines` are sent one chunk each."""

    status: int = 200
    content_type: str = LINES
    lines: Sequence[bytes] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    is_gzip: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came, its body inflated."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    wire_bytes: int

    @property
    def hello(self) -> dict[str, Any]:
        """The hello of an exchange."""
        said: dict[str, Any] = orjson.loads(self.body.split(b"\n")[0])["hello"]
        return said

    @property
    def lines(self) -> list[bytes]:
        """The change sets of an exchange."""
        return self.body.split(b"\n")[1:-1]


def problem(code: str, status: int, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:
    """A problem document (RFC 9457)."""
    body = orjson.dumps(
        {"type": "about:blank", "title": code.replace("_", " "), "status": status, "code": code, **members}
    )
    return Answer(status=status, content_type=PROBLEM, lines=[body], headers=headers or {})


def json_answer(value: object, status: int = 200) -> Answer:
    """One JSON document."""
    return Answer(status=status, content_type="application/json", lines=[orjson.dumps(value)])


class FakeServer:
    """Answers of each path in the order they were scripted; what is not scripted is a 500 that fails the test."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.keys: list[dict[str, str]] = []
        self._script: list[Answer] = []
        self._tokens: list[Answer] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def will_answer(self, *answers: Answer) -> None:
        """The next answers to anything but a request for a token."""
        self._script.extend(answers)

    def will_grant(self, *answers: Answer) -> None:
        """The next answers to requests for a token; afterwards, and without any, a good token of 15 minutes."""
        self._tokens.extend(answers)

    @property
    def exchanges(self) -> list[Asked]:
        """The requests that were exchanges."""
        return [asked for asked in self.asked if asked.path.endswith("/exchange")]

    @property
    def tokens(self) -> list[Asked]:
        """The requests that asked for a token."""
        return [asked for asked in self.asked if asked.path == TOKEN_PATH]

    def answer_to(self, asked: Asked) -> Answer:
        """What to say now."""
        self.asked.append(asked)
        if asked.path == KEYS_PATH and self.keys:
            return json_answer({"keys": self.keys})
        if asked.path == TOKEN_PATH:
            granted = {"access_token": f"token-{len(self.tokens)}", "token_type": "Bearer", "expires_in": 900}
            return self._tokens.pop(0) if self._tokens else json_answer(granted)
        return self._script.pop(0) if self._script else problem("not_scripted", 500)

    def serve(self) -> None:
        """Serve until `stop`; for a thread."""
        self._http.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """A running server, stopped at the end."""
    server = FakeServer()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            wire = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = gzip.decompress(wire) if self.headers.get("Content-Encoding") == "gzip" else wire
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer_to(Asked(path=self.path, headers=headers, body=body, wire_bytes=len(wire)))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Transfer-Encoding", "chunked")
            if answer.is_gzip:
                self.send_header("Content-Encoding", "gzip")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # a device may hang up at any time
                self._send_body(answer)

        def _send_body(self, answer: Answer) -> None:
            end = b"\n" if answer.content_type == LINES else b""
            chunks = [line + end for line in answer.lines]
            if answer.is_gzip:
                chunks = [gzip.compress(b"".join(chunks))]
            for chunk in filter(None, chunks):
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if answer.is_cut:
                self.close_connection = True
            else:
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name that http.server gives it
            """Tests are silent."""

    return Handler


FIRST_EPOCH = derived_id("epoch", 1)


@dataclass(kw_only=True)
class Town:
    """The words of one town's server: signed, correct, and in no particular order.

    `kept_versions` are those of the first epoch that are left in the one after it.
    """

    id: str = derived_id("town", "Ashford")
    epoch: str = FIRST_EPOCH
    kept_versions: int = 0
    key: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(bytes(range(32))))

    def journal(self, version: int, history: str = "") -> bytes:
        """The journal hash at a version; another history has other hashes."""
        return journal_hash(f"{self.epoch}{history}{version}".encode())

    def welcome(self, acked: int = 0) -> bytes:
        """A welcome; in another epoch than the first, with where it began."""
        said = {"t": "welcome", "protocol": 1, "time": "2026-11-21T08:20:00.000Z", "epoch": self.epoch, "acked": acked}
        if self.epoch != FIRST_EPOCH:
            said["epochs"] = [self.begun()]
        return orjson.dumps(said)

    def begun(self, **other: object) -> dict[str, object]:
        """The signed record of the epoch, which follows what is kept of the first one unless told otherwise."""
        kept = journal_hash(f"{FIRST_EPOCH}{self.kept_versions}".encode()) if self.kept_versions else bytes(32)
        mark: dict[str, Any] = {
            "epoch": self.epoch,
            "before": FIRST_EPOCH,
            "version": self.kept_versions,
            "journal": encode_bytes(kept),
            "at": "2026-11-21T08:19:00.000Z",
            "reason": "a failover",
            **other,
        }
        return {**mark, "sig": sign(self.key, epoch_message({"town": self.id, **mark}))}

    def verdict(self, seq: int, digest: bytes, version: int, status: str = "accepted") -> bytes:
        """A verdict for a line."""
        said = {"t": "verdict", "seq": seq, "hash": encode_bytes(digest), "status": status, "version": version}
        return orjson.dumps(said)

    def bucket(self, name: str, state: str = "kept") -> bytes:
        """What becomes of a bucket."""
        return orjson.dumps({"t": "bucket", "b": name, "state": state})

    def rows(self, bucket: str, entity: str, put: Sequence[object] = (), gone: Sequence[object] = ()) -> bytes:
        """Rows of a bucket."""
        return orjson.dumps({"t": "rows", "b": bucket, "e": entity, "put": put, "gone": gone})

    def checkpoint(
        self, version: int, buckets: Mapping[str, object], *, more: bool = False, history: str = "", **wrong: object
    ) -> bytes:
        """A signed checkpoint; `wrong` members replace good ones."""
        digest = self.journal(version, history)
        signature = sign(self.key, journal_message(self.id, self.epoch, version, digest))
        said = {
            "t": "checkpoint",
            "epoch": self.epoch,
            "version": version,
            "buckets": buckets,
            "journal": {"version": version, "hash": encode_bytes(digest), "sig": signature},
            "more": more,
            **wrong,
        }
        return orjson.dumps(said)
