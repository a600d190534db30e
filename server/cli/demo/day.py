"""The day: a morning with a network, in which everybody gets their work, and hours without one, in which they do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from client_sdk import Offline
from server.cli.demo import script, telephone
from server.cli.demo.apps import Device, DriverApp, WarehouseApp
from server.cli.demo.counter import CounterApp
from server.cli.demo.device_process import run_until_killed
from server.cli.demo.stage import Stage
from server.cli.demo.world import Tally
from sync.modules.commerce import AssignDispatch, CancelOrder, ReassignDispatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Crew:
    """Those who work today, each with their app, and the tally of what they really do."""

    alex: WarehouseApp
    kim: WarehouseApp
    sam: DriverApp
    jo: DriverApp
    mona: CounterApp
    ned: CounterApp
    tally: Tally

    @property
    def devices(self) -> tuple[Device, ...]:
        """All their devices, in the order of the script's people."""
        apps = (self.alex, self.kim, self.sam, self.jo, self.mona, self.ned)
        return tuple(app.device for app in apps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """A driver's phone with no network: what the server last said of each job, and what the phone shows."""

    device: str
    problem: str
    waiting: int
    cash_pence: int
    jobs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerCut:
    """An app that died while it recorded: what it had said was recorded, and what was there when it was opened."""

    pid: int
    status: int
    said: int
    kept: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OfflineDay:
    """What the hours without a network looked like; `levels` are pieces of one product by place, as each saw them."""

    screen: Screen
    power_cut: PowerCut
    levels: Mapping[str, int]
    waiting: Mapping[str, int]
    jos_tour: Sequence[str]


def hire(stage: Stage) -> Crew:
    """Everybody gets a device of their own."""
    tally = Tally()
    alex, kim, sam, jo, mona, ned = (stage.enrol(person.device, person) for person in script.PEOPLE)
    return Crew(
        alex=WarehouseApp(alex, stage.world, tally),
        kim=WarehouseApp(kim, stage.world, tally),
        sam=DriverApp(sam, tally),
        jo=DriverApp(jo, tally),
        mona=CounterApp(mona, stage.world, tally),
        ned=CounterApp(ned, stage.world, tally),
        tally=tally,
    )


def morning(stage: Stage, crew: Crew) -> None:
    """Tours are planned, packed and loaded. Sam leaves first: what the office changes after that, he does not know."""
    telephone.ask(stage, crew)
    stage.teller.doing("The office plans the tours")
    for person, tour in ((script.SAM, script.SAMS_TOUR), (script.JO, script.JOS_TOUR)):
        for number in tour:
            _office(stage, AssignDispatch, number, person)
    stage.sync(crew.alex.device)
    with crew.alex.device.in_hand():
        for number in (*script.SAMS_TOUR, *script.JOS_TOUR):
            if number != script.TAKEN_FROM_THE_BENCH:
                crew.alex.pick_and_pack(number)
    stage.sync(crew.alex.device)
    stage.sync(crew.sam.device)
    with crew.sam.device.in_hand():
        crew.sam.load(*(number for number in script.SAMS_TOUR if number != script.TAKEN_FROM_THE_BENCH))
    stage.sync(crew.sam.device)
    for number in (script.REASSIGNED, script.DELIVERED_TWICE):
        _office(stage, ReassignDispatch, number, script.JO)
    stage.sync(crew.jo.device)
    with crew.jo.device.in_hand():
        crew.jo.load(*script.JOS_TOUR)
    for counter in (crew.mona, crew.ned):
        with counter.device.in_hand():
            counter.open()
    apps: tuple[DriverApp | WarehouseApp | CounterApp, ...] = (crew.jo, crew.alex, crew.kim, crew.mona, crew.ned)
    for app in apps:
        stage.sync(app.device)


def offline_day(stage: Stage, crew: Crew) -> OfflineDay:
    """The network is gone, and everybody goes on, the office too."""
    before = {job["number"]: job["status"] for job in crew.sam.jobs()}
    base = crew.alex.level(script.BOTH_BOOK)["on_hand"]
    telephone.before_the_cut(stage, crew)
    stage.cut_network()
    stage.teller.doing("The office cancels two orders")
    for number in (script.CANCELLED_ON_THE_WAY, script.CANCELLED_BEFORE_PICKING):
        stage.office.author(
            script.TOWN, CancelOrder(order=stage.world.orders[number].id, reason="the customer has rung")
        )
    _drive(stage, crew)
    telephone.during_the_day(stage, crew)
    _work_at_the_counters(stage, crew)
    power_cut = _work_in_the_warehouse(stage, crew)
    screen = _screen(crew.sam, before)
    levels = {
        "this morning": base,
        crew.alex.device.name: crew.alex.level(script.BOTH_BOOK)["on_hand"],
        crew.kim.device.name: crew.kim.level(script.BOTH_BOOK)["on_hand"],
    }
    waiting = {device.name: device.waiting for device in crew.devices}
    return OfflineDay(
        screen=screen,
        power_cut=power_cut,
        levels=levels,
        waiting=waiting,
        jos_tour=[job["number"] for job in crew.jo.jobs()],
    )


def _office(stage: Stage, wish: type[AssignDispatch | ReassignDispatch], number: str, person: script.Person) -> None:
    order, driver = stage.world.orders[number].id, stage.world.users[person.name]
    stage.office.must(script.TOWN, wish(id=stage.office.new_id(), order=order, driver=driver))


def _drive(stage: Stage, crew: Crew) -> None:
    stage.teller.doing("Sam and Jo are on the road")
    with crew.sam.device.in_hand():
        crew.sam.load(script.TAKEN_FROM_THE_BENCH)
        for number in script.SAMS_TOUR:
            crew.sam.deliver(number)
    with crew.jo.device.in_hand():
        crew.jo.deliver(script.DELIVERED_BY_JO)
        crew.jo.deliver(script.UNPAID, is_paid=False)
        crew.jo.fail(script.NOBODY_IN, "nobody in")
        crew.jo.deliver(script.DELIVERED_TWICE)


def _work_at_the_counters(stage: Stage, crew: Crew) -> None:
    stage.teller.doing("Mona and Ned take money")
    with crew.mona.device.in_hand():
        crew.mona.take(script.MOORING, script.MOORING.pence)
        crew.mona.take(script.ALLOTMENT, script.ALLOTMENT.pence)
    with crew.ned.device.in_hand():
        crew.tally.paid_twice = crew.ned.take(script.MOORING, script.MOORING.pence)
        crew.ned.take(script.STALL, script.STALL_CASH_PENCE)
        crew.ned.take(script.STALL, script.STALL.pence - script.STALL_CASH_PENCE, card=script.STALL_CARD)


def _work_in_the_warehouse(stage: Stage, crew: Crew) -> PowerCut:
    stage.teller.doing("Alex and Kim work in the warehouse")
    alex, kim = crew.alex, crew.kim
    with alex.device.in_hand():
        alex.receive(script.BOTH_BOOK, script.PIECES_RECEIVED)
        alex.sell(script.SOLD_BY_ALEX)
        alex.pick_and_pack(script.TAKEN_FROM_THE_BENCH)
        alex.pick_and_pack(script.CANCELLED_BEFORE_PICKING)
        alex.pick_and_pack(script.SHORT, missing=script.MISSING_ON_SHELF, missing_pieces=script.PIECES_MISSING)
    with kim.device.in_hand():
        kim.write_off(script.BOTH_BOOK, script.PIECES_BROKEN, "broken")
        kim.sell(script.SOLD_BY_KIM)
        for product, pieces in kim.left_to_scan(script.PACKED_BY_KIM):
            kim.scan(script.PACKED_BY_KIM, product, pieces)
        kim.pack(script.PACKED_BY_KIM)
    return _scan_through_a_power_cut(stage, alex)


def _scan_through_a_power_cut(stage: Stage, app: WarehouseApp) -> PowerCut:
    """The app dies in the middle of a scan; opened again, it knows what is left to scan and goes on."""
    stage.teller.doing("Alex's tablet loses power")
    device, lines = app.device, app.left_to_scan(script.SCANNED)
    before = device.waiting
    device.replica.close()
    ended = run_until_killed(
        device.job(order=stage.world.orders[script.SCANNED].id, scans=lines),
        f"record.before_commit:{script.SCANS_BEFORE_POWER_CUT + 1}",
    )
    device.recorded += len(ended.recorded)
    device.reopen()
    kept = device.waiting - before
    with device.in_hand():
        for product, pieces in app.left_to_scan(script.SCANNED):
            app.scan(script.SCANNED, product, pieces)
        app.pack(script.SCANNED)
    return PowerCut(pid=ended.pid, status=ended.status, said=len(ended.recorded), kept=kept)


def _screen(app: DriverApp, before: Mapping[str, str]) -> Screen:
    """The phone tries to sync, finds nobody, and shows what it has."""
    problem = ""
    try:
        app.device.replica.sync()
    except Offline as offline:
        problem = offline.message
    jobs = [{**job, "server_said": before[job["number"]]} for job in app.jobs()]
    return Screen(
        device=app.device.name,
        problem=problem,
        waiting=app.device.waiting,
        cash_pence=app.cash_in_hand(),
        jobs=jobs,
    )
