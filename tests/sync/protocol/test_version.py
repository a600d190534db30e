"""Nobody changes the wire by accident: its schema is pinned by a hash with its history beside the number."""

from __future__ import annotations

import dataclasses
import re

from sync.kernel.module import FieldKind, Registry
from sync.modules import registry
from sync.protocol.version import PROTOCOL, PROTOCOLS_SERVED, SCHEMA, SCHEMA_HISTORY, wire_schema_hash


def test_the_wire_is_the_one_that_is_pinned() -> None:
    pinned, _ = SCHEMA_HISTORY[SCHEMA]

    assert wire_schema_hash(registry()) == pinned, (
        "the wire has changed: read the docstring of sync/protocol/version.py"
    )


def test_the_history_is_dense_and_says_what_changed() -> None:
    assert list(SCHEMA_HISTORY) == list(range(1, SCHEMA + 1))
    assert all(re.fullmatch("[0-9a-f]{64}", pinned) and what for pinned, what in SCHEMA_HISTORY.values())
    assert len({pinned for pinned, _ in SCHEMA_HISTORY.values()}) == SCHEMA


def test_the_own_protocol_is_served() -> None:
    assert PROTOCOL in PROTOCOLS_SERVED


def test_another_field_or_a_missing_operation_is_another_wire() -> None:
    first, *others = registry().modules[1:]
    entity = first.entities[0]
    changed = dataclasses.replace(entity, fields={**entity.fields, "more": FieldKind.TEXT})
    modules = [registry().modules[0], dataclasses.replace(first, entities=(changed, *first.entities[1:])), *others]

    assert wire_schema_hash(Registry(modules)) != wire_schema_hash(registry())
    assert wire_schema_hash(Registry(registry().modules[:-1])) != wire_schema_hash(registry())
