"""Following the server's keys: from a trusted one to the newest, over however many, and never over a forged one."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from sync.engine.keyring import KeyForged, follow
from sync.protocol.messages import ServerKey

KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 5)]
NOW = KeySigner(KEYS[3], KEYS[2::-1])
PUBLISHED = NOW.published
STRANGER = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32), [KEYS[0]])


def pinned(*places: int) -> dict[str, str]:
    """The keys at these places, oldest first, as a device has pinned them."""
    return {PUBLISHED[place].kid: PUBLISHED[place].public_key for place in places}


@pytest.mark.parametrize("place", range(4))
def test_from_each_key_a_device_comes_to_the_newest_over_all_between(place: int) -> None:
    heard = follow(pinned(place), PUBLISHED)

    assert heard.keys == pinned(*range(place, 4))
    assert heard.sealing_key == PUBLISHED[-1].sealing_key


def test_a_device_that_trusts_none_of_the_keys_learns_nothing() -> None:
    with pytest.raises(KeyForged):
        follow({STRANGER.kid: STRANGER.public_key}, PUBLISHED)


def altered(place: int, **changes: str | None) -> list[ServerKey]:
    """The published keys with one of them changed."""
    keys = list(PUBLISHED)
    keys[place] = keys[place].model_copy(update=changes)
    return keys


@pytest.mark.parametrize(
    "published",
    [
        [],
        altered(3, endorsement=PUBLISHED[2].endorsement),
        altered(3, endorsement=None),
        altered(3, endorsed_by=None),
        altered(3, sig=PUBLISHED[2].sig),
        altered(3, sealing_key=PUBLISHED[2].sealing_key),
        altered(3, public_key=STRANGER.public_key),
        [*PUBLISHED[:2], PUBLISHED[3]],
        [*PUBLISHED, STRANGER.published[-1].model_copy(update={"endorsed_by": NOW.kid})],
    ],
    ids=[
        "none",
        "of another",
        "none given",
        "of nobody",
        "own signature",
        "sealing key",
        "key",
        "one left out",
        "stranger",
    ],
)
def test_a_forged_endorsement_is_refused(published: list[ServerKey]) -> None:
    with pytest.raises(KeyForged):
        follow(pinned(1), published)


def test_a_key_that_took_the_name_of_a_pinned_one_is_refused() -> None:
    with pytest.raises(KeyForged):
        follow({PUBLISHED[3].kid: PUBLISHED[2].public_key}, PUBLISHED)
