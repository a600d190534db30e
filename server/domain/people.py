"""Who signs in and what that person is in each town; how long a sign-in lasts; how failed tries slow down.

Pure: time and randomness are passed in. Sources: RFC 6238 for the second factor, OWASP's cheat sheets on sessions and
on authentication for the rest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from server.domain.devices import write_code
from sync.kernel.errors import TallystickError

TOKEN_BYTES = 32
SESSION_SECONDS = 12 * 3600
"""The longest a sign-in lasts."""
IDLE_SECONDS = 3600
"""A session that was not used for so long is over."""
FRESH_SECONDS = 15 * 60
"""How long after its sign-in a session may change what the account itself is protected by."""

TRIES_FORGOTTEN_SECONDS = 24 * 3600
"""Failed tries that are followed by none for so long are forgotten."""

_BACK_OFF_SECONDS = (30, 60, 120, 240, 480, 900)
EMAIL_DELAYS_SECONDS: Final = (0, 0, 0, 0, *_BACK_OFF_SECONDS)
"""How long an e-mail address is locked after its first, second ... failed try; the last one stays."""
ADDRESS_DELAYS_SECONDS: Final = (*[0] * 19, *_BACK_OFF_SECONDS)
"""The same for a network address, behind which there may be an office."""

EMAIL_CHARACTERS_MAX = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}")

TOTP_SECRET_BYTES = 20
TOTP_SECONDS = 30
TOTP_STEPS_EITHER_SIDE = 1
RECOVERY_CODES = 8
RECOVERY_RANDOM_BYTES = 10
_TOTP_DIGITS = 6
_ISSUER = "Tallystick"
_IPV6_PREFIX = 64


class SignInRefused(TallystickError):
    """The e-mail address, the password or the code is wrong."""

    code: ClassVar[str] = "sign_in_refused"


class SecondFactorNeeded(TallystickError):
    """This account has a second factor: sign in again with its code, or with a recovery code."""

    code: ClassVar[str] = "second_factor_needed"


class SignInLocked(TallystickError):
    """Too many tries have failed; wait before the next one."""

    code: ClassVar[str] = "sign_in_locked"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(f"too many tries have failed; wait {retry_after_seconds} seconds before the next one")
        self.retry_after_seconds = retry_after_seconds


class NotSignedIn(TallystickError):
    """Nobody is signed in here, or not any more; sign in."""

    code: ClassVar[str] = "not_signed_in"


class CrossSite(TallystickError):
    """This did not come from a page of ours: the origin is another's, or X-CSRF-Token is not the session's."""

    code: ClassVar[str] = "cross_site"


class NotFresh(TallystickError):
    """This needs a sign-in of the last few minutes; sign in again."""

    code: ClassVar[str] = "sign_in_again"


class NotPermitted(TallystickError):
    """Your roles in this town do not include this."""

    code: ClassVar[str] = "not_permitted"


class SecondFactorState(TallystickError):
    """The second factor is not in a state in which this can be done: look at the session."""

    code: ClassVar[str] = "second_factor_state"


class EmailUnusable(TallystickError):
    """This is no e-mail address."""

    code: ClassVar[str] = "email_unusable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """What somebody is in a town, as its active user; `school_id` is the one school that they work for, if any."""

    town_id: str
    town_name: str
    user_id: str
    user_name: str
    roles: frozenset[str]
    school_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Somebody who is signed in, with the towns in which the account is an active user now, by id.

    `is_fresh`: the sign-in is of the last few minutes. `expires_at` is when it ends, whatever is done with it.
    """

    account_id: str
    email: str
    has_second_factor: bool
    is_fresh: bool
    expires_at: str
    memberships: Mapping[str, Membership]

    @property
    def town_ids(self) -> tuple[str, ...]:
        """The towns that this person may see anything of."""
        return tuple(sorted(self.memberships))


def read_email(text: str) -> str:
    """The address as it is kept and compared: in lower case, NFC. Raises `EmailUnusable`."""
    email = unicodedata.normalize("NFC", text.strip()).lower()
    if len(email) > EMAIL_CHARACTERS_MAX or not _EMAIL.fullmatch(email):
        raise EmailUnusable
    return email


def token_hash(token: str) -> bytes:
    """The hash under which a session is kept."""
    return hashlib.sha256(token.encode()).digest()


def csrf_token(token: str) -> str:
    """What a page of ours shows to prove that it can read our answers: made from the cookie's value, which it cannot.

    Nothing to keep, and it ends with its session.
    """
    return _base64url(hmac.digest(token.encode(), b"tallystick csrf", "sha256"))


def email_subject(email: str) -> bytes:
    """Under what the failed tries for this address are counted, whether there is such an account or not."""
    return hashlib.sha256(b"email\0" + email.encode()).digest()


def address_subject(address: str) -> bytes:
    """Under what the failed tries from this network address are counted: for IPv6 the network of 64 bits it is in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return hashlib.sha256(b"address\0" + address.encode()).digest()
    if isinstance(parsed, ipaddress.IPv6Address) and not parsed.ipv4_mapped:
        network = ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False)
        return hashlib.sha256(b"address\0" + network.network_address.packed).digest()
    return hashlib.sha256(b"address\0" + str(getattr(parsed, "ipv4_mapped", None) or parsed).encode()).digest()


def enrolment_subject(address: str) -> bytes:
    """Under what the wrong enrolment codes from this network address are counted."""
    return hashlib.sha256(b"enrolment\0" + address_subject(address)).digest()


def totp_uri(secret: bytes, email: str) -> str:
    """What an authenticator app scans."""
    return _totp(secret).get_provisioning_uri(email, _ISSUER)


def totp_text(secret: bytes) -> str:
    """The secret as a person types it."""
    return base64.b32encode(secret).decode()


def totp_step(secret: bytes, code: str, now_seconds: int) -> int | None:
    """The step of 30 seconds whose code this is, among now and one either side; None when it is none of them."""
    now = now_seconds // TOTP_SECONDS
    for step in range(now - TOTP_STEPS_EITHER_SIDE, now + TOTP_STEPS_EITHER_SIDE + 1):
        if hmac.compare_digest(_totp(secret).generate(step * TOTP_SECONDS), code.encode()):
            return step
    return None


def write_recovery_codes(random: bytes) -> Sequence[str]:
    """Codes of 80 bits, each good for one sign-in without the device: `K7Q2-M4XB-09TR-5WZD`."""
    size = RECOVERY_RANDOM_BYTES
    assert len(random) == RECOVERY_CODES * size, len(random)
    return [write_code(random[at : at + size]) for at in range(0, len(random), size)]


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, _TOTP_DIGITS, SHA1(), TOTP_SECONDS)  # noqa: S303 - what authenticator apps do, RFC 6238


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
