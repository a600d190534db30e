"""What revoked devices hand in, and the server's keys, at the edge: who may, how much, and what is signed for it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import httpx2
import orjson
import pytest

from server.application.rates import RateLimits
from server.domain.rates import Rates
from sync.engine.chain import encode_bytes, genesis_hash, head_message, is_signed, line_hash, parse_public_key, sign
from sync.engine.keyring import follow, sealing_key_of
from sync.engine.sealing import seal
from sync.kernel.ids import derived_id
from sync.modules.catalogue import product_id
from sync.modules.commerce import ReceiveStock
from sync.modules.identity import RevokeDevice, SuspendDevice
from sync.protocol import limits
from sync.protocol.bundle import PURPOSE, Bundle, pack, receipt_message, sealed_message, wipe_message
from sync.protocol.messages import KeysAnswer, SealedReceipt, WipeOrder
from tests.support.api_world import ApiWorld, Knocker, api_world

NOWHERE = derived_id("nowhere")


def bundle_of(device: Knocker, count: int = 2) -> Bundle:
    """New lines of the device, each with its signed head."""
    first, lines, signatures = device.seq + 1, [], []
    for _ in range(count):
        operation = ReceiveStock(id=device.world.new_id(), warehouse=NOWHERE, product=product_id("APPLE"), quantity=1)
        line = device.line(operation)
        lines.append(line)
        signatures.append(sign(device.key, head_message(device.answer.device_id, device.seq, line_hash(line))))
    return Bundle(
        town=device.town_id, device=device.answer.device_id, from_seq=first, lines=lines, signatures=tuple(signatures)
    )


def boxed(world: ApiWorld, bundle: Bundle) -> bytes:
    key = sealing_key_of(world.parts.signer.published[-1])
    assert key is not None
    return seal(pack(bundle), key, purpose=PURPOSE, ephemeral=world.system.random(32))


async def hand_in(
    device: Knocker, bundle: Bundle, box: bytes, changes: Mapping[str, object] = MappingProxyType({})
) -> httpx2.Response:
    """The upload of a bundle with a claim that the device has signed, changed afterwards."""
    head = encode_bytes(line_hash(bundle.lines[-1]))
    named = {"from_seq": bundle.from_seq, "to_seq": bundle.to_seq, "head": head}
    named["box"] = encode_bytes(hashlib.sha256(box).digest())
    message = sealed_message(town=bundle.town, device=bundle.device, **named)  # type: ignore[arg-type]
    claim = {**named, "sig": sign(device.key, message), **changes}
    return await device.world.client.post(
        f"/v1/towns/{bundle.town}/devices/{bundle.device}/sealed",
        content=orjson.dumps(claim) + b"\n" + box,
        headers={"Content-Type": "application/vnd.tallystick.sealed"},
    )


async def revoked(world: ApiWorld) -> Knocker:
    device = await world.device()
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))
    return device


async def test_the_order_to_wipe_is_signed_and_about_the_device_that_asks(world: ApiWorld) -> None:
    device = await revoked(world)

    answer = await device.ask_token()

    said = answer.json()
    order = WipeOrder.model_validate(said["wipe"])
    assert (answer.status_code, said["code"]) == (403, "device_revoked")
    assert (order.town, order.device, order.kid) == (device.town_id, device.answer.device_id, world.parts.signer.kid)
    key = parse_public_key(world.parts.signer.public_key)
    assert is_signed(key, order.sig, wipe_message(order.town, order.device, order.at))
    assert said["wipe"]["last"] == {"seq": 0, "hash": encode_bytes(genesis_hash(device.answer.certificate))}


async def test_a_suspended_device_gets_no_order(world: ApiWorld) -> None:
    device = await world.device()
    await world.author(SuspendDevice(device=device.answer.device_id, reason="looked for"))

    assert "wipe" not in (await device.ask_token()).json()


async def test_a_device_that_held_a_token_is_told_with_its_next_request(world: ApiWorld) -> None:
    device = await world.device()
    token = await device.token()
    line = device.line(ReceiveStock(id=world.new_id(), warehouse=NOWHERE, product=product_id("APPLE"), quantity=1))
    await device.exchange(line)
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))

    answer = await world.client.post(
        f"/v1/towns/{device.town_id}/exchange",
        content=device.hello() + b"\n",
        headers={"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"},
    )

    assert (answer.status_code, answer.json()["wipe"]["device"]) == (403, device.answer.device_id)
    assert answer.json()["wipe"]["last"] == {"seq": 1, "hash": encode_bytes(line_hash(line))}


async def test_what_a_revoked_device_hands_in_is_signed_for_as_often_as_it_comes(world: ApiWorld) -> None:
    device = await world.device()
    bundle = bundle_of(device)
    world.system.advance(1)
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))

    answers = [await hand_in(device, bundle, boxed(world, bundle)) for _ in range(2)]

    key = parse_public_key(world.parts.signer.public_key)
    for answer in answers:
        receipt = SealedReceipt.model_validate_json(answer.content)
        assert (answer.status_code, receipt.to_seq, receipt.head) == (200, 2, encode_bytes(line_hash(bundle.lines[-1])))
        message = receipt_message(bundle.town, bundle.device, receipt.to_seq, receipt.head)
        assert is_signed(key, receipt.sig, message)
    assert world.parts.sealed is not None
    [kept] = await world.parts.sealed.of_device(bundle.town, bundle.device)
    assert (kept.from_seq, kept.to_seq, kept.reviewed, kept.problem) == (1, 2, 2, None)


async def test_a_box_that_begins_before_another_of_the_same_end_is_kept_beside_it(world: ApiWorld) -> None:
    device = await world.device()
    whole = bundle_of(device, 3)
    world.system.advance(1)
    await world.author(RevokeDevice(device=device.answer.device_id, reason="stolen"))
    last = replace(whole, from_seq=3, lines=whole.lines[2:], signatures=whole.signatures[2:])

    answers = [await hand_in(device, bundle, boxed(world, bundle)) for bundle in (last, whole, last)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert world.parts.sealed is not None
    kept = await world.parts.sealed.of_device(whole.town, whole.device)
    places = [(one.from_seq, one.to_seq, one.reviewed, one.problem) for one in kept]
    assert places == [(1, 3, 3, None), (3, 3, 1, None)]


async def test_who_is_not_revoked_or_not_known_finds_nothing_here(world: ApiWorld) -> None:
    device = await world.device()
    bundle = bundle_of(device)

    active = await hand_in(device, bundle, boxed(world, bundle))
    unknown = await hand_in(device, replace(bundle, device=NOWHERE), boxed(world, bundle))
    elsewhere = await hand_in(device, replace(bundle, town=NOWHERE), boxed(world, bundle))

    assert [answer.status_code for answer in (active, unknown, elsewhere)] == [404, 404, 404]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"sig": "A" * 86}, 409),
        ({"to_seq": 3}, 409),
        ({"box": "A" * 43}, 409),
        ({"head": "short"}, 400),
        ({"more": 1}, 400),
    ],
)
async def test_a_claim_that_the_device_has_not_signed_like_this_is_refused(
    world: ApiWorld, changes: dict[str, object], status: int
) -> None:
    device = await revoked(world)
    bundle = bundle_of(device)

    answer = await hand_in(device, bundle, boxed(world, bundle), changes)

    assert answer.status_code == status
    assert world.parts.sealed is not None
    assert list(await world.parts.sealed.of_device(bundle.town, bundle.device)) == []


async def test_what_cannot_be_opened_is_kept_as_evidence_and_signed_for(world: ApiWorld) -> None:
    device = await revoked(world)
    bundle = bundle_of(device)

    answer = await hand_in(device, bundle, b"sealed for somebody else")

    assert answer.status_code == 200
    assert world.parts.sealed is not None
    [kept] = await world.parts.sealed.of_device(bundle.town, bundle.device)
    assert (kept.reviewed, (kept.problem or "").partition(":")[0]) == (0, "rescue_unreadable")


async def problem_of(world: ApiWorld, device: Knocker) -> str:
    """The code of what was wrong with all that the device has handed in."""
    assert world.parts.sealed is not None
    [kept] = await world.parts.sealed.of_device(device.town_id, device.answer.device_id)
    assert kept.reviewed == 0
    return (kept.problem or "").partition(":")[0]


async def test_a_box_with_the_lines_of_another_device_stays_closed_evidence(world: ApiWorld) -> None:
    other, device = await world.device(), await revoked(world)
    theirs, own = bundle_of(other), bundle_of(device)

    answer = await hand_in(device, own, boxed(world, theirs))

    assert (answer.status_code, await problem_of(world, device)) == (200, "rescue_forged")
    welcome = orjson.loads((await other.exchange(*theirs.lines)).content.splitlines()[0])
    assert welcome["acked"] == 2  # by itself, and not before
    async with world.parts.towns.reading(world.town_id) as reader:
        handed_in = await reader.device(device.answer.device_id)
    assert handed_in is not None
    assert handed_in.head.seq == 0


async def test_a_box_that_inflates_to_more_than_a_request_may_is_not_read(world: ApiWorld) -> None:
    device = await revoked(world)
    bundle = bundle_of(device)
    key = sealing_key_of(world.parts.signer.published[-1])
    assert key is not None
    bomb = zlib.compress(zlib.decompress(pack(bundle)) + b"\n" * limits.BODY_BYTES_MAX)

    answer = await hand_in(device, bundle, seal(bomb, key, purpose=PURPOSE, ephemeral=world.system.random(32)))

    assert (answer.status_code, await problem_of(world, device)) == (200, "rescue_unreadable")


async def test_a_box_with_more_change_sets_than_a_request_may_have_is_not_checked_line_by_line(
    world: ApiWorld,
) -> None:
    device = await revoked(world)
    count = limits.CHANGE_SETS_MAX + 1
    many = replace(bundle_of(device, 1), lines=[b"{}"] * count, signatures=("A" * 86,) * count)

    answer = await hand_in(device, many, boxed(world, many))

    assert (answer.status_code, await problem_of(world, device)) == (200, "limit_exceeded")


async def test_what_a_revoked_device_hands_in_is_counted_once_it_has_proven_itself(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=RateLimits(Rates(device_per_minute=1))) as world:
        device = await revoked(world)
        bundle = bundle_of(device)
        forged = [await hand_in(device, bundle, b"x", {"sig": "A" * 86}) for _ in range(3)]

        answers = [await hand_in(device, bundle, b"x") for _ in range(2)]

    assert [answer.status_code for answer in (*forged, *answers)] == [409, 409, 409, 200, 429]


async def test_too_much_at_once_and_too_much_in_all_is_refused(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await revoked(world)
    large = await hand_in(device, bundle_of(device, 1), bytes(limits.SEALED_BYTES_MAX))
    monkeypatch.setattr("server.adapters.postgres.sealed.SEALED_UPLOADS_MAX", 2)

    answers = [await hand_in(device, bundle, b"x") for bundle in (bundle_of(device, 1) for _ in range(3))]

    assert (large.status_code, [answer.status_code for answer in answers]) == (413, [200, 200, 413])


async def test_of_one_device_so_many_bytes_are_kept_and_the_same_again_is_answered_again(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, other = await revoked(world), await revoked(world)
    monkeypatch.setattr("server.adapters.postgres.sealed.SEALED_KEPT_BYTES_MAX", 250)
    first, second = bundle_of(device, 1), bundle_of(device, 1)

    answers = [
        await hand_in(device, bundle, bytes(size)) for bundle, size in ((first, 100), (second, 151), (first, 100))
    ]

    assert [answer.status_code for answer in answers] == [200, 413, 200]
    assert (await hand_in(other, bundle_of(other, 1), bytes(250))).status_code == 200


async def test_the_keys_are_there_for_whoever_asks_and_lead_to_the_newest(world: ApiWorld) -> None:
    device = await world.device()

    answer = await world.client.get("/v1/keys")

    published = KeysAnswer.model_validate_json(answer.content).keys
    pinned = {key.kid: key.public_key for key in device.answer.server_keys}
    assert (answer.status_code, follow(pinned, published).keys) == (200, pinned)
    assert sealing_key_of(device.answer.server_keys[0]) == sealing_key_of(published[-1])
