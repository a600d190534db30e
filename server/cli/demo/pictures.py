"""The pictures of the story: each scene's outcome as tables and sentences, drawn from what the run has found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from server.application.commands.first_admin import ADMIN_EMAIL
from server.cli.demo import books, script
from server.cli.demo.apps import PASSPHRASE, Device
from server.cli.demo.day import OfflineDay, Screen
from server.cli.demo.proof import Check
from server.cli.demo.reconnect import Arrival, Return
from server.cli.demo.result import OrderNow, Result, Shelf, Told
from server.cli.demo.stage import DEVICES_FOLDER, SERVER_FOLDER, Stage
from server.cli.demo.telling import BAD, GOOD, Teller, counted, money
from server.cli.demo.world import World

ARRIVALS = {
    script.SAM.device: "[bold]Sam[/] comes first. The server commits, and dies before it has answered.",
    script.KIM.device: "[bold]Kim[/] is next. The server dies before it commits.",
    script.ALEX.device: "[bold]Alex[/]'s tablet has sent it all, and is killed while it takes the answer (SIGKILL).",
    script.JO.device: "[bold]Jo[/] comes back, and nothing goes wrong.",
    script.MONA.device: "[bold]Mona[/]'s counter is next,",
    script.NED.device: "and [bold]Ned[/]'s is last: three have been paid what one was owed.",
}
"""What each device runs into on its way back."""


def show_opening(teller: Teller) -> None:
    """What this is."""
    teller.gap()
    teller.say("[bold]Tallystick[/]: an offline day, and its proof")
    teller.say(
        "A tally stick was split in two when a debt was made; at settlement the halves had to fit. Here six people "
        "work a day without a network, contradict each other and come back. Servers, processes and data are real, "
        "and every figure below was counted in this run. Names of people and shops are made up."
    )


def show_town(stage: Stage) -> None:
    """What the town begins with, as its tables say."""
    world = stage.world
    orders = stage.books.rows(books.ORDERS)
    total = sum(order["total_minor"] for order in orders)
    pieces = sum(shelf["on_hand"] for shelf in stage.books.rows(books.STOCK))
    version = stage.books.one(books.VERSION)["version"].split()[0]
    stage.teller.happened(f"PostgreSQL {version}, Redis, one API, one worker, a payment provider: all on this machine")
    stage.teller.happened(
        f"[bold]{script.TOWN}[/]: {counted(len(world.products), 'product')}, {pieces:,} pieces on the shelves"
    )
    stage.teller.happened(f"{counted(len(orders), 'order')} worth {money(total)}, real invoices of 1 December 2010")
    owed = sum(bill.pence for bill in script.BILLS)
    stage.teller.happened(
        f"{counted(len(script.BILLS), 'bill')} of the council over {money(owed)}, to be paid anywhere"
    )


def show_devices(teller: Teller, devices: Sequence[Device]) -> None:
    """Who has which device, and how much it holds."""
    people = {person.device: person for person in script.PEOPLE}
    doing = {
        "warehouse_staff": "picks, packs, books and sells",
        "driver": "delivers and takes cash",
        "counter_clerk": "takes cash and cards, gives back",
    }
    teller.happened(f"{counted(len(devices), 'device')}, each with its own keys and its own encrypted file")
    teller.gap()
    teller.table(
        ("device", "in the hands of", "who", "rows it holds"),
        [
            (
                f"[bold]{escape(device.name)}[/]",
                people[device.name].name,
                doing[people[device.name].role],
                f"{device.first_rows:,}",
            )
            for device in devices
        ],
        right=(3,),
    )


def show_beats(teller: Teller, world: World) -> None:
    """What goes wrong today, on purpose."""
    rows = [
        (
            f"[dim]{place}[/]",
            f"[cyan]{escape(beat.order)}[/]",
            escape(beat.offline.format_map(figures(world, beat.order))),
            f"[dim]{escape(beat.meanwhile.format_map(figures(world, beat.order)))}[/]",
        )
        for place, beat in enumerate(script.BEATS, start=2)
        if beat.offline
    ]
    booked = (
        "[dim]1[/]",
        "[cyan]stock[/]",
        f"Alex books {script.PIECES_RECEIVED} chilli lights in",
        f"[dim]Kim writes {script.PIECES_BROKEN} of them off as broken[/]",
    )
    teller.gap()
    teller.table(("", "order", "on a device, without a network", "and meanwhile"), [booked, *rows])


def figures(world: World, number: str) -> dict[str, str]:
    """The figures that the script's sentences name."""
    bill = next((bill for bill in script.BILLS if bill.title == number), None)
    if bill:
        return {"total": money(bill.pence)}
    order = world.orders[number]
    asked = order.pieces.get(script.MISSING_ON_SHELF, 0)
    return {
        "total": money(order.total_pence),
        "pieces": str(sum(order.pieces.values())),
        "scarce": str(order.pieces.get(script.SCARCE, 0)),
        "spare": str(script.SCARCE_SPARE_PIECES),
        "asked": str(asked),
        "found": str(asked - script.PIECES_MISSING),
    }


