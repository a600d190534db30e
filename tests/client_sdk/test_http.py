"""The wire of the SDK against a real HTTP server: tokens, compression, streamed lines, and what is not our server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.adapters.http import (
    ASSERTION_TYPE,
    COMPRESS_FROM_BYTES,
    TOKEN_EARLY_SECONDS,
    HttpTransport,
)
from client_sdk.adapters.http_answers import DOCUMENT_BYTES_MAX, split_lines
from client_sdk.application.ports import Identity
from client_sdk.errors import BadAnswer, InsecureServer, Offline, ServerProblem
from sync.kernel.ids import derived_id
from sync.protocol.messages import EnrolRequest, Hello, SignedHead
from tests.support.fake_server import Answer, FakeServer, Town, fake_server, json_answer, problem
from tests.support.still_system import NOON_MS, StillSystem

DEVICE, TOWN = derived_id("device", 1), derived_id("town", 1)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
HELLO = Hello.model_validate(
    {
        "protocol": 1,
        "schema": 1,
        "sdk": "0",
        "app": "test",
        "clock": "2026-11-21T12:00:00.000Z",
        "epoch": None,
        "cursors": {},
        "head": SignedHead(seq=0, hash="A" * 43, sig="A" * 86),
        "from_seq": 1,
        "pending": 0,
        "witness": None,
    }
)
ENROL = EnrolRequest(code="K7Q2", public_key="A" * 43, proof="A" * 86, name="van 3")
LINES = [Town().welcome(), b'{"t":"bucket"}']
NO_SERVER = "http://127.0.0.1:1"


def transport_to(url: str, system: StillSystem | None = None) -> HttpTransport:
    identity = Identity(
        server_url=url,
        device_id=DEVICE,
        town_id=TOWN,
        town_name="Ashford",
        currency="GBP",
        role="driver",
        user_id=None,
        certificate="",
        server_keys={},
        key=KEY,
    )
    return HttpTransport(url + "/", system or StillSystem(), identity)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def transport(server: FakeServer) -> Iterator[HttpTransport]:
    made = transport_to(server.url)
    yield made
    made.close()


def exchange(transport: HttpTransport, lines: Iterable[bytes] = ()) -> list[bytes]:
    return list(transport.exchange(HELLO, list(lines)))


def test_an_answer_comes_line_by_line_without_newlines(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(Answer(lines=LINES))

    assert exchange(transport) == LINES


def test_a_request_is_the_hello_and_the_lines_each_with_its_newline(
    server: FakeServer, transport: HttpTransport
) -> None:
    server.will_answer(Answer(lines=LINES))

    exchange(transport, [b"one", b"two"])

    asked = server.exchanges[0]
    assert asked.path == f"/v1/towns/{TOWN}/exchange"
    assert (
        asked.body == orjson.dumps({"hello": HELLO.model_dump(by_alias=True, exclude_defaults=True)}) + b"\none\ntwo\n"
    )
    assert asked.headers["content-type"] == "application/x-ndjson"
    assert asked.headers["accept-encoding"] == "zstd, gzip"


@pytest.mark.parametrize(("size", "encoding"), [(10, None), (COMPRESS_FROM_BYTES, "gzip")])
def test_only_bodies_worth_it_are_compressed(
    server: FakeServer, transport: HttpTransport, size: int, encoding: str | None
) -> None:
    server.will_answer(Answer(lines=LINES))

    exchange(transport, [b"x" * size])

    asked = server.exchanges[0]
    assert asked.headers.get("content-encoding") == encoding
    assert asked.body.endswith(b"x\n")
    assert transport.bytes_up == asked.wire_bytes + server.tokens[0].wire_bytes


def test_a_compressed_answer_is_inflated_and_counted_as_it_came(server: FakeServer, transport: HttpTransport) -> None:
    lines = [b"x" * 5000, b"y" * 5000]
    server.will_answer(Answer(lines=lines, is_gzip=True))

    assert exchange(transport) == lines
    assert 0 < transport.bytes_down < 500


def test_a_token_is_asked_for_with_a_signed_assertion(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(Answer(lines=LINES))

    exchange(transport)

    form = parse_qs(server.tokens[0].body.decode())
    audience = server.url + "/v1/oauth/token"
    claims = jwt.decode(
        form["client_assertion"][0],
        KEY.public_key(),
        algorithms=["EdDSA"],
        audience=audience,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (form["grant_type"], form["client_assertion_type"]) == (["client_credentials"], [ASSERTION_TYPE])
    assert (claims["iss"], claims["sub"], claims["town"]) == (DEVICE, DEVICE, TOWN)
    assert claims["iat"] == NOON_MS // 1000
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert server.exchanges[0].headers["authorization"] == "Bearer token-1"


def test_a_token_is_kept_until_shortly_before_it_expires(server: FakeServer) -> None:
    system = StillSystem()
    transport = transport_to(server.url, system)
    server.will_answer(*[Answer(lines=LINES)] * 3)

    exchange(transport)
    system.clock_ms += (900 - TOKEN_EARLY_SECONDS) * 1000 - 1
    exchange(transport)
    asked_so_far = len(server.tokens)
    system.clock_ms += 1
    exchange(transport)

    transport.close()
    assert (asked_so_far, len(server.tokens)) == (1, 2)


def test_every_assertion_has_its_own_id(server: FakeServer) -> None:
    system = StillSystem()
    transport = transport_to(server.url, system)
    server.will_answer(*[Answer(lines=LINES)] * 2)

    exchange(transport)
    system.clock_ms += 900_000
    exchange(transport)

    transport.close()
    assertions = [parse_qs(asked.body.decode())["client_assertion"][0] for asked in server.tokens]
    unchecked = [jwt.decode(assertion, options={"verify_signature": False}) for assertion in assertions]
    assert len({claims["jti"] for claims in unchecked}) == 2


def test_a_token_that_is_refused_is_replaced_once(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(Answer(lines=LINES), problem("unauthorized", 401), Answer(lines=LINES))
    exchange(transport)

    assert exchange(transport) == LINES
    assert [asked.headers["authorization"] for asked in server.exchanges] == [
        "Bearer token-1",
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_a_new_token_that_is_refused_is_not_replaced_again(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(Answer(lines=LINES), problem("unauthorized", 401), problem("unauthorized", 401))
    exchange(transport)

    with pytest.raises(ServerProblem, match="unauthorized"):
        exchange(transport)

    assert len(server.exchanges) == 3


def test_a_device_with_a_wrong_clock_asks_again_with_the_server_s_time(server: FakeServer) -> None:
    system = StillSystem(now_ms=1_000_000_000_000)
    transport = transport_to(server.url, system)
    server.will_grant(problem("unauthorized", 401))
    server.will_answer(Answer(lines=LINES))

    assert exchange(transport) == LINES

    transport.close()
    first, second = (
        jwt.decode(parse_qs(asked.body.decode())["client_assertion"][0], options={"verify_signature": False})
        for asked in server.tokens
    )
    assert first["iat"] == 1_000_000_000
    assert second["iat"] > 1_700_000_000


def test_a_token_that_is_refused_to_a_right_clock_is_told(server: FakeServer, transport: HttpTransport) -> None:
    server.will_grant(problem("device_revoked", 403))

    with pytest.raises(ServerProblem) as told:
        exchange(transport)

    assert (told.value.code, len(server.tokens), server.exchanges) == ("device_revoked", 1, [])


def test_a_problem_document_is_told_whole(server: FakeServer, transport: HttpTransport) -> None:
    gap = problem("chain_gap", 409, {"Retry-After": "3"}, detail="send from 7", expected_seq=7)
    server.will_answer(gap)

    with pytest.raises(ServerProblem) as told:
        exchange(transport)

    problem_told = told.value
    assert (problem_told.code, problem_told.status, problem_told.message) == ("chain_gap", 409, "send from 7")
    assert (problem_told.expected_seq, problem_told.retry_after_seconds) == (7, 3.0)


def test_a_retry_after_that_is_no_number_is_no_time(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(problem("busy", 503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}))

    with pytest.raises(ServerProblem) as told:
        exchange(transport)

    assert told.value.retry_after_seconds is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(content_type="text/html", lines=[b"<html>Log in to Free Wifi</html>"]),
        Answer(content_type="", lines=LINES),
        Answer(status=302, headers={"Location": NO_SERVER}),
        Answer(status=204, content_type="text/plain"),
        Answer(status=503, content_type="text/html", lines=[b"<html>busy</html>"]),
        Answer(status=500, content_type="application/problem+json", lines=[b"{}"]),
        Answer(status=500, content_type="application/problem+json", lines=[b"[]"]),
        Answer(status=500, content_type="application/problem+json", lines=[b"x" * (DOCUMENT_BYTES_MAX + 1)]),
        Answer(lines=LINES, is_cut=True),
        Answer(lines=LINES, headers={"Content-Encoding": "gzip"}),
        Answer(content_type="application/x-ndjson; charset=utf-8", lines=[b'{"t":'], is_cut=True),
    ],
)
def test_whatever_is_not_a_whole_answer_of_ours_is_offline(
    server: FakeServer, transport: HttpTransport, answer: Answer
) -> None:
    server.will_answer(answer)

    with pytest.raises(Offline):
        exchange(transport)


def test_no_server_is_offline_and_says_which() -> None:
    with pytest.raises(Offline, match=r"127\.0\.0\.1:1 "):
        exchange(transport_to(NO_SERVER))


def test_an_address_that_is_none_is_offline() -> None:
    with pytest.raises(Offline):
        HttpTransport("http://[", StillSystem(), insecure=True).enrol(ENROL)


@pytest.mark.parametrize(
    "url",
    [
        "http://sync.example",
        "HTTP://sync.example",
        "http://10.0.0.5:8000",
        "http://127.0.0.1.sync.example",
        "http://localhost.sync.example",
        "http://127.0.0.1@sync.example",
        "http://[::2]",
        "http://[",
        "sync.example",
        "",
    ],
)
def test_a_server_without_tls_is_spoken_to_only_when_that_was_accepted(url: str) -> None:
    with pytest.raises(InsecureServer, match="insecure=True"):
        HttpTransport(url, StillSystem())

    assert HttpTransport(url, StillSystem(), insecure=True).bytes_up == 0


@pytest.mark.parametrize(
    "url", ["https://sync.example", "HTTPS://10.0.0.5", "http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"]
)
def test_a_server_behind_tls_or_on_this_machine_needs_no_word(url: str) -> None:
    assert HttpTransport(url, StillSystem()).bytes_up == 0


def test_an_answer_that_is_dropped_lets_the_next_one_through(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(Answer(lines=[b"x" * 100_000] * 20), Answer(lines=LINES))
    answer = transport.exchange(HELLO, [])
    next(answer)
    answer.close()  # type: ignore[attr-defined]  # the port promises an iterator that closes when it is dropped

    assert exchange(transport) == LINES


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([], []),
        ([b"one\n"], [b"one"]),
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"o", b"ne", b"\n", b"two", b"\n"], [b"one", b"two"]),
        ([b"one\n\ntwo\n"], [b"one", b"", b"two"]),
        ([b"one\ntw", b"o\nthree\n"], [b"one", b"two", b"three"]),
    ],
)
def test_lines_are_the_same_however_the_chunks_fall(chunks: list[bytes], lines: list[bytes]) -> None:
    assert list(split_lines(chunks, 10)) == lines


@pytest.mark.parametrize("chunks", [[b"one"], [b"one\ntwo"], [b"x" * 11], [b"one\n", b"x" * 6, b"x" * 5]])
def test_a_line_without_end_or_beyond_its_limit_is_no_answer(chunks: list[bytes]) -> None:
    with pytest.raises(Offline):
        list(split_lines(chunks, 10))


def test_an_enrolment_goes_up_as_one_document(server: FakeServer, transport: HttpTransport) -> None:
    said = {
        "device_id": DEVICE,
        "role": "driver",
        "user_id": None,
        "certificate": "a.b.c",
        "server_keys": [{"kid": "one", "public_key": "A" * 43}],
        "town": {"id": TOWN, "name": "Ashford", "currency": "GBP"},
    }
    server.will_answer(json_answer({**said, "of_tomorrow": 1}, 201))

    answer = transport.enrol(ENROL)

    assert answer.model_dump(exclude_unset=True) == said
    assert (server.asked[0].path, orjson.loads(server.asked[0].body)) == ("/v1/devices", ENROL.model_dump())


def test_an_enrolment_that_is_answered_in_part_is_not_believed(server: FakeServer, transport: HttpTransport) -> None:
    server.will_answer(json_answer({"device_id": DEVICE}, 201))

    with pytest.raises(BadAnswer):
        transport.enrol(ENROL)


def test_nothing_slow_is_imported_before_the_first_request() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, client_sdk.adapters.http; print('httpx2' in sys.modules, 'jwt' in sys.modules)",
        ],
        capture_output=True,
        check=True,
        text=True,
    )

    assert told.stdout == "False False\n"
