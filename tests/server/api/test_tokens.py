"""Access tokens: what an assertion must be to get one, and what a token must be to be believed."""

from __future__ import annotations

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from sync.engine.chain import decode_bytes
from sync.modules.identity import RevokeDevice, SuspendDevice
from tests.support.api_world import PUBLIC_URL, ApiWorld, api_world


async def exchange_status(world: ApiWorld, token: str, town_id: str | None = None) -> int:
    answer = await world.client.post(
        f"/v1/towns/{town_id or world.town_id}/exchange",
        content=b"{}",
        headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"},
    )
    return answer.status_code


async def test_a_device_gets_a_token_that_is_believed(world: ApiWorld) -> None:
    device = await world.device()

    answer = await device.ask_token()

    said = answer.json()
    assert (answer.status_code, said["token_type"], said["expires_in"]) == (200, "Bearer", 900)
    assert await exchange_status(world, said["access_token"]) == 400  # past the token, to a body that is no hello


async def test_an_assertion_is_good_for_one_token(world: ApiWorld) -> None:
    device = await world.device()
    jti = world.new_id()

    first, second = await device.ask_token(jti=jti), await device.ask_token(jti=jti)

    assert (first.status_code, second.status_code) == (200, 401)


async def test_the_same_jti_of_another_device_is_another_request(world: ApiWorld) -> None:
    jti = world.new_id()

    answers = [await (await world.device()).ask_token(jti=jti) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "http://elsewhere.example/v1/oauth/token"},
        {"aud": [PUBLIC_URL]},
        {"aud": None},
        {"iss": "01970000-0000-7000-8000-000000000000"},
        {"sub": "01970000-0000-7000-8000-000000000000"},
        {"town": "01970000-0000-7000-8000-000000000000"},
        {"town": "{01970000-0000-7000-8000-000000000000}"},
        {"sub": ["x"]},
        {"jti": ""},
        {"jti": "x" * 101},
        {"jti": 7},
        {"iat": None},
        {"exp": True},
        {"exp": 9_999_999_999},
        {"iat": 0, "exp": 60},
    ],
)
async def test_an_assertion_that_is_not_for_this_moment_device_and_server_gets_none(
    world: ApiWorld, change: dict[str, object]
) -> None:
    device = await world.device()
    claims = device.claims(**change)
    assertion = jwt.PyJWS().encode(orjson.dumps(claims), device.key, "EdDSA")  # the JWT layer refuses to say some of it

    answer = await world.ask_token(assertion)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client")


@pytest.mark.parametrize("offset_seconds", [-61, -55, 6, 3600])
async def test_a_wrong_clock_is_told_the_right_time(world: ApiWorld, offset_seconds: int) -> None:
    device = await world.device()
    now_seconds = world.system.now_ms() // 1000 + offset_seconds

    answer = await device.ask_token(iat=now_seconds, exp=now_seconds + 55)

    assert answer.status_code == 401
    assert answer.json()["server_time"] == "2026-11-21T08:00:00.000Z"


@pytest.mark.parametrize("offset_seconds", [-54, 5])
async def test_a_clock_that_is_nearly_right_is_right_enough(world: ApiWorld, offset_seconds: int) -> None:
    device = await world.device()
    now_seconds = world.system.now_ms() // 1000 + offset_seconds

    assert (await device.ask_token(iat=now_seconds, exp=now_seconds + 55)).status_code == 200


async def test_an_assertion_by_another_key_gets_no_token(world: ApiWorld) -> None:
    device = await world.device()

    answer = await world.ask_token(jwt.encode(device.claims(), Ed25519PrivateKey.generate(), algorithm="EdDSA"))

    assert answer.status_code == 401


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_no_other_algorithm_is_believed(world: ApiWorld) -> None:
    device = await world.device()
    public_key = device.key.public_key().public_bytes_raw()
    forged = [
        jwt.encode(device.claims(), "", algorithm="none"),
        jwt.encode(device.claims(), public_key, algorithm="HS256"),
    ]

    assert [(await world.ask_token(assertion)).status_code for assertion in forged] == [401, 401]


