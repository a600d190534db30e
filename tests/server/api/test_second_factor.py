"""The second factor: offered, confirmed, asked for, used once; recovery codes; and that it is kept sealed."""

from __future__ import annotations

import base64

import httpx2
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from server.adapters.memory import memory_signer
from server.adapters.seals import KeySealer, SealBroken
from server.domain.people import FRESH_SECONDS
from tests.support.staff_world import PASSWORD, Browser, StaffWorld

TOTP_PATH = "/v1/sessions/current/totp"
CONFIRM_PATH = f"{TOTP_PATH}/confirmation"


class App:
    """An authenticator app with the secret, on a phone whose clock is right."""

    def __init__(self, staff: StaffWorld, secret: str) -> None:
        self.staff = staff
        self.secret = base64.b32decode(secret)

    def code(self, seconds: int = 0) -> str:
        now = self.staff.world.system.now_ms() // 1000 + seconds
        return TOTP(self.secret, 6, SHA1(), 30).generate(now).decode()  # noqa: S303 - what such apps do

    def wrong(self) -> str:
        near = {self.code(seconds) for seconds in range(-90, 120, 30)}
        return next(code for code in map("{:06}".format, range(10)) if code not in near)


async def offered(staff: StaffWorld, browser: Browser) -> App:
    answer = await browser.post(TOTP_PATH)
    assert answer.status_code == 201, answer.text
    return App(staff, answer.json()["secret"])


async def protected(staff: StaffWorld) -> tuple[Browser, App, list[str]]:
    """Somebody who has confirmed a second factor, the app, and the recovery codes."""
    browser = await staff.browser()
    app = await offered(staff, browser)
    answer = await browser.post(CONFIRM_PATH, {"code": app.code()})
    assert answer.status_code == 200, answer.text
    staff.world.system.advance(30)
    return browser, app, answer.json()["recovery_codes"]


def told(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def test_a_secret_counts_only_once_it_is_confirmed(staff: StaffWorld) -> None:
    browser = await staff.browser()
    answer = await browser.post(TOTP_PATH)

    secret = answer.json()["secret"]
    assert f"secret={secret}" in answer.json()["uri"]
    assert answer.json()["uri"].startswith("otpauth://totp/Tallystick:")
    assert len(base64.b32decode(secret)) == 20
    assert (await browser.sign_in()).json()["has_second_factor"] is False


async def test_from_the_confirmation_on_the_code_is_asked_for(staff: StaffWorld) -> None:
    browser, app, codes = await protected(staff)

    without = await browser.sign_in()
    wrong = await browser.sign_in(code=app.wrong())
    good = await browser.sign_in(code=app.code())

    assert (told(without), told(wrong)) == ((401, "second_factor_needed"), (401, "sign_in_refused"))
    assert (good.status_code, good.json()["has_second_factor"], len(set(codes))) == (201, True, 8)


async def test_without_the_password_nobody_learns_that_there_is_a_second_factor(staff: StaffWorld) -> None:
    browser, app, _ = await protected(staff)

    assert told(await browser.sign_in("not the password", code=app.code())) == (401, "sign_in_refused")
    assert told(await browser.sign_in("not the password")) == (401, "sign_in_refused")


@pytest.mark.parametrize(("seconds", "status"), [(-60, 401), (-30, 201), (0, 201), (30, 201), (60, 401)])
async def test_a_code_of_half_a_minute_ago_or_ahead_is_good(staff: StaffWorld, seconds: int, status: int) -> None:
    browser, app, _ = await protected(staff)
    staff.world.system.advance(60)

    assert (await browser.sign_in(code=app.code(seconds))).status_code == status


async def test_a_code_is_good_for_one_time(staff: StaffWorld) -> None:
    browser, app, _ = await protected(staff)
    code = app.code()
    assert (await browser.sign_in(code=code)).status_code == 201

    assert told(await browser.sign_in(code=code)) == (401, "sign_in_refused")
    assert told(await browser.sign_in(code=app.code(-30))) == (401, "sign_in_refused")


async def test_the_code_that_confirmed_it_does_not_sign_in(staff: StaffWorld) -> None:
    browser = await staff.browser()
    app = await offered(staff, browser)
    await browser.post(CONFIRM_PATH, {"code": app.code()})

    assert told(await browser.sign_in(code=app.code())) == (401, "sign_in_refused")


async def test_each_recovery_code_signs_in_once_however_it_is_typed(staff: StaffWorld) -> None:
    browser, _, codes = await protected(staff)

    first = await browser.sign_in(code=codes[0].lower().replace("-", " "))
    again = await browser.sign_in(code=codes[0])
    second = await browser.sign_in(code=codes[1])

    assert (first.status_code, told(again), second.status_code) == (201, (401, "sign_in_refused"), 201)


async def test_guessing_codes_is_locked_as_guessing_passwords_is(staff: StaffWorld) -> None:
    browser, app, _ = await protected(staff)
    for _ in range(3):
        assert told(await browser.sign_in()) == (401, "second_factor_needed")
    for _ in range(2):
        assert told(await browser.sign_in(code=app.wrong())) == (401, "sign_in_refused")

    assert (await browser.sign_in(code=app.code())).status_code == 429


async def test_signing_in_in_two_steps_does_not_lock_the_office_out(staff: StaffWorld) -> None:
    browser, app, _ = await protected(staff)

    for _ in range(25):
        assert told(await browser.sign_in()) == (401, "second_factor_needed")
        assert (await browser.sign_in(code=app.code())).status_code == 201
        staff.world.system.advance(30)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "0000-0000-0000-0000", "x" * 40])
