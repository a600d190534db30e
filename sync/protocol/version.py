"""The wire version and the hash that pins it, so that nobody changes the wire by accident.

When the test says that the schema hash has changed: if old clients still understand everything, add the next schema
number with its hash and a line on what changed; if not, raise `PROTOCOL` as well and keep serving the one before.
On the commit before, `python -m tests.support.record_release tests/faults/golden` keeps a tape of what ends there.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from sync.kernel.module import Registry
from sync.protocol import messages

PROTOCOL = 1
PROTOCOLS_SERVED = frozenset({1})
SCHEMA = 5

EPOCH_IN_HEADS_SCHEMA = 3
"""From this schema on a device knows journal heads that are signed with their epoch; others get the older form."""

SIGNED_FORMS = {
    "head": 1,
    "journal": 2,
    "lease": 1,
    "epoch": 1,
    "enrol": 1,
    "server-key": 1,
    "wipe": 1,
    "sealed-lines": 1,
    "sealed-receipt": 1,
}
"""What is signed begins with `tallystick/<name>/<number>`; the golden files hold each."""

SCHEMA_HISTORY = {
    1: (
        "dddd851e6a579134055ba29b94f49bf7abdf480850dbaaaa05d301ed033ffc78",
        "first: identity, catalogue, commerce, cash",
    ),
    2: (
        "e02095e2975c454827b67076a87ec985b53532c1dff8222c6722840a45cb5f2e",
        "resolutions, tasks closed, stubs, corrections, roles, leases; what else came with migrations 0003 to 0006",
    ),
    3: (
        "db8b5fa9051dadaa7ff015c26121c876cc381a3fab5f721316e12011e96fd784",
        "a journal head is signed with its epoch; billing in full, with the ledger and numbers of receipts",
    ),
    4: (
        "d637385da200731b45397b0c0523517dfa23b8d3e28b2c3bff7c24e14d1f74d0",
        "somebody may work for one school; payments by card online",
    ),
    5: (
        "21fbf09f202ea684926fc00cbd2302f0a969a14b6941f2dfe3f89927ebf89564",
        "transfers to the bank; what providers pay out",
    ),
}
"""By number: the hash of the schema and what it brought."""


def wire_schema_hash(registry: Registry) -> str:
    """SHA-256 over the JSON schemas of all messages and operations, the fields of all entities, what is signed."""
    schemas = [_bare(model.model_json_schema()) for model in (*messages.UP, *messages.DOWN)]
    operations = {name: _bare(kind.model_json_schema()) for name, kind in registry.operations.items()}
    entities = {entity.name: dict(entity.fields) for entity in registry.entities.values()}
    told = orjson.dumps([schemas, operations, entities, SIGNED_FORMS], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()


def _bare(schema: Any) -> Any:
    """A JSON schema without the words for readers: a better docstring is no other wire."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name for name in ("title", "description") if isinstance(schema.get(name), str)}
    return {name: _bare(part) for name, part in schema.items() if name not in words}