def show_offline(teller: Teller, day: OfflineDay) -> None:
    """A phone, a power cut, and the same shelf on two tablets."""
    teller.gap()
    teller.show(_phone(day.screen))
    cut = day.power_cut
    teller.gap()
    teller.happened(
        f"Alex's tablet loses power in the {cut.said + 1}th scan of order {script.SCANNED} (SIGKILL). "
        f"It had said [bold]recorded[/] {cut.said} times; opened again it has {cut.kept}, and Alex scans the rest.",
        is_good=cut.said == cut.kept,
    )
    base, alex, kim = day.levels.values()
    teller.happened(
        f"Chilli lights on hand: {base} this morning; Alex's tablet shows {alex}, Kim's {kim}. Both are right.",
        is_good=(alex, kim) == (base + script.PIECES_RECEIVED, base - script.PIECES_BROKEN),
    )
    waiting = sum(day.waiting.values())
    teller.happened(f"{counted(waiting, 'change set')} wait on {counted(len(day.waiting), 'device')} for a network")


def show_arrival(teller: Teller, arrival: Arrival) -> None:
    """What somebody who comes back runs into, and what got through."""
    teller.happened(
        f"{ARRIVALS[arrival.device]}\n[dim]{counted(arrival.before.unanswered, 'change set')} sent · "
        f"{arrival.arrived} in the journal · {arrival.answered} answered[/]",
        is_good=arrival.is_as_told,
    )


def show_returns(teller: Teller, returns: Sequence[Return]) -> None:
    """Where everybody is after the second attempt, counted."""
    teller.gap()
    teller.say("They try again, with the same bytes. What was committed gets its first verdict once more:")
    teller.gap()
    teller.table(
        ("device", "recorded", "in the journal", "unanswered", "lost", "doubled"),
        [
            (
                f"[bold]{escape(one.arrival.device)}[/]",
                str(one.recorded),
                str(one.after.in_journal),
                str(one.after.unanswered),
                str(one.lost),
                str(one.doubled),
            )
            for one in returns
        ],
        right=(1, 2, 3, 4, 5),
    )


def show_decisions(teller: Teller, day: OfflineDay, result: Result) -> None:
    """Each thing that went wrong, with the sentence that people read and the task it leaves."""
    base, *_ = day.levels.values()
    now = ", ".join(f"{escape(name)} [bold]{level}[/]" for name, level in result.levels.items())
    _decision(teller, 1, "Deltas add up", "stock")
    summed = f"{base} + {script.PIECES_RECEIVED} - {script.PIECES_BROKEN}"
    teller.say(f"   [dim]·[/] {summed} chilli lights. What is shown now: {now}.")
    for place, beat in enumerate(script.BEATS, start=2):
        _decision(teller, place, beat.title, beat.label)
        for told in (one for one in result.told if _is_of(one, beat)):
            _show_told(teller, told)
    strays = [one for one in result.told if not any(_is_of(one, beat) for beat in script.BEATS)]
    for told in strays:
        _show_told(teller, told)
    teller.gap()
    teller.say(f"Jo's phone has let go of {' and '.join(result.let_go)}: Sam has delivered them.")


def show_orders(teller: Teller, orders: Sequence[OrderNow]) -> None:
    """The merged orders: three axes, one displayed status."""
    teller.title("The orders, merged")
    touched = [order for order in orders if order.number in script.ENDINGS]
    teller.table(
        ("order", "commercial", "custody", "payment", "people see", "total", "paid", "credit"),
        [
            (
                f"[cyan]{order.number}[/]",
                *(axis if axis in script.WAITING else f"[bold]{axis}[/]" for axis in order.axes),
                f"[green]{order.status}[/]" if order.status == "DELIVERED" else f"[yellow]{order.status}[/]",
                money(order.total_pence),
                money(order.paid_pence) if order.paid_pence else "[dim]-[/]",
                f"[yellow]{money(order.credit_pence)}[/]" if order.credit_pence else "[dim]-[/]",
            )
            for order in touched
        ],
        right=(5, 6, 7),
    )
    teller.say(f"[dim]and {counted(len(orders) - len(touched), 'order')} that nobody touched today[/]")


