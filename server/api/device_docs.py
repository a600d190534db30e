"""What OpenAPI says about the doors for devices, by method and path: their bodies are the wire's, not documents.

The wire itself is described in docs/reference/protocol.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from server.api.body import FORM_TYPE, LINES_TYPE
from server.api.documents import CREATED, gives, problem_answer, takes
from sync.protocol.messages import EnrolAnswer, EnrolRequest

EVENTS_TYPE: Final = "text/event-stream"
TAGS: Final = ["the doors for devices"]

_ID = "01970a6e-3c00-7a57-9d2e-5a1f6a3f6d17"
_KEY = "q0R5lq1q3m0E5b0m1o3p8cPzH1m0yq6m9bKq0m8t7bE"
_GRANT = {
    "grant_type": "client_credentials",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
}
_HELLO = (
    '{"hello":{"protocol":1,"schema":1,"sdk":"0.1.0","app":"van","clock":"2026-11-21T08:15:02.114Z","epoch":null,'
    '"cursors":{},"head":{"seq":0,"hash":"…","sig":"…"},"from_seq":1,"pending":0,"witness":null}}\n'
)
_CHECKPOINT = '{"t":"checkpoint","town":"…","version":1207,"buckets":{}}\n'


def _of_bytes(what: str, media_type: str, example: str, problems: tuple[int, ...]) -> dict[str, Any]:
    """`responses` of a route whose answer is no document."""
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    answers = {"200": {"description": what, "content": content}}
    return answers | {str(status): problem_answer(status) for status in problems}


def _by_text(answers: Mapping[int | str, Any]) -> dict[str, Any]:
    return {str(status): answer for status, answer in answers.items()}


DEVICE_DOORS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("post", "/v1/devices"): {
        "responses": _by_text(
            gives(
                "Enrolled; the device keeps the certificate, which is the beginning of its chain.",
                {
                    "device_id": _ID,
                    "role": "driver",
                    "user_id": _ID,
                    "certificate": "eyJhbGciOiJFZERTQSJ9.…",
                    "server_keys": [],
                    "town": {"id": _ID, "name": "Douglas"},
                },
                status=CREATED,
                schema={"type": "object", "required": [*EnrolAnswer.model_fields]},
                problems=(403, 409, 422),
                usual=(503,),
            )
        ),
        **takes(EnrolRequest, {"code": "K7Q2-M4XB-09TR-5WZD", "public_key": _KEY, "proof": _KEY * 2, "name": "Van 3"}),
    },
    ("post", "/v1/oauth/token"): {
        "responses": _by_text(
            gives(
                "A token for 15 minutes.",
                {"access_token": "eyJhbGciOiJFZERTQSJ9.…", "token_type": "Bearer", "expires_in": 900},
                problems=(401, 403),
                usual=(503,),
            )
        ),
        "requestBody": {
            "required": True,
            "content": {
                FORM_TYPE: {
                    "schema": {
                        "type": "object",
                        "required": [*_GRANT, "client_assertion"],
                        "properties": {
                            **{name: {"const": value} for name, value in _GRANT.items()},
                            "client_assertion": {"type": "string"},
                        },
                    },
                    "example": {**_GRANT, "client_assertion": "eyJhbGciOiJFZERTQSJ9.…"},
                }
            },
        },
    },
    ("post", "/v1/towns/{town_id}/exchange"): {
        "responses": _of_bytes(
            "Verdicts and rows, a line each, ending in a checkpoint.",
            LINES_TYPE,
            _CHECKPOINT,
            (401, 403, 404, 409, 426, 503),
        ),
        "requestBody": {
            "required": True,
            "content": {LINES_TYPE: {"schema": {"type": "string"}, "example": _HELLO}},
        },
        "security": [{"device": []}],
    },
    ("get", "/v1/keys"): {
        "responses": _by_text(
            gives(
                "Oldest first, each endorsed by the one before it.",
                {
                    "keys": [
                        {
                            "kid": "9f2c41d07be3a815",
                            "public_key": _KEY,
                            "sealing_key": _KEY,
                            "sig": _KEY * 2,
                            "endorsed_by": None,
                            "endorsement": None,
                        }
                    ]
                },
                schema={"type": "object", "required": ["keys"]},
                usual=(),
            )
        ),
    },
    ("get", "/v1/towns/{town_id}/snapshots/{sha256}"): {
        "responses": _of_bytes(
            "Compressed lines of rows, the same for ever.", "application/zstd", "…", (401, 403, 404, 503)
        )
        | {
            "206": {"description": "The part that the Range header asks for."},
            "416": {"description": "There is no such part; `Content-Range` says how large the file is."},
        },
        "security": [{"device": []}],
    },
    ("post", "/v1/towns/{town_id}/devices/{device_id}/sealed"): {
        "responses": _by_text(
            gives(
                "Kept, and signed for.",
                {"to_seq": 41, "head": _KEY, "kid": "9f2c41d07be3a815", "sig": _KEY * 2},
                schema={"type": "object"},
                problems=(403, 409),
                usual=(404, 503),
            )
        ),
        "requestBody": {
            "required": True,
            "content": {
                "application/vnd.tallystick.sealed": {
                    "schema": {"type": "string"},
                    "example": "the claim, a newline, and the sealed bytes",
                }
            },
        },
    },
    ("get", "/v1/towns/{town_id}/live"): {
        "responses": _of_bytes(
            "Events until the token ends; each says that there is something to pull.",
            EVENTS_TYPE,
            ": live\n\n",
            (401, 403, 404, 503),
        ),
        "security": [{"device": []}],
    },
}
"""What is said in place of what FastAPI can tell from a route."""
