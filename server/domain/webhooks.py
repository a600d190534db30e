"""Signed callbacks: HMAC-SHA-256 over time and raw body, under any of the secrets that hold, within five minutes.

The header is `t=<seconds since 1970>,v1=<hex>[,v1=<hex>...]`: whoever changes the secret signs with both for a while.
Pure: time is passed in. Source: the scheme that Stripe documents for its webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import ClassVar, Final

from server.domain.access import NotFound, Unauthorized

SIGNATURE_HEADER: Final = "Webhook-Signature"
TOLERANCE_SECONDS: Final = 300
SIGNATURES_MAX: Final = 8
"""As many as one header may have: two, while a secret is changed, and some of versions that are not ours."""

HEADER_CHARACTERS_MAX: Final = 1000
_SECONDS_DIGITS_MAX = 12


class WebhookForged(Unauthorized):
    """This was not signed with a secret of ours, or is not as it was signed."""

    code: ClassVar[str] = "webhook_forged"


class WebhookStale(Unauthorized):
    """This was signed too long ago, or is of a time to come: it may be an old one, sent again by somebody else."""

    code: ClassVar[str] = "webhook_stale"


class WebhookForeign(NotFound):
    """This is signed, and about a payment of no town of ours: the account at the provider is somebody else's too."""

    code: ClassVar[str] = "webhook_foreign"


def signature(secret: bytes, at_seconds: int, body: bytes) -> str:
    """What `v1` is, in hex."""
    return hmac.new(secret, b"%d." % at_seconds + body, hashlib.sha256).hexdigest()


def signed_header(secrets: Sequence[bytes], at_seconds: int, body: bytes) -> str:
    """The header with a signature for each of the secrets."""
    return ",".join([f"t={at_seconds}", *(f"v1={signature(secret, at_seconds, body)}" for secret in secrets)])


def check_signature(header: str, body: bytes, secrets: Sequence[bytes], now_seconds: int) -> None:
    """Raise `WebhookForged` unless one signature is by one of the secrets, and `WebhookStale` when its time is off.

    Every signature is compared with that of every secret, each in constant time.
    """
    parts = [part.strip().partition("=") for part in header[:HEADER_CHARACTERS_MAX].split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"][:SIGNATURES_MAX]
    is_time = len(times) == 1 and times[0].isascii() and times[0].isdigit() and len(times[0]) <= _SECONDS_DIGITS_MAX
    if not is_time:
        raise WebhookForged
    at_seconds = int(times[0])
    good = [signature(secret, at_seconds, body).encode() for secret in secrets]
    fits = [hmac.compare_digest(one.encode(), other) for one in given for other in good]
    if not any(fits):
        raise WebhookForged
    if abs(now_seconds - at_seconds) > TOLERANCE_SECONDS:
        raise WebhookStale
