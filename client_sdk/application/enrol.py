"""Enrolment: a code and a proof of possession go up, an identity comes down and is checked before it is believed.

The caller has stored the key pair durably before: when the answer is lost, the device can enrol again with a new code
and the same file, and no server ever knows a key that no device holds.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.application.ports import Identity, Transport
from client_sdk.errors import BadAnswer
from sync.engine.chain import encode_bytes, parse_public_key, sign
from sync.engine.keyring import KeyForged, sealing_key_of
from sync.kernel.errors import Malformed
from sync.protocol.messages import EnrolAnswer, EnrolRequest, ServerKey, enrol_message

CLAIMS = ("sub", "town", "role", "key", "prefix", "iat", "nbf", "exp")


def enrol_device(transport: Transport, *, server_url: str, code: str, key: Ed25519PrivateKey, name: str) -> Identity:
    """Enrol the holder of `key` with a one-time `code`; `name` is what an admin will see in the fleet.

    Raises `Offline`, `ServerProblem` (`enrolment_refused` for a code that is unknown, used or too old) and `BadAnswer`
    for a certificate that does not fit.
    """
    public_key = public_key_of(key)
    proof = sign(key, enrol_message(code, public_key))
    answer = transport.enrol(EnrolRequest(code=code, public_key=public_key, proof=proof, name=name))
    check_certificate(answer, public_key)
    return Identity(
        server_url=server_url,
        device_id=answer.device_id,
        town_id=answer.town.id,
        town_name=answer.town.name,
        currency=answer.town.currency,
        role=answer.role,
        user_id=answer.user_id,
        certificate=answer.certificate,
        server_keys={server.kid: server.public_key for server in answer.server_keys},
        sealing_key=_sealing_key(answer),
        key=key,
    )


def _sealing_key(answer: EnrolAnswer) -> str | None:
    """That of the key in use, which is named first; None from a server of before."""
    try:
        return sealing_key_of(answer.server_keys[0])
    except KeyForged:
        raise BadAnswer("the server's sealing key is not signed by the server") from None


def public_key_of(key: Ed25519PrivateKey) -> str:
    """The raw public key of a pair, in base64url."""
    return encode_bytes(key.public_key().public_bytes_raw())


def check_certificate(answer: EnrolAnswer, public_key: str) -> dict[str, Any]:
    """The claims of the device certificate, if one of the server's keys signed them and they are about this device.

    Its dates are not compared with the device's clock, which may be wrong by years; the server judges them at each
    contact. Raises `BadAnswer`.
    """
    import jwt  # noqa: PLC0415  slow to import, and needed once in the life of a replica

    try:
        kid = jwt.get_unverified_header(answer.certificate).get("kid")
        signer = parse_public_key(_key_named(answer.server_keys, kid).public_key)
        options = {"require": list(CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims: dict[str, Any] = jwt.decode(answer.certificate, signer, algorithms=["EdDSA"], options=options)  # type: ignore[arg-type]  # the library types each option
    except (jwt.PyJWTError, Malformed) as fault:
        raise BadAnswer(f"the device certificate cannot be checked: {fault}") from None
    told = (claims["sub"], claims["town"], claims["role"], claims["key"])
    if told != (answer.device_id, answer.town.id, answer.role, public_key):
        raise BadAnswer("the device certificate is about another device, town, role or key")
    return claims


def _key_named(keys: list[ServerKey], kid: object) -> ServerKey:
    for key in keys:
        if key.kid == kid:
            return key
    raise BadAnswer("the device certificate is signed by a key that the server did not name")
