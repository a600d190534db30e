"""Signing in and out, and who is signed in.

A try is counted before it is made, so that many at once are no way around the lock; whoever succeeds starts from zero
again. An unknown e-mail costs and says the same as a wrong password.
"""

from __future__ import annotations

import base64

import structlog

from server.application.people import People
from server.application.people_ports import Account, NewSession
from server.domain.devices import EnrolmentRefused, hash_code
from server.domain.passwords import NOBODYS_HASH
from server.domain.people import (
    ADDRESS_DELAYS_SECONDS,
    EMAIL_DELAYS_SECONDS,
    FRESH_SECONDS,
    IDLE_SECONDS,
    SESSION_SECONDS,
    TOKEN_BYTES,
    TRIES_FORGOTTEN_SECONDS,
    EmailUnusable,
    NotSignedIn,
    Principal,
    SecondFactorNeeded,
    SignInLocked,
    SignInRefused,
    address_subject,
    email_subject,
    read_email,
    token_hash,
    totp_step,
)
from sync.kernel.clock import format_time, parse_time

TOUCH_SECONDS = 60
"""A session that is in use is noted as used once a minute, not with each request."""

_log = structlog.stdlib.get_logger(__name__)


async def sign_in(
    people: People, *, email: str, password: str, code: str | None, address: str, old_token: str | None
) -> str:
    """The token of a new session, which takes the place of the one of `old_token`.

    `code` is of the second factor, or a recovery code. Raises `SignInLocked`, `SignInRefused`, `SecondFactorNeeded`,
    and what the store raises.
    """
    try:
        known_as = read_email(email)
    except EmailUnusable:
        raise SignInRefused from None
    now_ms = people.system.now_ms()
    now = format_time(now_ms)
    await _count(people, address_subject(address), ADDRESS_DELAYS_SECONDS, now_ms)
    account = await prove(people, known_as, password)
    if account.totp_is_confirmed and code is None:
        # Nothing was guessed from this address; the try on the account stays counted, as each guess of a code would be.
        await people.sessions.take_back_try(address_subject(address), now)
        raise SecondFactorNeeded
    if account.totp_is_confirmed and not await _is_second_factor(people, account, code or ""):
        raise SignInRefused
    await people.sessions.clear_tries(email_subject(known_as))
    await people.sessions.take_back_try(address_subject(address), now)
    token = base64.urlsafe_b64encode(people.system.random(TOKEN_BYTES)).rstrip(b"=").decode()
    session = NewSession(
        token_hash=token_hash(token),
        account_id=account.id,
        at=now,
        expires_at=format_time(now_ms + SESSION_SECONDS * 1000),
    )
    await people.sessions.start(session, instead_of=token_hash(old_token) if old_token else None)
    _log.info("signed_in", account_id=account.id)
    return token


async def prove(people: People, email: str, password: str) -> Account:
    """The account whose password this is; the try is counted and stays so. Raises `SignInLocked`, `SignInRefused`."""
    await _count(people, email_subject(email), EMAIL_DELAYS_SECONDS, people.system.now_ms())
    account = await people.accounts.find(email)
    is_right = await people.hashing.matches(password, account.password_hash if account else NOBODYS_HASH)
    if account is None or not is_right:
        _log.warning("sign_in_refused", account_id=account.id if account else None)
        raise SignInRefused
    return account


async def who_is(people: People, token: str) -> Principal:
    """Whoever is signed in with this token, with the towns that are open to that person now. Raises `NotSignedIn`."""
    now_ms = people.system.now_ms()
    session = await people.sessions.open(
        token_hash(token),
        format_time(now_ms),
        format_time(now_ms - IDLE_SECONDS * 1000),
        format_time(now_ms - TOUCH_SECONDS * 1000),
    )
    if session is None:
        raise NotSignedIn
    return Principal(
        account_id=session.account_id,
        email=session.email,
        has_second_factor=session.has_second_factor,
        is_fresh=session.proven_at > format_time(now_ms - FRESH_SECONDS * 1000),
        expires_at=session.expires_at,
        memberships=session.memberships,
    )


async def sign_out(people: People, token: str) -> None:
    """End this session."""
    await people.sessions.end(token_hash(token))


async def _count(people: People, subject: bytes, delays_seconds: tuple[int, ...], now_ms: int) -> None:
    forgotten = format_time(now_ms - TRIES_FORGOTTEN_SECONDS * 1000)
    locked_until = await people.sessions.count_try(subject, delays_seconds, format_time(now_ms), forgotten)
    if locked_until is not None:
        left_ms = parse_time(locked_until) - now_ms
        raise SignInLocked(retry_after_seconds=max(1, -(-left_ms // 1000)))


async def _is_second_factor(people: People, account: Account, code: str) -> bool:
    """Whether the code is the app's of about now or a recovery code; it is used up by this."""
    assert account.totp_secret is not None
    secret = people.sealer.open(account.totp_secret, account.id)
    step = totp_step(secret, code, people.system.now_ms() // 1000)
    if step is not None:
        return await people.accounts.use_step(account.id, step)
    try:
        digest = hash_code(code)
    except EnrolmentRefused:
        return False
    return await people.accounts.use_recovery_code(account.id, digest)
