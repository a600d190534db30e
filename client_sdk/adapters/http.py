"""The `Transport` port over HTTP: tokens, compression, streamed lines, and what counts as an answer of ours.

Everything that is not our server speaking our protocol (no route, a captive portal, a proxy's error page, a redirect, a
cut) is `Offline`; a problem document (RFC 9457) with a code is `ServerProblem`. The HTTP library is imported when the
first request is made, so that opening a replica costs nothing for it.
"""

from __future__ import annotations

import gzip
import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from client_sdk.adapters.http_answers import (
    check_type,
    hinted_version,
    read_as,
    read_document,
    retry_after_seconds,
    split_lines,
    type_of,
)
from client_sdk.application.ports import Identity, System
from client_sdk.errors import BadAnswer, InsecureServer, Offline, ServerProblem, TownHalted
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello, HelloLine, KeysAnswer, SealedReceipt

if TYPE_CHECKING:
    import httpx2

    from sync.protocol.bundle import SealedClaim

LINES_TYPE = "application/x-ndjson"
ZSTD_TYPE = "application/zstd"
EVENTS_TYPE = "text/event-stream"
EVENT_DATA = b"data:"
PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"
SEALED_TYPE = "application/vnd.tallystick.sealed"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
WRITE_TIMEOUT_SECONDS = 30.0
SILENCE_SECONDS_MAX = 40.0
"""A stream of hints says something every 15 seconds; so much later it is dead."""

EVENT_BYTES_MAX = 64 * 1024
ANSWER_LINE_BYTES_MAX = 16 * 1024 * 1024
COMPRESS_FROM_BYTES = 1024
COMPRESS_LEVEL = 4
ASSERTION_SECONDS = 55
"""How long a client assertion is good for; the server takes at most 60 s (RFC 7523 leaves it to the parties)."""

TOKEN_EARLY_SECONDS = 60
"""An access token is replaced this long before it expires."""

CLOCK_TOLERATED_SECONDS = 20
"""A device clock further off than this is corrected by the server's `Date` when a token is asked for."""

TRACE_BYTES, SPAN_BYTES = 16, 8
HTTP_OK, HTTP_CREATED, HTTP_PARTIAL, HTTP_BAD_REQUEST, HTTP_UNAUTHORIZED = 200, 201, 206, 400, 401
HTTP_GOOD = frozenset({HTTP_OK, HTTP_CREATED, HTTP_PARTIAL})
_Heard = TypeVar("_Heard")


