"""Identity (truth): the town, its people and its devices, and which buckets a device may hold.

Everything here needs the role admin, which no device has: the town's own server device alone writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from sync.kernel.authority import PERSONAL_ROLES
from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.clock import TIME_PATTERN
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Case, Entity, FieldKind, Module, ModuleKind, Ref
from sync.kernel.money import CurrencyCode, minor_digits
from sync.modules.town_settings import TownSettings

ROLES = ("admin", "dispatcher", "warehouse_staff", "driver", "counter_clerk", "school_office")
Role = Literal["admin", "dispatcher", "warehouse_staff", "driver", "counter_clerk", "school_office"]
DeviceRole = Literal["warehouse_staff", "driver", "counter_clerk", "school_office", "server"]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
ADMIN = frozenset({"admin"})
Moment = Annotated[str, StringConstraints(pattern=TIME_PATTERN)]

DEVICE_UNUSABLE = Case(
    id="people.device_needs", sentence="A {role} device needs a {missing} of this town.", is_refusal=True
)


def _user_projection(_bucket: str, row: Fields) -> Fields:
    return {name: row[name] for name in ("name", "roles", "is_active", "has_pin")}


def _pin_buckets(row: Fields) -> tuple[str, ...]:
    return tuple(f"driver:{row['user_id']}" if role == "driver" else f"staff:{role}" for role in row["roles"])


TOWN = Entity(
    name="town",
    plural="towns",
    fields={
        "name": FieldKind.TEXT,
        "currency": FieldKind.TEXT,
        "time_zone": FieldKind.TEXT,
        "settings": FieldKind.JSON,
    },
    bucket_kinds=frozenset({"town"}),
    buckets=lambda _row: ("town",),
)
USER = Entity(
    name="user",
    plural="users",
    fields={
        "name": FieldKind.TEXT,
        "login": FieldKind.TEXT,
        "roles": FieldKind.JSON,
        "is_active": FieldKind.BOOLEAN,
        "has_pin": FieldKind.BOOLEAN,
        "former_roles": FieldKind.JSON,
        "school_id": FieldKind.ID,
    },
    bucket_kinds=frozenset({"town"}),
    buckets=lambda _row: ("town",),
    project=_user_projection,
)
PIN = Entity(
    name="pin",
    plural="pins",
    fields={"user_id": FieldKind.ID, "roles": FieldKind.JSON, "hash": FieldKind.TEXT},
    bucket_kinds=frozenset({"driver", "staff"}),
    buckets=_pin_buckets,
)
DEVICE = Entity(
    name="device",
    plural="devices",
    fields={
        "name": FieldKind.TEXT,
        "role": FieldKind.TEXT,
        "user_id": FieldKind.ID,
        "warehouse_id": FieldKind.ID,
        "public_key": FieldKind.TEXT,
        "certificate": FieldKind.TEXT,
        "status": FieldKind.TEXT,
        "enrolled_at": FieldKind.TIME,
        "ended_at": FieldKind.TIME,
        "lost_at": FieldKind.TIME,
        "reason": FieldKind.TEXT,
        "school_id": FieldKind.ID,
    },
)

HELD_BUCKET_KINDS: Mapping[str, tuple[str, ...]] = {
    "driver": ("town", "driver", "device"),
    "warehouse_staff": ("town", "warehouse", "staff", "device"),
    "counter_clerk": ("town", "counter", "staff", "device"),
    "school_office": ("town", "school", "staff", "device"),
    "server": (),
}
"""Which kinds of bucket a device of each role holds. A row is in at most one bucket of these: a test holds that."""


def held_buckets(device_id: str, device: Fields, *, is_user_active: bool = True) -> tuple[str, ...]:
    """The buckets that this device may hold, by its role and what it is assigned to.

    Once its user may not work here any more, a driver's device has no business with customers' addresses.
    """
    names = {
        "town": "town",
        "device": f"device:{device_id}",
        "driver": f"driver:{device['user_id']}",
        "warehouse": f"warehouse:{device['warehouse_id']}",
        "counter": "counter",
        "school": f"school:{device.get('school_id')}",
        "staff": f"staff:{device['role']}",
    }
    kinds = HELD_BUCKET_KINDS[device["role"]]
    return tuple(names[kind] for kind in kinds if is_user_active or kind != "driver")


class FoundTown(Operation):
    """The town begins; its id is the town's id, and its server device is there from the first line."""

    op: ClassVar = "town.found"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset[str]()
    name: Name
    currency: CurrencyCode
    time_zone: Name
    settings: TownSettings = TownSettings()


