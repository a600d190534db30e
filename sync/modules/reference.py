"""The reference pages that follow from the declarations of the modules, as Markdown.

Pure text; `docs/generate.py` writes the files, and a test holds them against these functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sync.kernel.changeset import Operation
from sync.kernel.module import Case, Entity, Module, Registry

_MADE = "Generated from the declarations in `sync/`; do not edit, run `make docs`."


def decisions_page(registry: Registry) -> str:
    """`decisions.md`: every case of every module, what it says and what it leaves."""
    intro = (
        "What is decided when something does not fit. `refuses`: the whole change set has no effect; otherwise it "
        "stands, adjusted. A conflict is a permanent record, a task is what somebody has to do."
    )
    header = ("id", "sentence", "conflict", "task", "refuses")
    return _page("Decisions", intro, registry, header, lambda module: [_case(case) for case in module.cases])


def operations_page(registry: Registry) -> str:
    """`operations.md`: every operation, what it claims, who may say it, and its fields."""
    intro = (
        "What people and devices may say. A fact is never refused for a business reason, a wish may be. Every "
        "operation also has an `id`. A field with `?` may be left out."
    )
    header = ("operation", "meaning", "intent", "roles", "fields")

    def rows(module: Module) -> list[Sequence[str]]:
        return [_operation(kind, registry) for kind in module.operations]

    return _page("Operations", intro, registry, header, rows)


def permissions_page(registry: Registry, roles: Sequence[str]) -> str:
    """`permissions.md`: every operation and every role, a cell each."""
    intro = (
        "Who may do what. In the office a person may do what one of their roles may. On a device only what the "
        "device's own role may is permitted, whoever acts, and devices have the roles `warehouse_staff`, `driver`, "
        "`counter_clerk` and `school_office`: "
        "anything else is kept when it has happened already and leaves a conflict, and is refused when it is asked "
        "for. Where no role may, the town itself does it."
    )

    def rows(module: Module) -> list[Sequence[str]]:
        return [
            (f"`{kind.op}`", *("yes" if registry.permits(role, kind.op) else "" for role in roles))
            for kind in module.operations
        ]

    return _page("Permissions", intro, registry, ("operation", *(f"`{role}`" for role in roles)), rows)


def entities_page(registry: Registry) -> str:
    """`entities.md`: every entity, its view on a device, its fields, and the kinds of bucket it may be in."""
    intro = (
        "What there is. Each entity is a table on the server and a view on a device, with `id` and `version` beside "
        "its fields. Without a bucket, no device holds it."
    )
    header = ("entity", "view", "fields", "buckets")
    return _page("Entities", intro, registry, header, lambda module: [_entity(entity) for entity in module.entities])


def _page(title: str, intro: str, registry: Registry, header: Sequence[str], rows: Any) -> str:
    parts = [f"# {title}", _MADE, intro]
    for module in registry.modules:
        table = rows(module)
        if table:
            parts += [f"## {module.name} ({module.kind.value})", _table(header, table)]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") or "-" for cell in line) + " |" for line in lines)


def _case(case: Case) -> Sequence[str]:
    conflict = f"`{case.conflict}`" if case.conflict else ""
    return f"`{case.id}`", case.sentence, conflict, case.task or "", "yes" if case.is_refusal else ""


def _operation(kind: type[Operation], registry: Registry) -> Sequence[str]:
    intent = kind.intent.value
    if kind.offline_intent:
        intent += f"; {kind.offline_intent.value} from a device"
    roles = ", ".join(sorted(kind.roles)) or "the server alone"
    return f"`{kind.op}`", " ".join((kind.__doc__ or "").split()), intent, roles, ", ".join(_fields(kind, registry))


def _fields(kind: type[Operation], registry: Registry) -> Iterable[str]:
    schema = kind.model_json_schema()
    points_to = dict(registry.references[kind.op])
    for name, said in schema["properties"].items():
        if name == "id":
            continue
        optional = "" if name in schema.get("required", ()) else "?"
        what = f"id of {points_to[name]}" if name in points_to else _type(said)
        yield f"`{name}`{optional} {what}"


def _type(said: dict[str, Any]) -> str:
    if "anyOf" in said:
        return " or ".join(_type(part) for part in said["anyOf"] if part.get("type") != "null")
    if "$ref" in said:
        return str(said["$ref"]).rpartition("/")[2]
    values = said.get("enum") or ([said["const"]] if "const" in said else [])
    if values:
        return " or ".join(f"`{value}`" for value in values)
    if said["type"] == "array":
        return f"list of {_type(said['items'])}"
    return str(said["type"])


def _entity(entity: Entity) -> Sequence[str]:
    fields = ", ".join(f"`{name}` {kind.value}" for name, kind in entity.fields.items())
    buckets = ", ".join(f"`{kind}`" for kind in sorted(entity.bucket_kinds))
    return f"`{entity.name}`", f"`{entity.plural}`", fields, buckets