def show_stock_and_cash(teller: Teller, result: Result) -> None:
    """Shelves that moved, drivers' cash."""
    teller.title("The shelves: opening + movements = on hand")
    shown = {script.BOTH_BOOK, script.SCARCE, script.MISSING_ON_SHELF}
    moved = [shelf for shelf in result.shelves if shelf.sku in shown]
    others = [shelf for shelf in result.shelves if shelf.sku not in shown]
    teller.table(
        ("product", "opening", "booked", "handed over", "on hand", "reserved"),
        [
            *((escape(shelf.name.capitalize()), *_pieces([shelf])) for shelf in moved),
            (f"[dim]{counted(len(others), 'other product')}[/]", *_pieces(others)),
            (f"[bold]all {len(result.shelves)}[/]", *_pieces(result.shelves)),
        ],
        right=(1, 2, 3, 4, 5),
    )
    teller.title("The cash")
    teller.table(
        ("", "payments", "from customers' hands", "on the phone", "in the town's books"),
        [
            (
                f"[bold]{escape(till.device)}[/]",
                str(till.payments),
                money(till.taken_pence),
                money(till.phone_pence),
                money(till.booked_pence),
            )
            for till in result.tills
        ],
        right=(1, 2, 3, 4),
    )


def show_messages(teller: Teller, result: Result) -> None:
    """What customers were told."""
    teller.title("What the worker has told customers")
    for message in result.messages:
        teller.happened(escape(message.written or f"nothing yet: {message.asked}"), is_good=bool(message.written))


def show_proof(teller: Teller, checks: Sequence[Check], seconds: float) -> None:
    """A line for each check, and what they amount to."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        table.add_row(GOOD if check.is_good else BAD, f"[bold]{check.name}[/]", escape(check.said))
    teller.show(table)
    failed = [check.name for check in checks if not check.is_good]
    ending = f"[bold red]It does not fit: {', '.join(failed)}.[/]" if failed else "[bold green]Both halves fit.[/]"
    teller.gap()
    teller.say(f"{ending} [dim]{seconds:.0f} seconds.[/]")


def show_kept(teller: Teller, directory: Path) -> None:
    """How to look at what was left."""
    data = escape(str(directory / SERVER_FOLDER))
    you = f"--name You --login you --role admin --email {ADMIN_EMAIL}"
    teller.title("Kept, to look at")
    teller.table(
        ("what", "how"),
        [
            ("the town, served again", f"tallystick up --seed none --data {data}"),
            ("its audit, while it is up", f"tallystick verify --data {data}"),
            ("its office, over HTTP, for you", f"tallystick user add --town {script.TOWN} {you} --data {data}"),
            ("the devices", f"{escape(str(directory / DEVICES_FOLDER))}/*.db, passphrase: {PASSPHRASE}"),
        ],
    )


def _phone(screen: Screen) -> Panel:
    left = [job for job in screen.jobs if job["status"] not in {"DELIVERED", "FAILED"}]
    jobs = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("order", "customer", "the server last said", "the phone shows"):
        jobs.add_column(name)
    for job in screen.jobs:
        status = job["status"] if job["status"] == job["server_said"] else f"[green]{job['status']}[/] [dim]pending[/]"
        jobs.add_row(f"[cyan]{job['number']}[/]", escape(job["customer_name"]), f"[dim]{job['server_said']}[/]", status)
    said = (
        f"[bold]{len(left)}[/] left   [bold]{len(screen.jobs) - len(left)}[/] done   "
        f"[bold]{money(screen.cash_pence)}[/] cash in hand"
    )
    return Panel(
        Group(f"[yellow]{escape(screen.problem)}[/]", "", said, "", jobs),
        title=f"[bold]{escape(screen.device)}[/]",
        title_align="left",
        subtitle=f"[yellow]working offline[/] · {counted(screen.waiting, 'change set')} saved, will be sent later",
        subtitle_align="left",
        border_style="dim",
        expand=False,
        padding=(0, 1),
    )


def _decision(teller: Teller, place: int, title: str, about: str) -> None:
    teller.say(f"[bold]{place}  {escape(title)}[/]  [cyan]{escape(about)}[/]")


def _is_of(told: Told, beat: script.Beat) -> bool:
    return told.order == beat.order and (bool(beat.order) or told.rule in beat.rules)


def _show_told(teller: Teller, told: Told) -> None:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row("  ", "[yellow]![/]" if told.conflict else "[dim]·[/]", escape(told.sentence))
    if told.task:
        table.add_row("  ", "", f"[dim]task:[/] {escape(told.task)}")
    teller.show(table)


def _pieces(shelves: Sequence[Shelf]) -> tuple[str, ...]:
    opening, booked, handed_over, on_hand, reserved = (
        sum(getattr(shelf, name) for shelf in shelves)
        for name in ("opening", "booked", "handed_over", "on_hand", "reserved")
    )
    signed = f"{'+' if booked > 0 else '-'}{abs(booked)}" if booked else "[dim]-[/]"
    gone = f"-{handed_over:,}" if handed_over else "[dim]-[/]"
    return (f"{opening:,}", signed, gone, f"[bold]{on_hand:,}[/]", f"{reserved:,}")