async def test_what_is_no_code_confirms_nothing(staff: StaffWorld, code: str) -> None:
    browser = await staff.browser()
    await offered(staff, browser)

    assert (await browser.post(CONFIRM_PATH, {"code": code})).status_code in {400, 401}
    assert (await browser.sign_in()).status_code == 201


async def test_a_second_one_cannot_be_offered_and_nothing_is_confirmed_that_was_not_offered(staff: StaffWorld) -> None:
    browser, app, _ = await protected(staff)
    other = await staff.browser()

    assert told(await browser.post(TOTP_PATH)) == (409, "second_factor_state")
    assert told(await browser.post(CONFIRM_PATH, {"code": app.code()})) == (409, "second_factor_state")
    assert told(await other.post(CONFIRM_PATH, {"code": app.code()})) == (409, "second_factor_state")


@pytest.mark.parametrize(("method", "path"), [("POST", TOTP_PATH), ("POST", CONFIRM_PATH), ("DELETE", TOTP_PATH)])
async def test_what_protects_the_account_is_changed_just_after_signing_in(
    staff: StaffWorld, method: str, path: str
) -> None:
    browser = await staff.browser()
    staff.world.system.advance(FRESH_SECONDS)

    assert told(await browser.call(method, path, {"code": "123456"})) == (403, "sign_in_again")


async def test_without_it_again_the_password_is_enough(staff: StaffWorld) -> None:
    browser, app, codes = await protected(staff)
    await browser.sign_in(code=app.code())

    assert (await browser.call("DELETE", TOTP_PATH)).status_code == 204

    assert (await browser.sign_in()).json()["has_second_factor"] is False
    assert (await browser.sign_in(code=codes[0])).status_code == 201


async def test_neither_the_secret_nor_a_recovery_code_can_be_read_in_the_database(staff: StaffWorld) -> None:
    browser, app, codes = await protected(staff)

    ((sealed, hashes, phc),) = await staff.stored(
        f"SELECT totp_secret, recovery_codes, password_hash FROM accounts WHERE email = '{browser.email}'"
    )

    assert app.secret not in sealed
    assert not any(code.replace("-", "").encode() in digest for code in codes for digest in hashes)
    assert PASSWORD not in phc


async def test_a_sealed_secret_opens_for_its_owner_and_under_its_key_alone(staff: StaffWorld) -> None:
    sealer, system = staff.people.sealer, staff.world.system
    sealed = sealer.seal(b"secret", "owner")
    other = KeySealer(memory_signer(), system)

    assert sealer.open(sealed, "owner") == b"secret"
    for opener, text, owner in (
        (sealer, sealed, "another"),
        (sealer, sealed[:-1] + bytes([sealed[-1] ^ 1]), "owner"),
        (sealer, sealed[:10], "owner"),
        (other, sealed, "owner"),
    ):
        with pytest.raises(SealBroken):
            opener.open(text, owner)
