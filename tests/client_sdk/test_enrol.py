"""Enrolment: an identity is believed only when the server's certificate is about exactly this device and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.application.enrol import enrol_device, public_key_of
from client_sdk.application.ports import Identity
from client_sdk.errors import BadAnswer
from sync.engine.chain import encode_bytes, is_signed
from sync.kernel.ids import derived_id
from sync.protocol.messages import EnrolAnswer, EnrolRequest, Hello, enrol_message

DEVICE, TOWN = derived_id("device", 1), derived_id("town", 1)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
CLAIMS: Mapping[str, Any] = {
    "sub": DEVICE,
    "town": TOWN,
    "role": "driver",
    "key": public_key_of(KEY),
    "prefix": "D1",
    "iat": 1_795_262_400,
    "nbf": 1_795_262_400,
    "exp": 1_895_262_400,
}


class Wire:
    """A transport that answers every enrolment with one certificate."""

    bytes_up = 0
    bytes_down = 0

    def __init__(self, certificate: str) -> None:
        self.certificate = certificate
        self.asked: list[EnrolRequest] = []

    def enrol(self, request: EnrolRequest) -> EnrolAnswer:
        self.asked.append(request)
        return EnrolAnswer.model_validate(
            {
                "device_id": DEVICE,
                "role": "driver",
                "user_id": None,
                "certificate": self.certificate,
                "server_keys": [{"kid": "one", "public_key": public_key_of(SERVER_KEY)}],
                "town": {"id": TOWN, "name": "Ashford", "currency": "GBP"},
            }
        )

    def exchange(self, hello: Hello, lines: object) -> Iterator[bytes]:
        raise AssertionError((hello, lines))


def certificate(kid: str = "one", key: Ed25519PrivateKey = SERVER_KEY, **changed: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


def enrol(wire: Wire) -> Identity:
    return enrol_device(wire, server_url="https://sync.example", code="K7Q2-AAAA", key=KEY, name="van 3")


def test_an_enrolled_device_knows_who_it_is() -> None:
    wire = Wire(certificate())

    assert enrol(wire) == Identity(
        server_url="https://sync.example",
        device_id=DEVICE,
        town_id=TOWN,
        town_name="Ashford",
        currency="GBP",
        role="driver",
        user_id=None,
        certificate=wire.certificate,
        server_keys={"one": public_key_of(SERVER_KEY)},
        key=KEY,
    )


def test_a_device_proves_that_it_holds_its_key() -> None:
    wire = Wire(certificate())

    enrol(wire)

    asked = wire.asked[0]
    assert (asked.code, asked.name) == ("K7Q2-AAAA", "van 3")
    assert asked.public_key == encode_bytes(KEY.public_key().public_bytes_raw())
    assert is_signed(KEY.public_key(), asked.proof, enrol_message(asked.code, asked.public_key))


def test_a_certificate_is_not_judged_by_the_device_s_clock() -> None:
    wire = Wire(certificate(nbf=4_000_000_000, iat=4_000_000_000, exp=4_100_000_000))

    assert enrol(wire).device_id == DEVICE


@pytest.mark.parametrize(
    "wrong",
    [
        certificate(key=KEY),
        certificate(kid="two"),
        certificate(sub=TOWN),
        certificate(town=DEVICE),
        certificate(role="admin"),
        certificate(key_of_another=1, prefix=None),
        certificate(exp=None),
        certificate(nbf=None),
        jwt.encode({**CLAIMS, "key": public_key_of(SERVER_KEY)}, SERVER_KEY, algorithm="EdDSA", headers={"kid": "one"}),
        jwt.encode(dict(CLAIMS), "", algorithm="none", headers={"kid": "one"}),
        jwt.encode(dict(CLAIMS), "s" * 64, algorithm="HS256", headers={"kid": "one"}),
        certificate()[:-4] + "AAAA",
        "not a certificate",
        "",
    ],
)
def test_a_certificate_that_does_not_fit_is_not_believed(wrong: str) -> None:
    with pytest.raises(BadAnswer):
        enrol(Wire(wrong))