async def test_a_revoked_device_gets_no_token_and_a_suspended_one_to_hand_in_its_record_with(world: ApiWorld) -> None:
    device = await world.device()
    await world.author(SuspendDevice(device=device.answer.device_id, reason="lost"))
    token = (await device.ask_token()).json()["access_token"]
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))
    answer = await device.ask_token()

    assert jwt.decode(token, options={"verify_signature": False})["scope"] == "evidence"
    assert (answer.status_code, answer.json()["code"]) == (403, "device_revoked")


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password"},
        {"client_assertion_type": "none"},
        {"client_assertion": ""},
        {"client_assertion": "a.b.c"},
        {"client_assertion": "x" * 5000},
    ],
)
async def test_a_form_of_another_kind_gets_a_problem(world: ApiWorld, form: dict[str, str]) -> None:
    answer = await world.ask_token("x", **form)

    assert answer.status_code in {400, 401}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_parameter_given_twice_is_refused(world: ApiWorld) -> None:
    answer = await world.client.post(
        "/v1/oauth/token",
        content=b"grant_type=client_credentials&grant_type=client_credentials",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.status_code == 400


async def test_a_token_ends_after_fifteen_minutes(world: ApiWorld) -> None:
    token = await (await world.device()).token()

    world.system.advance(899)
    before = await exchange_status(world, token)
    world.system.advance(1)

    assert (before, await exchange_status(world, token)) == (400, 401)


async def test_a_token_is_for_its_own_town_and_others_look_as_if_they_were_not_there(
    world: ApiWorld, migrated_database: str
) -> None:
    token = await (await world.device()).token()
    async with api_world(migrated_database) as other:
        statuses = [await exchange_status(world, token, town) for town in (other.town_id, world.new_id(), "x")]

    assert statuses == [404, 404, 404]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_forged_token_is_not_believed(world: ApiWorld) -> None:
    device = await world.device()
    good = await device.token()
    claims = jwt.decode(good, options={"verify_signature": False})
    signer = world.parts.signer
    public_key = decode_bytes(signer.public_key, 32)
    header = {"typ": "at+jwt", "kid": signer.kid}
    forged = {
        "none": jwt.encode(claims, "", algorithm="none", headers=header),
        "hs256 with the public key": jwt.encode(claims, public_key, algorithm="HS256", headers=header),
        "another key": jwt.encode(claims, device.key, algorithm="EdDSA", headers=header),
        "another kind": signer.jws(claims, "JWT"),
        "a certificate": device.answer.certificate,
        "another audience": signer.jws(claims | {"aud": "http://elsewhere.example"}, "at+jwt"),
        "no end": signer.jws({name: said for name, said in claims.items() if name != "exp"}, "at+jwt"),
        "no device": signer.jws(claims | {"sub": "van"}, "at+jwt"),
        "an unknown device": signer.jws(claims | {"sub": world.new_id()}, "at+jwt"),
        "cut": good[:-2],
        "nothing": "",
    }

    statuses = {name: await exchange_status(world, token) for name, token in forged.items()}

    assert statuses == {name: 400 if name == "an unknown device" else 401 for name in forged}


async def test_a_token_is_believed_under_the_newest_key_and_the_one_before_and_no_older_one(
    migrated_database: str,
) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(3)]
    async with api_world(migrated_database, signer=KeySigner(keys[0], keys[1:])) as world:
        token = await (await world.device()).token()
        claims = jwt.decode(token, options={"verify_signature": False})
        statuses = [await exchange_status(world, KeySigner(key).jws(claims, "at+jwt")) for key in keys]

    assert statuses == [400, 400, 401]


async def test_a_request_without_a_token_is_told_what_to_bring(world: ApiWorld) -> None:
    answer = await world.client.post(f"/v1/towns/{world.town_id}/exchange", content=b"{}")

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
