"""Journal heads for devices of before: signed in the form that they know, which does not name the epoch.

Ed25519 is deterministic, so a head has one signature in each form, whoever asks and how often. What such a device shows
later as its witness is believed as far as `server.application.histories` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson

from server.application.ports import Signer
from server.application.queries.exchange_page import Page
from sync.engine.chain import HASH_BYTES, decode_bytes, older_journal_message


async def in_older_form(pages: AsyncIterator[Page], town_id: str, signer: Signer) -> AsyncIterator[Page]:
    """The same pages, each checkpoint with the older signature over its journal head."""
    async for page in pages:
        *lines, last = page.lines
        checkpoint = orjson.loads(last)
        head = checkpoint["journal"]
        message = older_journal_message(town_id, head["version"], decode_bytes(head["hash"], HASH_BYTES))
        head["sig"] = signer.sign(message)
        yield replace(page, lines=[*lines, orjson.dumps(checkpoint)])
