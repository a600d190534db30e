"""What somebody who is signed in does about the account itself: another password, a second factor or none."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from server.application.commands.sign_in import prove
from server.application.people import People
from server.domain.devices import hash_code
from server.domain.passwords import SALT_BYTES, check_password
from server.domain.people import (
    RECOVERY_CODES,
    RECOVERY_RANDOM_BYTES,
    TOTP_SECRET_BYTES,
    NotFresh,
    Principal,
    SecondFactorState,
    SignInRefused,
    email_subject,
    token_hash,
    totp_step,
    write_recovery_codes,
)

_log = structlog.stdlib.get_logger(__name__)


async def change_password(people: People, principal: Principal, token: str, *, password: str, new: str) -> None:
    """Another password; every session but this one ends. Raises `PasswordUnusable`, and as `sign_in` does."""
    check_password(new, principal.email)
    await prove(people, principal.email, password)
    hashed = await people.hashing.hashed(new, people.system.random(SALT_BYTES))
    await people.accounts.set_password(principal.account_id, hashed, keep=token_hash(token))
    await people.sessions.clear_tries(email_subject(principal.email))
    _log.info("password_changed", account_id=principal.account_id)


async def offer_second_factor(people: People, principal: Principal) -> bytes:
    """A new secret for an authenticator app; it counts once it is confirmed.

    Raises `NotFresh`, and `SecondFactorState` when there is a second factor already.
    """
    if not principal.is_fresh:
        raise NotFresh
    secret = people.system.random(TOTP_SECRET_BYTES)
    sealed = people.sealer.seal(secret, principal.account_id)
    if not await people.accounts.offer_second_factor(principal.account_id, sealed):
        raise SecondFactorState
    return secret


async def confirm_second_factor(people: People, principal: Principal, code: str) -> Sequence[str]:
    """The app has the secret: from now on it is asked for. Returns the recovery codes, which are kept nowhere.

    Raises `NotFresh`, `SignInRefused` for a wrong code, and `SecondFactorState` when nothing is to be confirmed.
    """
    if not principal.is_fresh:
        raise NotFresh
    account = await people.accounts.find(principal.email)
    if account is None or account.totp_secret is None or account.totp_is_confirmed:
        raise SecondFactorState
    secret = people.sealer.open(account.totp_secret, account.id)
    step = totp_step(secret, code, people.system.now_ms() // 1000)
    if step is None:
        raise SignInRefused
    codes = write_recovery_codes(people.system.random(RECOVERY_CODES * RECOVERY_RANDOM_BYTES))
    digests = [hash_code(each) for each in codes]
    if not await people.accounts.confirm_second_factor(account.id, step, digests):
        raise SecondFactorState
    _log.info("second_factor_confirmed", account_id=account.id)
    return codes


async def drop_second_factor(people: People, principal: Principal) -> None:
    """The password alone, as before. Raises `NotFresh`."""
    if not principal.is_fresh:
        raise NotFresh
    await people.accounts.drop_second_factor(principal.account_id)
    _log.info("second_factor_dropped", account_id=principal.account_id)
