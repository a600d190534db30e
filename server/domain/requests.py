"""Requests that may come twice: a key that the client chose, and what tells one request from another.

Source of the header: the IETF draft "The Idempotency-Key HTTP Header Field", with the plain text of the key as value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from sync.kernel.errors import Malformed, TallystickError
from sync.kernel.ids import derived_id

KEPT_SECONDS = 7 * 24 * 3600
"""How long an answer can be asked for again. Creating again under an older key is refused: the id is taken."""

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class IdempotencyMismatch(TallystickError):
    """This Idempotency-Key was used for another request; take a new key for a new request."""

    code: ClassVar[str] = "idempotency_mismatch"


class InvalidIdempotencyKey(Malformed):
    """An Idempotency-Key has 1 to 200 visible ASCII characters, and there is one."""

    code: ClassVar[str] = "invalid_idempotency_key"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """Whose key it is, and which; good in one town."""

    principal_id: str
    key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedRequest:
    """A request under its key; `digest` is the same for the same request only."""

    key: RequestKey
    digest: bytes

    def operation_id(self, town_id: str, place: int) -> str:
        """The id of its operation number `place`: the same whenever the request comes."""
        return derived_id("request", town_id, self.key.principal_id, self.key.key, place)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredRequest:
    """A request that became the line at position `seq` of the town's own device."""

    digest: bytes
    seq: int


def keyed_request(principal_id: str, key: str, method: str, path: str, said: Mapping[str, Any]) -> KeyedRequest:
    """The request under its key; the order of the document's members makes no difference.

    Raises `InvalidIdempotencyKey`.
    """
    if not _KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    whole = orjson.dumps([method, path, dict(said)], option=orjson.OPT_SORT_KEYS)
    return KeyedRequest(key=RequestKey(principal_id=principal_id, key=key), digest=hashlib.sha256(whole).digest())
