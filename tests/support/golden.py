"""The release before, played from its tape: it says what it said then, with the ids and hashes of the server of now.

Nothing is added to a request that was not in it, and nothing of it is left out. What it is answered is read as that
release read it: it knows the kinds of lines and the members that are on the tape, needs those, and ignores others.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import (
    HASH_BYTES,
    SIGNATURE_BYTES,
    decode_bytes,
    encode_bytes,
    genesis_hash,
    head_message,
    journal_message,
    line_hash,
    older_journal_message,
    parse_public_key,
    sign,
)
from sync.kernel.clock import format_time
from sync.protocol.messages import enrol_message
from sync.protocol.version import EPOCH_IN_HEADS_SCHEMA

GOLDEN = Path(__file__).resolve().parents[1] / "faults" / "golden"

Step = Mapping[str, Any]


def releases() -> list[int]:
    """The wire schemas of which there is a tape."""
    return sorted(int(path.stem.removeprefix("schema_")) for path in GOLDEN.glob("schema_*.json"))


def tape_of(schema: int) -> dict[str, Any]:
    """What was recorded of that release."""
    tape: dict[str, Any] = orjson.loads((GOLDEN / f"schema_{schema}.json").read_bytes())
    return tape


def lines_of(text: str) -> list[dict[str, Any]]:
    """The lines of a body."""
    return [orjson.loads(line) for line in text.splitlines() if line]


class Known:
    """What that release knows of answers: kinds of lines with their members, entities with their fields."""

    def __init__(self, tape: Mapping[str, Any]) -> None:
        self.members: dict[str, set[str]] = {}
        self.fields: dict[str, set[str]] = {}
        for line in _answered(tape):
            self.members[line["t"]] = self.members.get(line["t"], set(line)) & set(line)
            for _, _, body in line.get("put", []):
                self.fields[line["e"]] = self.fields.get(line["e"], set(body)) & set(body)

    def missing(self, line: Mapping[str, Any]) -> list[str]:
        """What an answer's line lacks that the release needs, and a kind of line that it does not know."""
        if line["t"] not in self.members:
            return [f"{line['t']} is unknown"]
        lacking = [f"{line['t']} has no {name}" for name in sorted(self.members[line["t"]] - set(line))]
        for _, _, body in line.get("put", []):
            lacking += [f"{line['e']} has no {name}" for name in sorted(self.fields.get(line["e"], set()) - set(body))]
        return lacking


