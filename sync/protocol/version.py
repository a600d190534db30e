"""The wire version and the hash that pins it, so that nobody changes the wire by accident.

When the test says that the schema hash has changed: if old clients still understand everything, add the next schema
number with its hash and a line on what changed; if not, raise `PROTOCOL` as well and keep serving the one before.
"""

from __future__ import annotations

import hashlib

import orjson

from sync.kernel.module import Registry
from sync.protocol import messages

PROTOCOL = 1
PROTOCOLS_SERVED = frozenset({1})
SCHEMA = 1

SCHEMA_HISTORY = {
    1: "first: identity, catalogue, commerce, cash",
}


def wire_schema_hash(registry: Registry) -> str:
    """SHA-256 over the JSON schemas of all messages and operations, and the fields of all entities."""
    schemas = [model.model_json_schema() for model in (*messages.UP, *messages.DOWN)]
    operations = {name: kind.model_json_schema() for name, kind in registry.operations.items()}
    entities = {entity.name: dict(entity.fields) for entity in registry.entities.values()}
    told = orjson.dumps([schemas, operations, entities], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()
