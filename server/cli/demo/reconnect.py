"""Everybody comes back in the worst order: an answer is lost, a server and a device are killed; then they try again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from server.cli.demo import script, telephone
from server.cli.demo.apps import Device
from server.cli.demo.day import Crew
from server.cli.demo.device_process import run_until_killed
from server.cli.demo.stage import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a device and the journal stood at one moment, in change sets."""

    in_journal: int
    unanswered: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A device tries to come back, and something happens. `before` and `then` are as it was and right after.

    `shall_commit` and `shall_answer` say what gets through when the accident is the one that is told.
    """

    device: str
    accident: str
    shall_commit: bool
    shall_answer: bool
    before: Standing
    then: Standing

    @property
    def is_as_told(self) -> bool:
        """Whether the accident did what the story says: each part went through whole or not at all."""
        sent = self.before.unanswered
        return sent > 0 and (self.arrived, self.answered) == (sent * self.shall_commit, sent * self.shall_answer)

    @property
    def arrived(self) -> int:
        """What the journal got."""
        return self.then.in_journal - self.before.in_journal

    @property
    def answered(self) -> int:
        """What the device got an answer for."""
        return self.before.unanswered - self.then.unanswered


@dataclass(frozen=True, kw_only=True, slots=True)
class Return:
    """A device that is back; `recorded` is the demo's own count of all that it ever recorded."""

    arrival: Arrival
    recorded: int
    after: Standing

    @property
    def lost(self) -> int:
        """Recorded, and not in the journal."""
        return max(0, self.recorded - self.after.in_journal)

    @property
    def doubled(self) -> int:
        """In the journal beyond what was recorded."""
        return max(0, self.after.in_journal - self.recorded)


def arrivals(stage: Stage, crew: Crew) -> Iterator[Arrival]:
    """The first attempts, one after the other: Sam, Kim and Alex lose something on the way, the others just come."""
    sam, kim, alex, jo = crew.sam.device, crew.kim.device, crew.alex.device, crew.jo.device

    before = _standing(stage, sam)
    stage.restore_network(dying_at="apply.after_commit")
    stage.try_to_sync(sam)
    yield _arrival(stage, sam, before, "the server dies after COMMIT", commits=True, answers=False)

    before = _standing(stage, kim)
    stage.restore_network(dying_at="apply.before_commit")
    stage.try_to_sync(kim)
    yield _arrival(stage, kim, before, "the server dies before COMMIT", commits=False, answers=False)

    before = _standing(stage, alex)
    stage.restore_network()
    pid = _kill_while_it_syncs(stage, alex)
    yield _arrival(stage, alex, before, f"the app is killed (process {pid})", commits=True, answers=False)

    telephone.before_the_driver_is_back(stage, crew)
    for device in (jo, crew.mona.device, crew.ned.device):
        before = _standing(stage, device)
        stage.try_to_sync(device)
        yield _arrival(stage, device, before, "nothing", commits=True, answers=True)


def try_again(stage: Stage, crew: Crew, arrived: Sequence[Arrival]) -> Sequence[Return]:
    """All sync once more, and with that are where the town is."""
    devices = {device.name: device for device in crew.devices}
    for person in (script.KIM, script.ALEX, script.SAM, script.JO, script.MONA, script.NED):
        stage.sync(devices[person.device])
    return [
        Return(
            arrival=arrival,
            recorded=devices[arrival.device].recorded,
            after=_standing(stage, devices[arrival.device]),
        )
        for arrival in arrived
    ]


def _kill_while_it_syncs(stage: Stage, device: Device) -> int:
    """The app has sent everything and is about to keep the answer; its process id."""
    stage.teller.doing(f"{device.name} syncs, and dies")
    device.replica.close()
    ended = run_until_killed(device.job(syncs=True), "settle.before_commit")
    device.reopen()
    return ended.pid


def _standing(stage: Stage, device: Device) -> Standing:
    return Standing(in_journal=stage.books.change_sets_of(device.name), unanswered=device.waiting)


def _arrival(stage: Stage, device: Device, before: Standing, accident: str, *, commits: bool, answers: bool) -> Arrival:
    return Arrival(
        device=device.name,
        accident=accident,
        shall_commit=commits,
        shall_answer=answers,
        before=before,
        then=_standing(stage, device),
    )
