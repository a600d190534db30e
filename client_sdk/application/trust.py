"""Following the server to its newest key: asked for when an answer is signed by one that this replica does not know.

However many rotations a device has slept through, each key names the one before it, so it follows all of them at once.
"""

from __future__ import annotations

from contextlib import suppress

from client_sdk.application.courier import Courier
from client_sdk.application.ports import Store, Transport
from client_sdk.errors import BadAnswer, Offline, ServerProblem
from sync.engine.chain import is_signed, parse_public_key
from sync.engine.keyring import follow


def follow_keys(store: Store, transport: Transport) -> bool:
    """Ask for the server's keys and keep what follows from those trusted already; whether anything was new.

    Raises `KeyForged` when the server's keys do not follow from any that is trusted, and as `transport` does.
    """
    if not isinstance(transport, Courier):
        return False
    identity = store.identity()
    heard = follow(identity.server_keys, transport.keys().keys)
    if (dict(heard.keys), heard.sealing_key) == (dict(identity.server_keys), identity.sealing_key):
        return False
    store.trust(heard.keys, heard.sealing_key)
    return True


def learn_sealing_key(store: Store, transport: Transport) -> None:
    """See to it that a replica of before knows for whom to seal; what stands in the way is tried again next time."""
    if store.identity().sealing_key is None:
        with suppress(Offline, ServerProblem, BadAnswer):
            follow_keys(store, transport)


def is_by_server(store: Store, transport: Transport, *, kid: str, signature: str, message: bytes) -> bool:
    """Whether the server's key `kid` has signed this; a key that is not known yet is asked for first."""
    if kid not in store.identity().server_keys:
        follow_keys(store, transport)
    key = store.identity().server_keys.get(kid)
    return key is not None and is_signed(parse_public_key(key), signature, message)
