"""Devices that are enrolled in the middle of the day: a code from the office, a key of their own, a certificate.

Whoever does not hear the answer asks again with the same key, and with a new code where the old one is not known any
more. What is enrolled has nothing yet: it syncs from the beginning, perhaps by a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk.application.enrol import enrol_device
from client_sdk.errors import Offline, ServerProblem
from server.application.commands.enrol_device import make_enrolment
from server.application.ports import Unavailable
from server.domain.access import DeviceCaller
from sync.kernel.errors import TallystickError
from tests.simulation.device import Device, Saved
from tests.simulation.server import PUBLIC_URL, Process
from tests.simulation.staff import Clerk
from tests.simulation.stage import enrolled_state
from tests.simulation.wire import Wire

if TYPE_CHECKING:
    from client_sdk.application.ports import Identity
    from tests.simulation.stage import StagedTown
    from tests.simulation.world import World

NEWCOMER_SHARE = 0.12
"""Towns in which a device is enrolled during the day."""

DAY_SHARE = 0.6
TRIES_MAX = 8
RETRY_SECONDS = (1.0, 600.0)
KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Post:
    """What the new device is for."""

    role: str
    users: tuple[str, ...]
    user: str | None = None
    warehouse: str | None = None


class Newcomer:
    """One machine on its way to become a device."""

    def __init__(self, world: World, town: StagedTown) -> None:
        self._world = world
        self._town = town
        self._name = f"late {town.name}"
        self._random = world.random(f"newcomer {town.id}")
        self._actor = world.actors.start(self._live)

    @property
    def is_over(self) -> bool:
        """Whether it is a device, or will not be one."""
        return self._actor.is_over

    def _live(self) -> None:
        world = self._world
        if self._random.random() > NEWCOMER_SHARE:
            return
        world.actors.pause(self._random.uniform(0, world.options.hours * 3600 * DAY_SHARE))
        post = self._post()
        identity = self._enrolled(post)
        if identity is None or world.is_healing:
            return
        world.sometimes("a device is enrolled during the day")
        world.note(f"{self._name} is {identity.role} {identity.device_id}")
        device = Device(world, self._name, identity, Saved(state=enrolled_state(identity)))
        world.settle_in(self._town, device, post.users, warehouse=post.warehouse or "", school="")

    def _post(self) -> _Post:
        town, random = self._town, self._random
        driver = random.choice(town.drivers)
        posts = [
            _Post(role="driver", users=(driver,), user=driver),
            _Post(role="warehouse_staff", users=town.staff, warehouse=random.choice(town.warehouses)),
        ]
        if town.clerks:
            posts.append(_Post(role="counter_clerk", users=town.clerks))
        return random.choice(posts)

    def _enrolled(self, post: _Post) -> Identity | None:
        """Who it is from now on; None when it is not let in, or the day is over."""
        world, key = self._world, Ed25519PrivateKey.from_private_bytes(self._random.randbytes(KEY_BYTES))
        nobody = DeviceCaller(device_id="", town_id=self._town.id, role=post.role)
        wire = Wire(world, self._name, nobody)
        code = ""
        for _ in range(TRIES_MAX):
            if world.is_healing:
                return None
            try:
                code = code or self._code(post)
                return enrol_device(wire, server_url=PUBLIC_URL, code=code, key=key, name=self._name)
            except Offline:
                world.sometimes("an enrolment is asked for again")
            except ServerProblem as problem:
                world.note(f"{self._name} hears {problem.code}")
                code = "" if problem.code == "enrolment_refused" else code
            except Unavailable:
                pass
            except TallystickError as fault:  # whoever it is for does not work here any more
                world.note(f"{self._name} gets no code: {fault.code}")
                return None
            world.actors.pause(self._random.uniform(*RETRY_SECONDS))
        return None

    def _code(self, post: _Post) -> str:
        def made(process: Process) -> Any:
            return make_enrolment(
                town_id=self._town.id,
                role=post.role,
                user_id=post.user,
                warehouse_id=post.warehouse,
                enrolments=process.enrolments,
                towns=process.towns,
                system=process.system,
            )

        code, _ = Clerk.ask(self._world, made)
        return str(code)
