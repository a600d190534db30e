"""Whose device this is: who may act on it. The same question on the server, in a device's guess, and before a PIN.

A device's signature proves which device wrote a line, and nothing proves who held it; so nobody can be more on a device
than the device is.
"""

from __future__ import annotations

from sync.kernel.changeset import Fields

PERSONAL_ROLES = frozenset({"driver"})
"""A device of these roles is one person's own; any other is shared by everybody who has its role."""


def is_device_of(actor_id: str, actor: Fields, device: Fields) -> bool:
    """Whether `device` (role, user_id) is one that `actor` (roles) may act on."""
    if device["role"] in PERSONAL_ROLES and device["user_id"] != actor_id:
        return False
    return device["role"] in actor["roles"]