class GoldenDevice:
    """One device of the tape, on the server of now. `ids` are the ids of then with those of now.

    `schema` says in which form it knows signed heads.
    """

    def __init__(self, url: str, schema: int, ids: dict[str, str], now_ms: int) -> None:
        self._http, self._schema = httpx2.Client(base_url=url), schema
        self._url, self._ids, self._now = url, ids, format_time(now_ms)
        self._now_ms = now_ms
        self._key = Ed25519PrivateKey.generate()
        self._seq, self._digest, self._epoch = 0, b"", None
        self._cursors: dict[str, int] = {}
        self._head: dict[str, Any] | None = None
        self._time = ""
        self._enrolled: dict[str, Any] = {}
        self._token = ""

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def enrol(self, step: Step, code: str) -> None:
        """As it did then, with this code."""
        said = orjson.loads(step["body"])
        key = encode_bytes(self._key.public_key().public_bytes_raw())
        said |= {"code": code, "public_key": key, "proof": sign(self._key, enrol_message(code, key))}
        self._enrolled = self._ask(step, orjson.dumps(said)).json()
        then = orjson.loads(step["answer"])
        assert then.keys() <= self._enrolled.keys()
        self._ids |= {then["device_id"]: self._enrolled["device_id"]}
        self._digest = genesis_hash(self._enrolled["certificate"])

    def ask_for_token(self, step: Step) -> None:
        """With an assertion of the members that it had then."""
        form = dict(parse_qsl(step["body"]))
        then = jwt.decode(form["client_assertion"], options={"verify_signature": False})
        now_seconds = self._now_ms // 1000
        device = self._enrolled["device_id"]
        claims = then | {
            "iss": device,
            "sub": device,
            "aud": f"{self._url}/v1/oauth/token",
            "town": self._town,
            "iat": now_seconds,
            "exp": now_seconds + then["exp"] - then["iat"],
        }
        form["client_assertion"] = jwt.encode(claims, self._key, algorithm="EdDSA")
        answer = self._ask(step, urlencode(form).encode()).json()
        assert orjson.loads(step["answer"]).keys() <= answer.keys()
        self._token = answer["access_token"]

    def exchange(self, step: Step) -> list[dict[str, Any]]:
        """The same hello and lines, for the history of now; the lines of the answer."""
        first, *lines = step["body"].splitlines()
        authored = [self._authored(orjson.loads(self._now_named(line))) for line in lines if line]
        said = orjson.loads(first)
        now = {
            "clock": self._now,
            "epoch": self._epoch,
            "cursors": self._cursors,
            "witness": self._head,
            "head": {
                "seq": self._seq,
                "hash": encode_bytes(self._digest),
                "sig": sign(self._key, head_message(self._enrolled["device_id"], self._seq, self._digest)),
            },
        }
        assert now.keys() <= said["hello"].keys()
        said["hello"] |= now
        body = b"".join(line + b"\n" for line in (orjson.dumps(said), *authored))
        answered = lines_of(self._ask(step, body).text)
        self._take(answered)
        return answered

    @property
    def _town(self) -> str:
        return str(self._enrolled["town"]["id"])

    def _authored(self, line: dict[str, Any]) -> bytes:
        self._seq += 1
        assert self._head is not None
        now = {
            "seq": self._seq,
            "prev": encode_bytes(self._digest),
            "base": self._head["version"],
            "epoch": self._epoch,
            "at": f"{self._now}-{self._seq:04X}",
            "anchor": line["anchor"] | {"server": self._time},
            "seen": {"version": self._head["version"], "journal": self._head["journal"]},
        }
        assert now.keys() <= line.keys()
        made = orjson.dumps(line | now)
        self._digest = line_hash(made)
        return made

    def _take(self, answered: list[dict[str, Any]]) -> None:
        """What a device of that release remembers of an answer, whose journal head it can check."""
        welcome, checkpoint = answered[0], answered[-1]
        assert (welcome["t"], checkpoint["t"], checkpoint["more"]) == ("welcome", "checkpoint", False)
        head = checkpoint["journal"]
        said = head["version"], decode_bytes(head["hash"], HASH_BYTES)
        knows_epochs = self._schema >= EPOCH_IN_HEADS_SCHEMA
        signed = (
            journal_message(self._town, welcome["epoch"], *said)
            if knows_epochs
            else older_journal_message(self._town, *said)
        )
        server = parse_public_key(self._enrolled["server_keys"][0]["public_key"])
        server.verify(decode_bytes(head["sig"], SIGNATURE_BYTES), signed)
        self._time, self._epoch = welcome["time"], welcome["epoch"]
        self._cursors = {name: mark["version"] for name, mark in checkpoint["buckets"].items()}
        self._head = {"version": head["version"], "journal": head["hash"], "sig": head["sig"]}

    def _now_named(self, text: str) -> str:
        for then, now in self._ids.items():
            text = text.replace(then, now)
        return text

    def _ask(self, step: Step, body: bytes) -> httpx2.Response:
        headers = dict(step["headers"])
        if headers.get("content-encoding") == "gzip":
            body = gzip.compress(body)
        if "authorization" in headers:
            headers["authorization"] = f"Bearer {self._token}"
        answer = self._http.request(step["method"], self._now_named(step["path"]), content=body, headers=headers)
        assert answer.status_code == step["status"], answer.text
        assert answer.headers["content-type"] == step["type"]
        return answer


def statuses(lines: list[dict[str, Any]]) -> list[str]:
    """The verdicts of an answer."""
    return [line["status"] for line in lines if line["t"] == "verdict"]


def last_rows(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of an answer, by entity."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        for _, _, body in line.get("put", []):
            found[line["e"]].append(body)
    return found


def _answered(tape: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for step in tape["steps"]:
        if step.get("path", "").endswith("/exchange"):
            yield from lines_of(step["answer"])