class ChangeSettings(Operation):
    """The town decides otherwise; settings that are not named are the usual ones again."""

    op: ClassVar = "town.change_settings"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    settings: TownSettings


class AddUser(Operation):
    """A person may work in this town, maybe for one school; `pin_hash` is Argon2id, verified offline on devices."""

    op: ClassVar = "user.add"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    creates: ClassVar = "user"
    name: Name
    login: Name
    user_roles: Annotated[list[Role], Field(min_length=1, max_length=len(ROLES))]
    pin_hash: Annotated[str, StringConstraints(max_length=200)] | None = None
    school: Annotated[Id | None, Ref(entity="school")] = None


class ChangeRoles(Operation):
    """The person does other work here from now on, for that school alone if one is named."""

    op: ClassVar = "user.change_roles"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    user: Annotated[Id, Ref(entity="user")]
    user_roles: Annotated[list[Role], Field(min_length=1, max_length=len(ROLES))]
    school: Annotated[Id | None, Ref(entity="school")] = None

    def reads(self) -> Iterable[RowKey]:
        """The PIN beside the user."""
        return [("pin", self.user)]


class DeactivateUser(Operation):
    """The person may not work here any more."""

    op: ClassVar = "user.deactivate"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    user: Annotated[Id, Ref(entity="user")]

    def reads(self) -> Iterable[RowKey]:
        """The PIN beside the user."""
        return [("pin", self.user)]


class EnrolDevice(Operation):
    """A device has proven its key; its certificate is the beginning of its chain."""

    op: ClassVar = "device.enrol"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    creates: ClassVar = "device"
    name: Name
    role: DeviceRole
    user: Annotated[Id | None, Ref(entity="user")] = None
    warehouse: Annotated[Id | None, Ref(entity="warehouse")] = None
    school: Annotated[Id | None, Ref(entity="school")] = None
    public_key: str
    certificate: Annotated[str, StringConstraints(max_length=4000)]


class SuspendDevice(Operation):
    """Nothing of the device is applied until an admin decides."""

    op: ClassVar = "device.suspend"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    device: Annotated[Id, Ref(entity="device")]
    reason: Name


class RevokeDevice(Operation):
    """The device is out of use for ever; since `lost_at` it was in nobody's good hands, if that is known."""

    op: ClassVar = "device.revoke"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    device: Annotated[Id, Ref(entity="device")]
    reason: Name
    lost_at: Moment | None = None


def can_hold_device(user: Fields | None, role: str) -> bool:
    """Whether a device of this role may be given to the user: somebody who works here in this role."""
    return user is not None and user["is_active"] and role in user["roles"]


def found_town(operation: FoundTown, draft: Draft) -> None:
    """The town's row."""
    minor_digits(operation.currency)
    fields = operation.model_dump(include={"name", "currency", "time_zone"})
    draft.create("town", draft.change_set.town, {**fields, "settings": operation.settings.as_row()})


def change_settings(operation: ChangeSettings, draft: Draft) -> None:
    """The settings as a whole, so that two admins cannot mix theirs."""
    draft.update("town", draft.change_set.town, settings=operation.settings.as_row())


def add_user(operation: AddUser, draft: Draft) -> None:
    """The user's row, and beside it the PIN, which only the devices that need it hold."""
    roles = list(dict.fromkeys(operation.user_roles))
    if operation.school is not None:
        draft.need("school", operation.school)
    told = {"name": operation.name, "login": operation.login, "roles": roles, "school_id": operation.school}
    row = {**told, "is_active": True, "has_pin": bool(operation.pin_hash), "former_roles": []}
    draft.create("user", operation.id, row)
    if operation.pin_hash:
        pin = {"user_id": operation.id, "roles": roles, "hash": operation.pin_hash}
        draft.put("pin", operation.id, pin)


