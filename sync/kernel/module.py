"""The `Module` contract: how entities, operations, rules and cases are declared, and the registry that joins them.

A registry is built once at start; it refuses declarations that contradict each other, so the engine can trust it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sync.kernel.changeset import Fields, Intent, Operation
from sync.kernel.errors import InvalidModule, UnknownOperation

if TYPE_CHECKING:
    from sync.kernel.draft import Draft

Rule = Callable[[Any, "Draft"], None]
"""Decides one operation on a draft: reads through it, writes to it, or raises `Refused`. Pure."""


class ModuleKind(StrEnum):
    """Reference data that others rely on, or business that moves through states."""

    TRUTH = "truth"
    WORKFLOW = "workflow"


class FieldKind(StrEnum):
    """The type of a field, mapped to a column by each store."""

    ID = "id"
    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TIME = "time"
    JSON = "json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    """Marks an id field of an operation as pointing to a row, so that it is loaded before the rule runs."""

    entity: str


def no_buckets(_fields: Fields) -> tuple[str, ...]:
    """For rows that no device holds."""
    return ()


def whole_row(_bucket: str, fields: Fields) -> Fields:
    """The projection that hides nothing."""
    return fields


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """An aggregate: one row in its table, one row in the feed of each of its buckets.

    `fields` leaves out town_id, id and version, which every entity has. `buckets` and `project` are pure functions
    of the row; `bucket_kinds` are the parts before the colon that `buckets` may return. `is_awaited`: a device may
    report about a row of it before the row itself has come; such facts wait on a stub.
    """

    name: str
    plural: str
    fields: Mapping[str, FieldKind]
    bucket_kinds: frozenset[str] = frozenset()
    buckets: Callable[[Fields], tuple[str, ...]] = no_buckets
    project: Callable[[str, Fields], Fields] = whole_row
    is_append_only: bool = False
    is_awaited: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of the decision tables: a rule id, the sentence for the user, and what it leaves behind.

    `sentence` and `task` are templates over the data given when the case arises. `is_refusal` says that the whole
    change set is refused; otherwise the case adjusts it. `conflict` is the kind of the conflict record, if any.
    """

    id: str
    sentence: str
    conflict: str | None = None
    task: str | None = None
    is_refusal: bool = False

    def explain(self, data: Mapping[str, Any]) -> str:
        """The sentence with its data filled in."""
        return self.sentence.format_map(data)

    def placeholders(self) -> frozenset[str]:
        """The names that the sentence and the task need."""
        parts = string.Formatter().parse(self.sentence + (self.task or ""))
        return frozenset(name for _, name, _, _ in parts if name)


Law = Callable[["Draft"], None]
"""Looks at what the rules have made of a whole change set, and raises when that cannot be: a fault in a rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Module:
    """Everything one part of the business adds to the agreement."""

    name: str
    kind: ModuleKind
    needs: frozenset[str] = frozenset()
    entities: tuple[Entity, ...] = ()
    operations: tuple[type[Operation], ...] = ()
    rules: Mapping[type[Operation], Rule | tuple[Rule, ...]] = field(default_factory=dict)
    """One rule for an operation, or several that are asked in turn and may wait for different rows."""
    cases: tuple[Case, ...] = ()
    laws: tuple[Law, ...] = ()


class Registry:
    """All modules of an installation, checked against each other and indexed by name."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.modules = tuple(modules)
        self.entities: dict[str, Entity] = {}
        self.operations: dict[str, type[Operation]] = {}
        self.rules: dict[str, tuple[Rule, ...]] = {}
        self.cases: dict[str, Case] = {}
        self.references: dict[str, tuple[tuple[str, str], ...]] = {}
        self.laws = tuple(law for module in self.modules for law in module.laws)
        known: set[str] = set()
        for module in self.modules:
            if missing := module.needs - known:
                raise InvalidModule(f"module {module.name} needs {sorted(missing)} before it")
            known.add(module.name)
            self._add(module)
        for name in self.operations:
            if not self.rules.get(name):
                raise InvalidModule(f"operation {name} has no rule")

    def operation(self, name: str) -> type[Operation]:
        """The class of an operation; raise `UnknownOperation`."""
        try:
            return self.operations[name]
        except KeyError:
            raise UnknownOperation from None

    def permits(self, role: str, name: str) -> bool:
        """Whether `role` may do the operation `name`."""
        return role in self.operations[name].roles

    def permits_any(self, roles: Iterable[str], name: str) -> bool:
        """Whether somebody with these roles may do the operation `name`."""
        return not self.operations[name].roles.isdisjoint(roles)

    def _add(self, module: Module) -> None:
        for entity in module.entities:
            _put_once(self.entities, entity.name, entity, module)
        for operation in module.operations:
            _put_once(self.operations, operation.op, operation, module)
            self.references[operation.op] = _references(operation)
        for case in module.cases:
            _put_once(self.cases, case.id, case, module)
        for operation, rule in module.rules.items():
            if self.operations.get(operation.op) is not operation:
                raise InvalidModule(f"module {module.name} has a rule for {operation.op}, which is not registered")
            added = rule if isinstance(rule, tuple) else (rule,)
            self.rules[operation.op] = (*self.rules.get(operation.op, ()), *added)


def _put_once(index: dict[str, Any], name: str, value: object, module: Module) -> None:
    if name in index:
        raise InvalidModule(f"module {module.name} declares {name} a second time")
    index[name] = value


def _references(operation: type[Operation]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, mark.entity)
        for name, info in operation.model_fields.items()
        for mark in info.metadata
        if isinstance(mark, Ref)
    )


__all__ = [
    "Case",
    "Entity",
    "FieldKind",
    "Intent",
    "Law",
    "Module",
    "ModuleKind",
    "Ref",
    "Registry",
    "Rule",
    "no_buckets",
    "whole_row",
]
