"""Journal heads for devices of before: signed in the form that they know, which does not name the epoch.

Ed25519 is deterministic, so a head has one signature in each form, whoever asks and how often. What such a device shows
later as its witness is believed as far as `server.application.histories` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import structlog

from server.application.ports import Signer, Unavailable
from server.application.queries.exchange_page import Page
from sync.engine.chain import HASH_BYTES, decode_bytes, is_journal_signed, older_journal_message, parse_public_key

_log = structlog.stdlib.get_logger(__name__)


async def in_older_form(pages: AsyncIterator[Page], town_id: str, signer: Signer) -> AsyncIterator[Page]:
    """The same pages, each checkpoint with the older signature over its journal head.

    Only what is signed already is signed again: an altered journal must not get a genuine signature here. Raises
    `Unavailable` for a head that none of our keys has signed.
    """
    keys = [parse_public_key(key) for key in (signer.public_key, *signer.older_keys)]
    async for page in pages:
        *lines, last = page.lines
        checkpoint = orjson.loads(last)
        head = checkpoint["journal"]
        version, digest = head["version"], decode_bytes(head["hash"], HASH_BYTES)
        if not is_journal_signed(
            keys, head["sig"], town=town_id, epoch=checkpoint["epoch"], version=version, digest=digest
        ):
            _log.error("journal_head_not_signed", town_id=town_id, version=version, remedy="tallystick verify")
            raise Unavailable
        head["sig"] = signer.sign(older_journal_message(town_id, version, digest))
        yield replace(page, lines=[*lines, orjson.dumps(checkpoint)])
