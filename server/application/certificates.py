"""Certificates, signed: the text whose hash is where a device's chain begins."""

from __future__ import annotations

from server.application.ports import Enrolment, Signer
from server.domain.devices import certificate_claims, server_certificate_claims
from sync.engine.receipts import CERTIFICATE_TYPE


def server_certificate(signer: Signer, town_id: str) -> str:
    """The certificate of a town's server device: the same text every time, as long as the signing key is the same."""
    return signer.jws(server_certificate_claims(town_id, signer.public_key), CERTIFICATE_TYPE)


def device_certificate(
    signer: Signer, enrolment: Enrolment, *, device_id: str, public_key: str, now_seconds: int
) -> str:
    """A certificate for the device that `enrolment` lets in."""
    claims = certificate_claims(
        town_id=enrolment.town_id,
        device_id=device_id,
        role=enrolment.role,
        user_id=enrolment.user_id,
        public_key=public_key,
        now_seconds=now_seconds,
    )
    return signer.jws(claims, CERTIFICATE_TYPE)