def change_roles(operation: ChangeRoles, draft: Draft) -> None:
    """What the user records in a role that was taken away is judged by `people.actor_inactive`."""
    user = draft.need("user", operation.user)
    if operation.school is not None:
        draft.need("school", operation.school)
    roles = list(dict.fromkeys(operation.user_roles))
    former = [role for role in ROLES if role in {*user["roles"], *user["former_roles"]} and role not in roles]
    draft.update("user", operation.user, roles=roles, former_roles=former, school_id=operation.school)
    if user["is_active"] and draft.get("pin", operation.user):
        draft.update("pin", operation.user, roles=roles)


def deactivate_user(operation: DeactivateUser, draft: Draft) -> None:
    """What the user records from now on is judged by `people.actor_inactive`; the PIN opens no device any more."""
    draft.update("user", operation.user, is_active=False)
    if draft.get("pin", operation.user):
        draft.update("pin", operation.user, roles=[])


def enrol_device(operation: EnrolDevice, draft: Draft) -> None:
    """The device's row; a driver's device belongs to a driver, a warehouse's tablet or a school's to its place."""
    if operation.role == "warehouse_staff" and operation.warehouse is None:
        raise draft.refuse(DEVICE_UNUSABLE, role="warehouse_staff", missing="warehouse")
    if operation.role == "school_office" and operation.school is None:
        raise draft.refuse(DEVICE_UNUSABLE, role="school_office", missing="school")
    user = draft.need("user", operation.user) if operation.user is not None else None
    is_for_somebody = operation.role in PERSONAL_ROLES or user is not None
    if is_for_somebody and not can_hold_device(user, operation.role):
        raise draft.refuse(DEVICE_UNUSABLE, role=operation.role, missing=operation.role)
    if operation.warehouse is not None:
        draft.need("warehouse", operation.warehouse)
    if operation.school is not None:
        draft.need("school", operation.school)
    row = {
        "name": operation.name,
        "role": operation.role,
        "user_id": operation.user,
        "warehouse_id": operation.warehouse,
        "public_key": operation.public_key,
        "certificate": operation.certificate,
        "status": "active",
        "enrolled_at": draft.context.decided_at,
        "ended_at": None,
        "lost_at": None,
        "reason": None,
        "school_id": operation.school,
    }
    draft.create("device", operation.id, row)


def suspend_device(operation: SuspendDevice, draft: Draft) -> None:
    """A revoked device stays revoked."""
    _end_device(draft, operation.device, "suspended", operation.reason)


def revoke_device(operation: RevokeDevice, draft: Draft) -> None:
    """From now on the server answers this device with `device_revoked`; when it was lost may be said later on."""
    _end_device(draft, operation.device, "revoked", operation.reason)
    if operation.lost_at is not None:
        draft.update("device", operation.device, lost_at=min(operation.lost_at, draft.context.decided_at))


def _end_device(draft: Draft, device_id: str, status: str, reason: str) -> None:
    if draft.need("device", device_id)["status"] != "revoked":
        draft.update("device", device_id, status=status, reason=reason, ended_at=draft.context.decided_at)


MODULE = Module(
    name="identity",
    kind=ModuleKind.TRUTH,
    needs=frozenset({"casework"}),
    entities=(TOWN, USER, PIN, DEVICE),
    operations=(
        FoundTown,
        ChangeSettings,
        AddUser,
        ChangeRoles,
        DeactivateUser,
        EnrolDevice,
        SuspendDevice,
        RevokeDevice,
    ),
    rules={
        FoundTown: found_town,
        ChangeSettings: change_settings,
        AddUser: add_user,
        ChangeRoles: change_roles,
        DeactivateUser: deactivate_user,
        EnrolDevice: enrol_device,
        SuspendDevice: suspend_device,
        RevokeDevice: revoke_device,
    },
    cases=(DEVICE_UNUSABLE,),
)