class HttpTransport:
    """One server, spoken to by one device; without an identity it can only enrol. Safe to use from several threads.

    Raises `InsecureServer` for an address without TLS that is not this machine's own, unless `insecure` accepts it.
    """

    def __init__(
        self, server_url: str, system: System, identity: Identity | None = None, *, insecure: bool = False
    ) -> None:
        if not (insecure or _is_private(server_url)):
            raise InsecureServer
        self._base = server_url.rstrip("/")
        self._system = system
        self._identity = identity
        self._token = ""
        self._token_until_ms = 0
        self._clock_offset_ms = 0
        self._bytes_up = 0
        self._bytes_down = 0
        self._answers: dict[int, httpx2.Response] = {}  # by the thread that reads it

    @property
    def bytes_up(self) -> int:
        """Bytes of request bodies as sent, compressed."""
        return self._bytes_up

    @property
    def bytes_down(self) -> int:
        """Bytes of answer bodies as received, compressed."""
        return self._bytes_down

    def close(self) -> None:
        """Close the connections; the next request opens them again."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close()

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        """`POST /v1/devices`. Raises `Offline`, `ServerProblem`, `BadAnswer`."""
        said = self._document("/v1/devices", request.model_dump_json().encode(), {"Content-Type": JSON_TYPE})
        try:
            return EnrolAnswer.model_validate(said)
        except ValidationError:
            raise BadAnswer("the answer to the enrolment is not complete") from None

    def keys(self) -> KeysAnswer:
        """`GET /v1/keys`. Raises `Offline`, `ServerProblem`, `BadAnswer`."""
        with self._asked("GET", "/v1/keys", None, {"Accept": f"{JSON_TYPE}, {PROBLEM_TYPE}"}) as answer:
            check_type(answer, JSON_TYPE)
            return read_as(KeysAnswer, answer)

    def deliver(self, claim: SealedClaim, box: bytes) -> SealedReceipt:
        """`POST .../devices/{device}/sealed`; the claim's signature says who it is. Raises as `keys` does."""
        identity = self._identity
        assert identity is not None, "sealed lines are of an enrolled device"
        path = f"/v1/towns/{identity.town_id}/devices/{identity.device_id}/sealed"
        headers = {"Content-Type": SEALED_TYPE, "Accept": f"{JSON_TYPE}, {PROBLEM_TYPE}"}
        with self._asked("POST", path, claim.model_dump_json().encode() + b"\n" + box, headers) as answer:
            check_type(answer, JSON_TYPE)
            return read_as(SealedReceipt, answer)

    def exchange(self, hello: Hello, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Send one request and yield the answer line by line; the request is made when the first line is asked for.

        A token that is refused is replaced once. Raises `Offline`, `ServerProblem`.
        """
        identity = self._identity
        assert identity is not None, "an exchange needs an identity"
        path = f"/v1/towns/{identity.town_id}/exchange"
        body = b"\n".join(
            (HelloLine(hello=hello).model_dump_json(by_alias=True, exclude_defaults=True).encode(), *lines, b"")
        )
        headers = {"Content-Type": LINES_TYPE, "Accept": f"{LINES_TYPE}, {PROBLEM_TYPE}"}
        if len(body) > COMPRESS_FROM_BYTES:
            body = gzip.compress(body, compresslevel=COMPRESS_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        yield from self._authorized(identity, lambda token: self._lines(path, body, headers | token))

    def hints(self) -> Iterator[int]:
        """0 once the stream of hints is open, then the town version of each hint, until the server ends it.

        Raises `Offline`, also when it is silent for longer than the server's keep-alives, and `ServerProblem`.
        """
        identity = self._identity
        assert identity is not None, "hints need an identity"
        yield from self._authorized(identity, lambda headers: self._events(identity.town_id, headers))

    def snapshot(self, sha256: str, start: int) -> Iterator[bytes]:
        """The file with this hash from a place on, in pieces; nothing when the server has not kept to that place.

        Raises `Offline`, `ServerProblem`.
        """
        identity = self._identity
        assert identity is not None, "a snapshot needs an identity"
        yield from self._authorized(identity, lambda headers: self._pieces(identity.town_id, sha256, start, headers))

    def interrupt(self, thread_id: int) -> None:
        """Cut the answer that this thread is reading, if there is one: it hears `Offline` or the end."""
        answer = self._answers.get(thread_id)
        stream = answer.extensions.get("network_stream") if answer else None
        connection = stream.get_extra_info("socket") if stream else None
        if connection is not None:
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _authorized(self, identity: Identity, ask: Callable[[dict[str, str]], Iterator[_Heard]]) -> Iterator[_Heard]:
        """What `ask` gives with an access token; a token that is refused is replaced once."""
        had_token = bool(self._token)
        try:
            yield from ask(self._authorization(identity))
        except ServerProblem as problem:
            if problem.status != HTTP_UNAUTHORIZED or not had_token:
                raise
            self._token = ""
            yield from ask(self._authorization(identity))

    def _pieces(self, town_id: str, sha256: str, start: int, headers: dict[str, str]) -> Iterator[bytes]:
        asked = {"Accept": f"{ZSTD_TYPE}, {PROBLEM_TYPE}", "Accept-Encoding": "identity", "Range": f"bytes={start}-"}
        path = f"/v1/towns/{town_id}/snapshots/{sha256}"
        with self._asked("GET", path, None, headers | asked) as answer:
            check_type(answer, ZSTD_TYPE)
            if start == 0 or answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                yield from answer.iter_bytes()

    def _events(self, town_id: str, headers: dict[str, str]) -> Iterator[int]:
        headers = headers | {"Accept": f"{EVENTS_TYPE}, {PROBLEM_TYPE}", "Accept-Encoding": "identity"}
        with self._asked("GET", f"/v1/towns/{town_id}/live", None, headers, SILENCE_SECONDS_MAX) as answer:
            check_type(answer, EVENTS_TYPE)
            yield 0
            for line in split_lines(answer.iter_bytes(), EVENT_BYTES_MAX):
                if line.startswith(EVENT_DATA):
                    yield hinted_version(line.removeprefix(EVENT_DATA))

    def _lines(self, path: str, body: bytes, headers: dict[str, str]) -> Iterator[bytes]:
        with self._asked("POST", path, body, headers) as answer:
            check_type(answer, LINES_TYPE)
            yield from split_lines(answer.iter_bytes(), ANSWER_LINE_BYTES_MAX)

    def _authorization(self, identity: Identity) -> dict[str, str]:
        if not self._token or self._now_ms() >= self._token_until_ms:
            self._renew_token(identity)
        return {"Authorization": f"Bearer {self._token}"}

    def _renew_token(self, identity: Identity) -> None:
        """Ask for an access token; when the device clock is the trouble, once more with the server's time."""
        try:
            said = self._ask_token(identity)
        except _ClockOff as off:
            self._clock_offset_ms = off.offset_ms
            said = self._ask_token(identity)
        token, seconds = said.get("access_token"), said.get("expires_in")
        if not isinstance(token, str) or not isinstance(seconds, int):
            raise Offline(f"{self._base} did not answer as a tallystick server does")
        self._token = token
        self._token_until_ms = self._now_ms() + max(seconds - TOKEN_EARLY_SECONDS, 0) * 1000

    def _ask_token(self, identity: Identity) -> dict[str, Any]:
        """OAuth 2 client credentials with a signed assertion (RFC 6749 section 4.4, RFC 7523 section 2.2)."""
        import jwt  # noqa: PLC0415  as slow to import as the HTTP client

        address, now_ms = "/v1/oauth/token", self._now_ms()
        claims = {
            "iss": identity.device_id,
            "sub": identity.device_id,
            "aud": self._base + address,
            "jti": make_id(now_ms, self._system.random(RANDOM_BYTES)),
            "iat": now_ms // 1000,
            "exp": now_ms // 1000 + ASSERTION_SECONDS,
            "town": identity.town_id,
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(claims, identity.key, algorithm="EdDSA"),
        }
        body = "&".join(f"{name}={value.replace(':', '%3A')}" for name, value in form.items()).encode()
        return self._document(address, body, {"Content-Type": "application/x-www-form-urlencoded"})

    def _document(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        with self._asked("POST", path, body, headers | {"Accept": f"{JSON_TYPE}, {PROBLEM_TYPE}"}) as answer:
            check_type(answer, JSON_TYPE)
            return read_document(answer)

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> Iterator[httpx2.Response]:
        """Make a request and give its good answer; translate every fault of the library and every problem document."""
        import httpx2  # noqa: PLC0415  slow to import, and not needed to open a replica

        address, traced = self._base + path, headers | {"traceparent": self._traceparent()}
        timeout = _timeout(read_timeout_seconds)
        thread_id = threading.get_ident()
        try:
            with self._client.stream(method, address, content=body, headers=traced, timeout=timeout) as answer:
                self._bytes_up += len(body or b"")
                self._answers[thread_id] = answer
                try:
                    if answer.status_code not in HTTP_GOOD:
                        self._raise_problem(answer, path)
                    yield answer
                finally:
                    self._answers.pop(thread_id, None)
                    self._bytes_down += answer.num_bytes_downloaded
        except (httpx2.HTTPError, httpx2.InvalidURL) as fault:
            raise Offline(f"{self._base} cannot be reached ({type(fault).__name__}); go on working") from fault

    def _traceparent(self) -> str:
        """A name for one request (W3C Trace Context) by which it can be found in the server's logs and traces."""
        name = self._system.random(TRACE_BYTES + SPAN_BYTES).hex()
        return f"00-{name[: 2 * TRACE_BYTES]}-{name[2 * TRACE_BYTES :]}-01"

    def _raise_problem(self, answer: httpx2.Response, path: str) -> None:
        status = answer.status_code
        said = read_document(answer) if status >= HTTP_BAD_REQUEST and type_of(answer) == PROBLEM_TYPE else {}
        code, expected_seq, wipe = said.get("code"), said.get("expected_seq"), said.get("wipe")
        if not isinstance(code, str):
            raise Offline(f"something that is not a tallystick server answered for {self._base} (status {status})")
        if status == HTTP_UNAUTHORIZED and path.endswith("/token"):
            self._check_clock(answer)
        raise (TownHalted if code == "town_halted" else ServerProblem)(
            code,
            status=status,
            message=said.get("detail") or said.get("title"),
            retry_after_seconds=retry_after_seconds(answer.headers.get("Retry-After", "")),
            expected_seq=expected_seq if isinstance(expected_seq, int) else None,
            wipe=wipe if isinstance(wipe, dict) else None,
            released=said if code == "chain_released" else None,
        )

    def _check_clock(self, answer: httpx2.Response) -> None:
        """Raise `_ClockOff` when the server's clock is far from the one the assertion was made with."""
        try:
            server_ms = int(parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000)
        except (KeyError, ValueError):
            return
        if abs(server_ms - self._now_ms()) > CLOCK_TOLERATED_SECONDS * 1000:
            raise _ClockOff(server_ms - self._system.now_ms())

    def _now_ms(self) -> int:
        return self._system.now_ms() + self._clock_offset_ms

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2  # noqa: PLC0415  as in `_asked`

        accepted = "zstd, gzip" if importlib.util.find_spec("backports.zstd") else "gzip"
        headers = {"User-Agent": "tallystick", "Accept-Encoding": accepted}
        return httpx2.Client(timeout=_timeout(READ_TIMEOUT_SECONDS), headers=headers, follow_redirects=False)


def _timeout(read_seconds: float) -> httpx2.Timeout:
    import httpx2  # noqa: PLC0415  as in `_asked`

    return httpx2.Timeout(
        connect=CONNECT_TIMEOUT_SECONDS,
        read=read_seconds,
        write=WRITE_TIMEOUT_SECONDS,
        pool=CONNECT_TIMEOUT_SECONDS,
    )


def _is_private(server_url: str) -> bool:
    """Whether nobody on the way can read along: TLS, or an address that does not leave this machine."""
    try:
        address = urlsplit(server_url)
        host = address.hostname or ""
        return address.scheme == "https" or host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _ClockOff(Exception):
    """The device clock is off by so many milliseconds."""

    def __init__(self, offset_ms: int) -> None:
        super().__init__(offset_ms)
        self.offset_ms = offset_ms
