"""`receipt`: is this receipt good? Answered without a server: the installation's public key is all it takes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from server.bootstrap import existing_signer
from server.cli.connect import DataDir, own_settings
from server.cli.output import GOOD, PROBLEM, AsJson, err, examples, out, print_json
from sync.engine.receipts import Receipt, check_numbers, verify_receipt
from sync.kernel.errors import TallystickError


def register(app: typer.Typer) -> None:
    """Add the group."""
    receipt = typer.Typer(no_args_is_help=True, help="Receipts that devices have given.")
    receipt.command(
        "verify",
        epilog=examples(
            "tallystick receipt verify '4B0M…' --key rCV8…",
            "tallystick receipt verify 'HTTPS://SYNC.EXAMPLE/V1/RECEIPTS/4B0M…' --key rCV8… --json",
        ),
    )(_verify)
    receipt.callback()(_group)
    app.add_typer(receipt, name="receipt")


def _group() -> None:
    """Keep `verify` a word of its own beside the group's."""


def _verify(
    codes: Annotated[list[str], typer.Argument(metavar="CODE", help="What the QR code holds; several are compared.")],
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="The installation's public key, as GET /v1/keys tells it. Again for older keys."),
    ] = None,
    town: Annotated[str | None, typer.Option(help="The id of the town that it has to be of.")] = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Whether receipts are good; needs no network. Without --key the keys in the data directory are taken."""
    keys = key or _own_keys(data)
    answers = [_answer(code, keys, town) for code in codes]
    found = [answer for answer in answers if isinstance(answer, Receipt)]
    problem: TallystickError | None = None
    try:
        check_numbers(found)
    except TallystickError as fault:
        problem = fault
    if as_json:
        print_json(
            [_told(answer if not isinstance(answer, Receipt) or problem is None else problem) for answer in answers]
        )
    else:
        for answer in answers:
            _print(answer)
        if problem:
            err.print(f"[bold red]{problem.code}[/]  {escape(problem.message)}", soft_wrap=True)
    raise typer.Exit(PROBLEM if problem or len(found) < len(answers) else GOOD)


def _own_keys(data: DataDir) -> list[str]:
    return [one.public_key for one in existing_signer(own_settings(data)).published]


def _answer(code: str, keys: list[str], town: str | None) -> Receipt | TallystickError:
    try:
        return verify_receipt(code, keys, town)
    except TallystickError as fault:
        return fault


def _told(answer: Receipt | TallystickError) -> dict[str, Any]:
    if isinstance(answer, TallystickError):
        return {"is_good": False, "code": answer.code, "reason": answer.message}
    return {"is_good": True, **_as_dict(answer)}


def _as_dict(receipt: Receipt) -> dict[str, Any]:
    """What a receipt says, for a machine."""
    return {
        "number": receipt.label,
        "amounts": list(receipt.amounts),
        "at": receipt.at,
        "town": receipt.town_id,
        "device": receipt.device_id,
        "user": receipt.user_id,
        "seq": receipt.seq,
        "hash": receipt.hash,
    }


def _print(answer: Receipt | TallystickError) -> None:
    if isinstance(answer, TallystickError):
        err.print(f"[bold red]{answer.code}[/]  {escape(answer.message)}", soft_wrap=True)
        return
    out.print(
        f"[green]good[/]  {answer.label}  {', '.join(answer.amounts)}  {answer.at}  device {answer.device_id}",
        soft_wrap=True,
    )
