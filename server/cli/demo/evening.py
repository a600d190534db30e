"""The evening: what came too late, a refund that two must agree on, drawers that are counted blind and closed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from server.cli.demo import books, script, telephone
from server.cli.demo.counter import CounterApp, close_drawer
from server.cli.demo.day import Crew
from server.cli.demo.stage import Stage
from server.stack import settings_in
from sync.engine.receipt_bytes import from_letters, to_letters
from sync.modules.billing import ApproveRefund

ANSWER_SECONDS_MAX = 5.0
SIGNATURE_BYTES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A payment by telephone: how often the provider was asked, what its calls back met, what the books say."""

    about: str
    pence: int
    provider_says: str
    provider_pence: int
    asks: int
    callbacks: Sequence[int]
    status: str
    booked_pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Refund:
    """What was asked for at a counter: its state when it was asked for, when a second person had agreed, at the end."""

    pence: int
    asked: str
    agreed: str
    paid: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawer:
    """A drawer's day, in pence. `hands` is what went into it and out by the tally; the rest is its Z report's."""

    device: str
    opening: int
    hands: int
    expected: int
    counted: int
    difference: int
    reports: int
    was_told: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Evening:
    """How the day of money ended."""

    calls: Sequence[Call]
    refund: Refund
    drawers: Sequence[Drawer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slips:
    """What a process said of the receipts that has nothing but the key; the last code was tampered with."""

    printed: Sequence[Mapping[str, Any]]
    answers: Sequence[Mapping[str, Any]]


def evening(stage: Stage, crew: Crew) -> Evening:
    """Everybody has a network again."""
    refund = _refund(stage, crew)
    telephone.in_the_evening(stage, crew)
    was_told = _close_drawers(stage, crew)
    return Evening(calls=_calls(stage, crew), refund=refund, drawers=_drawers(stage, crew, was_told))


def verify_slips(stage: Stage, crew: Crew) -> Slips:
    """`tallystick receipt verify` in an empty directory, with the codes and the key that the server publishes."""
    stage.teller.doing("tallystick receipt verify")
    [*_, newest] = httpx2.get(f"{stage.stack.url}/v1/keys", timeout=ANSWER_SECONDS_MAX).json()["keys"]
    slips = crew.tally.slips
    codes = [*(slip.code for slip in slips), _tampered(slips[0].code)]
    ours = settings_in(os.environ)
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "server.cli", "receipt", "verify", *codes, "--key", newest["public_key"], "--json"],
            env={name: value for name, value in os.environ.items() if name not in ours},
            cwd=nowhere,
            stdout=subprocess.PIPE,
            check=False,
            start_new_session=True,
        )
    printed = [{"number": slip.number, "amounts": list(slip.amounts)} for slip in slips]
    return Slips(printed=printed, answers=orjson.loads(done.stdout or b"[]"))


def _refund(stage: Stage, crew: Crew) -> Refund:
    """Isla has paid three times: Ned asks for what he took, Ewan agrees, Ned gives it back."""
    stage.teller.doing("Isla wants her money back")
    ned, pence = crew.ned, script.MOORING.pence
    with ned.device.in_hand():
        refund = ned.ask_back(crew.tally.paid_twice, pence, "paid by telephone already")
        stage.sync(ned.device)
        asked = _state(ned, refund)
        stage.office.author(script.TOWN, ApproveRefund(refund=refund), actor=stage.world.users[script.EWAN.name])
        stage.sync(ned.device)
        agreed = _state(ned, refund)
        ned.give_back(script.MOORING, crew.tally.paid_twice, refund, pence)
        stage.sync(ned.device)
    [paid] = stage.books.rows(books.REFUND, refund=refund)
    return Refund(pence=pence, asked=asked, agreed=agreed, paid=paid["state"])


def _state(counter: CounterApp, refund: str) -> str:
    row = counter.refund(refund)
    return str(row["state"]) if row else ""


def _close_drawers(stage: Stage, crew: Crew) -> Mapping[str, bool]:
    """What lies there is counted; from Mona's something is missing."""
    lying = {
        crew.mona.device.name: crew.mona.in_drawer() - script.SHORTAGE_PENCE,
        crew.ned.device.name: crew.ned.in_drawer(),
        **{app.device.name: _taken(crew, app.device.name) for app in (crew.sam, crew.jo)},
    }
    was_told = {}
    for app in (crew.mona, crew.ned, crew.sam, crew.jo):
        device = app.device
        stage.teller.doing(f"{device.name} is counted")
        with device.in_hand():
            was_told[device.name] = close_drawer(device, lying[device.name])
        stage.sync(device)
    return was_told


def _taken(crew: Crew, device: str) -> int:
    return sum(cash.pence for cash in crew.tally.cash if cash.driver == device)


def _drawers(stage: Stage, crew: Crew, was_told: Mapping[str, bool]) -> list[Drawer]:
    hands = {app.device.name: app.in_drawer() - script.FLOAT_PENCE for app in (crew.mona, crew.ned)}
    hands |= {app.device.name: _taken(crew, app.device.name) for app in (crew.sam, crew.jo)}
    reports = stage.books.rows(books.REPORTS)
    return [
        Drawer(
            device=report["device"],
            opening=_pence(report["opening"]),
            hands=hands[report["device"]],
            expected=_pence(report["expected"]),
            counted=_pence(report["counted"]),
            difference=_pence(report["differences"]),
            reports=sum(other["device"] == report["device"] for other in reports),
            was_told=was_told[report["device"]],
        )
        for report in reports
    ]


def _calls(stage: Stage, crew: Crew) -> list[Call]:
    calls = []
    for about, payment in crew.tally.asked.items():
        held = stage.provider.held(payment) or {}
        settled = stage.books.one(books.SETTLEMENT, payment=payment)
        calls.append(
            Call(
                about=about,
                pence=crew.tally.phoned[about],
                provider_says=held.get("status", ""),
                provider_pence=round(float(held.get("amount", 0)) * 100),
                asks=held.get("asks", 0),
                callbacks=held.get("callbacks", ()),
                status=settled["status"],
                booked_pence=settled["amount_minor"],
            )
        )
    return calls


def _pence(sums: Mapping[str, int]) -> int:
    return sums.get(script.CURRENCY, 0)


def _tampered(code: str) -> str:
    """The same receipt over another amount: before the signature is the sum's last byte, which is 1 to 127."""
    raw = bytearray(from_letters(code))
    raw[-SIGNATURE_BYTES - 1] = raw[-SIGNATURE_BYTES - 1] % 127 + 1
    return to_letters(bytes(raw))
