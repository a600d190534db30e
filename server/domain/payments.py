"""What we are called by at a payment provider: one reference for one intent for ever, and a door for each payment."""

from __future__ import annotations

from uuid import UUID

from sync.kernel.ids import derived_id

CALLBACK_PURPOSE = "payment callbacks"
"""What the secrets in callback paths are made for, from the server's keys."""


CARD_WEBHOOK_PATH = "/v1/webhooks/card"
"""Where the provider of cards calls: one address for all towns, opened by its signature."""


def provider_reference(intent_id: str) -> str:
    """The reference under which a provider knows a payment or a refund of ours; a UUID of version 4, as it wants."""
    return str(UUID(derived_id("provider reference", intent_id), version=4))


def callback_path(town_id: str, code: str) -> str:
    """Where the provider may call about the payment that `code` opens (`server.domain.tracking`)."""
    return f"/v1/webhooks/momo/{town_id}/{code}"
