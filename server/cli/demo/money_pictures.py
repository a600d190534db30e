"""The pictures of the money: a Z report, the drawers, a slip, and where every penny lies."""

from __future__ import annotations

from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from client_sdk.application.receipts import PrintedReceipt
from server.cli.demo import script
from server.cli.demo.evening import Call, Drawer, Evening
from server.cli.demo.money_proof import Ledger
from server.cli.demo.telling import Teller, counted, money
from server.cli.demo.world import Tally

CODE_COLUMNS = 67

ACCOUNTS = {
    "bank": "handed in by the drawers, less the floats",
    "momo_clearing": "paid by telephone, with the provider",
    "card_clearing": "paid by card, with the card's bank",
    "over_short": "missing from a drawer",
    "receivable": "owed by customers",
    "credit": "paid beyond what was owed: it is the customers'",
    "price_difference": "given away by a price that was told",
    "sales": "charged for",
}
"""The accounts that something is left in, and what that is."""


def show_evening(teller: Teller, evening: Evening, tally: Tally) -> None:
    """What became of the telephones, the refund, the drawers and the slips."""
    for call in evening.calls:
        teller.happened(_call(call), is_good=call.status == "CONFIRMED")
    refund = evening.refund
    teller.happened(
        f"Isla has her receipts and wants one payment back. Ned asks for {money(refund.pence)}; more than £100.00 two "
        f"have to agree on: [bold]{refund.asked}[/]. Ewan agrees, in the office: [bold]{refund.agreed}[/]. Ned counts "
        f"it out: [bold]{refund.paid}[/].",
        is_good=refund.paid == "PAID",
    )
    teller.gap()
    teller.show(_z_report(next(one for one in evening.drawers if one.difference)))
    teller.title("The drawers: counted by people who were not told what should be there")
    teller.table(
        ("drawer", "float", "through hands", "should be there", "counted", "difference"),
        [
            (
                f"[bold]{escape(one.device)}[/]",
                money(one.opening) if one.opening else "[dim]-[/]",
                money(one.hands),
                money(one.expected),
                money(one.counted),
                f"[yellow]{_signed(one.difference)}[/]" if one.difference else "[dim]-[/]",
            )
            for one in evening.drawers
        ],
        right=(1, 2, 3, 4, 5),
    )
    teller.title(f"{counted(len(tally.slips), 'receipt')} were printed with no network. One of them:")
    teller.show(_slip(tally.slips[-1]))


def show_ledger(teller: Teller, ledger: Ledger) -> None:
    """Every account that something is left in; together they are nothing."""
    kinds = ledger.kinds()
    teller.title("The books: where every penny lies")
    rows = [
        (f"[bold]{kind}[/]", what, money(max(0, kinds[kind])), money(max(0, -kinds[kind])))
        for kind, what in ACCOUNTS.items()
        if kinds[kind]
    ]
    debit, credit = (sum(max(0, sign * pence) for pence in kinds.values()) for sign in (1, -1))
    teller.table(
        ("account", "what lies there", "debit", "credit"),
        [
            *((name, what, *(one if one != money(0) else "[dim]-[/]" for one in sums)) for name, what, *sums in rows),
            ("[bold]together[/]", "", f"[bold]{money(debit)}[/]", f"[bold]{money(credit)}[/]"),
        ],
        right=(2, 3),
    )


def _call(call: Call) -> str:
    told = {
        script.MOORING.title: "Isla agrees on her telephone before anybody at the counters can know. The provider "
        "calls, the worker asks it, and only its answer counts",
        script.HUT.title: "Finlo's request had expired at the provider. Hours later his thumb comes down, and the "
        "money is there: it counts",
        script.PAID_AT_THE_DOOR_AND_BY_PHONE: "the provider called while the API was dead, and nobody heard. The "
        "worker asked by itself",
    }
    return f"[cyan]{escape(call.about)}[/], {money(call.pence)}: {told[call.about]}."


def _z_report(drawer: Drawer) -> Panel:
    lines = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    lines.add_column()
    lines.add_column(justify="right")
    for name, pence in (
        ("float in the morning", drawer.opening),
        ("taken, less given back", drawer.hands),
        ("should be there", drawer.expected),
        ("counted", drawer.counted),
    ):
        lines.add_row(name, money(pence))
    lines.add_row("[bold]difference[/]", f"[bold yellow]{_signed(drawer.difference)}[/]")
    return Panel(
        lines,
        title=f"[bold]Z report 1[/] · {escape(drawer.device)}",
        title_align="left",
        subtitle=f"counted blind by {script.MONA.name}",
        subtitle_align="left",
        border_style="dim",
        expand=False,
        padding=(0, 1),
    )


def _slip(slip: PrintedReceipt) -> Panel:
    starts = range(0, len(slip.code), CODE_COLUMNS)
    code = "\n".join(slip.code[start : start + CODE_COLUMNS] for start in starts)
    return Panel(
        Group(
            f"[bold]{' + '.join(slip.amounts)}[/]   {slip.at}",
            "",
            f"[dim]{escape(code)}[/]",
            "",
            "Its QR code holds this: who certified the device, which act of its chain",
            "this was, how much, and the device's signature. It needs no network.",
        ),
        title=f"[bold]Receipt {slip.number}[/]",
        title_align="left",
        border_style="dim",
        expand=False,
        padding=(0, 1),
    )


def _signed(pence: int) -> str:
    return f"{'-' if pence < 0 else '+'}{money(abs(pence))}"
