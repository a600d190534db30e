"""Heads for devices of before: nothing is signed anew that was not signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from server.adapters.memory import memory_signer
from server.application.ports import Unavailable
from server.application.queries.exchange_page import Page
from server.application.queries.older_heads import in_older_form
from sync.engine.chain import encode_bytes, is_signed, journal_message, older_journal_message, parse_public_key

TOWN = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d13"
EPOCH = "01970a6e-3c00-7a53-9d2e-5a1f6a3f6d15"
HASH = bytes(range(32))


async def pages(signature: str) -> AsyncIterator[Page]:
    head = {"version": 7, "hash": encode_bytes(HASH), "sig": signature}
    yield Page(lines=[b"{}", orjson.dumps({"t": "checkpoint", "epoch": EPOCH, "journal": head})], is_last=True)


async def told(signature: str) -> dict[str, Any]:
    """The head as a device of before hears it."""
    (page,) = [page async for page in in_older_form(pages(signature), TOWN, memory_signer())]
    head: dict[str, Any] = orjson.loads(page.lines[-1])["journal"]
    return head


@pytest.mark.parametrize("message", [journal_message(TOWN, EPOCH, 7, HASH), older_journal_message(TOWN, 7, HASH)])
async def test_a_head_that_is_signed_in_either_form_is_told_in_the_older_one(message: bytes) -> None:
    signer = memory_signer()
    head = await told(signer.sign(message))

    assert is_signed(parse_public_key(signer.public_key), head["sig"], older_journal_message(TOWN, 7, HASH))


async def test_a_head_that_nobody_of_ours_has_signed_is_told_to_nobody() -> None:
    with pytest.raises(Unavailable):
        await told(memory_signer(seed=2).sign(journal_message(TOWN, EPOCH, 7, HASH)))
