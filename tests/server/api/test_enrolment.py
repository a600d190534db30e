"""Enrolment over HTTP: one code, one key, one device, however often and by however many it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.enrolments import PostgresEnrolments
from server.application.commands.enrol_device import make_enrolment
from server.domain.devices import NotEnrolable
from sync.engine.chain import encode_bytes, parse_public_key
from sync.modules.identity import DeactivateUser, RevokeDevice
from sync.protocol.messages import EnrolAnswer
from tests.support.api_world import ApiWorld, api_world


def read(body: bytes) -> EnrolAnswer:
    return EnrolAnswer.model_validate_json(body)


async def test_a_device_gets_a_certificate_by_the_key_of_the_server(world: ApiWorld) -> None:
    key = Ed25519PrivateKey.generate()

    answer = read((await world.enrol(await world.code(), key)).content)

    server_key = answer.server_keys[0]
    header = jwt.get_unverified_header(answer.certificate)
    claims = jwt.decode(
        answer.certificate,
        parse_public_key(server_key.public_key),
        algorithms=["EdDSA"],
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert (header["kid"], header["typ"]) == (server_key.kid, "tallystick-device+jwt")
    assert (claims["sub"], claims["town"], claims["role"], claims["key"], claims["user"]) == (
        answer.device_id,
        world.town_id,
        "driver",
        encode_bytes(key.public_key().public_bytes_raw()),
        world.driver_id,
    )
    assert answer.town.model_dump() == {"id": world.town_id, "name": "Douglas", "currency": "GBP"}


async def test_a_device_whose_answer_was_lost_gets_the_same_again(world: ApiWorld) -> None:
    key, code = Ed25519PrivateKey.generate(), await world.code()
    first = await world.enrol(code, key)
    world.system.advance(3600)

    again = await world.enrol(code, key)

    assert (again.status_code, again.content) == (201, first.content)


async def test_a_device_that_never_heard_its_answer_may_use_a_new_code(world: ApiWorld) -> None:
    key = Ed25519PrivateKey.generate()
    first = await world.enrol(await world.code(), key)

    again = await world.enrol(await world.code(), key)

    assert (again.status_code, again.content) == (201, first.content)


async def test_a_code_may_be_typed_as_people_type(world: ApiWorld) -> None:
    code = await world.code()
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")

    assert (await world.enrol(typed, Ed25519PrivateKey.generate())).status_code == 201


async def test_used_wrong_and_late_codes_are_refused_in_the_same_words(world: ApiWorld) -> None:
    used, late = await world.code(), await world.code()
    await world.enrol(used, Ed25519PrivateKey.generate())
    world.system.advance(15 * 60)

    answers = [
        await world.enrol(code, Ed25519PrivateKey.generate())
        for code in (used, late, "0000-0000-0000-0000", "K7Q2", "UUUU-UUUU-UUUU-UUUU")
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(403, answers[0].content)}
    assert answers[0].json()["code"] == "enrolment_refused"


@pytest.mark.parametrize("store", ["memory", "postgres"])
async def test_of_two_devices_with_one_code_exactly_one_wins(migrated_database: str, store: str) -> None:
    pool = make_pool(migrated_database)
    await pool.open()
    changes: dict[str, Any] = {"enrolments": PostgresEnrolments(pool)} if store == "postgres" else {}
    try:
        async with api_world(migrated_database, **changes) as world:
            code = await world.code()
            answers = await asyncio.gather(*(world.enrol(code, Ed25519PrivateKey.generate()) for _ in range(5)))
    finally:
        await pool.close()

    assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403, 403]


async def test_one_device_that_asks_twice_at_once_is_one_device(world: ApiWorld) -> None:
    key, code = Ed25519PrivateKey.generate(), await world.code()

    answers = await asyncio.gather(*(world.enrol(code, key) for _ in range(3)))

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}


async def test_a_key_of_a_revoked_device_is_never_taken_again(world: ApiWorld) -> None:
    device = await world.device()
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))

    answer = await world.enrol(await world.code(), device.key)

    assert (answer.status_code, answer.json()["code"]) == (409, "key_already_used")


async def test_a_key_belongs_to_one_town_for_ever(world: ApiWorld, migrated_database: str) -> None:
    device = await world.device()
    async with api_world(migrated_database, enrolments=world.parts.enrolments) as other:
        answer = await other.enrol(await other.code(), device.key)

    assert (answer.status_code, answer.json()["code"]) == (409, "key_already_used")


async def test_a_proof_by_another_key_is_refused_and_leaves_the_code_good(world: ApiWorld) -> None:
    code, key = await world.code(), Ed25519PrivateKey.generate()

    refused = await world.enrol(code, key, proof="A" * 86)

    assert refused.json()["code"] == "enrolment_refused"
    assert (await world.enrol(code, key)).status_code == 201


async def test_a_weak_key_is_refused(world: ApiWorld) -> None:
    answer = await world.enrol(
        await world.code(), Ed25519PrivateKey.generate(), public_key=encode_bytes(b"\1" + bytes(31))
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "weak_key")


@pytest.mark.parametrize(
    "change", [{"name": "  "}, {"name": ""}, {"name": 7}, {"surplus": "secret-word"}, {"proof": "x" * 65}]
)
async def test_a_request_of_another_shape_is_malformed_and_not_repeated(
    world: ApiWorld, change: dict[str, object]
) -> None:
    answer = await world.enrol(await world.code(), Ed25519PrivateKey.generate(), **change)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert all(str(said) not in answer.text for said in ("surplus", "secret-word", "x" * 65))


async def test_what_the_rules_refuse_is_refused(world: ApiWorld) -> None:
    with pytest.raises(NotEnrolable):
        await make_enrolment(
            town_id=world.town_id,
            role="driver",
            user_id=world.new_id(),
            warehouse_id=None,
            enrolments=world.parts.enrolments,
            towns=world.parts.towns,
            system=world.system,
        )


async def test_somebody_who_left_gets_no_device_with_an_old_code_and_no_new_code(world: ApiWorld) -> None:
    code = await world.code()
    await world.author(DeactivateUser(user=world.driver_id))

    answer = await world.enrol(code, Ed25519PrivateKey.generate())

    assert (answer.status_code, answer.json()["code"]) == (403, "enrolment_refused")
    with pytest.raises(NotEnrolable, match="Ada does not work in this town as driver"):
        await world.code()


async def test_every_enrolment_is_in_the_towns_own_chain(world: ApiWorld) -> None:
    device = await world.device()

    verdict = await world.author(DeactivateUser(user=world.driver_id))

    assert verdict["seq"] == 4  # the founding, the driver, this device, and this
    assert orjson.loads(orjson.dumps(verdict))["status"] == "accepted"
    assert device.answer.role == "driver"
