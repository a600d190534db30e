"""`doctor`: is this installation well? A line for each check, with what to do about it. And `metrics`: its figures."""

from __future__ import annotations

import asyncio
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from server.application.paper_ports import PRINTER_REMEDY
from server.application.ports import Unavailable
from server.bootstrap import (
    Examined,
    examine,
    existing_signer,
    newest_revision,
    printer_problem,
    redis_url,
    redis_version,
)
from server.cli.connect import DataDir, settings_for
from server.cli.output import GOOD, PROBLEM, AsJson, err, examples, out, print_json
from server.domain import examination
from server.domain.examination import Finding, Level
from server.settings import Settings, SettingsInvalid
from server.standing import BEAT_SECONDS_MAX, beat_ages
from sync.kernel.errors import TallystickError

ANSWER_SECONDS_MAX = 5
NOT_FOR_OTHERS = 0o077
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("tallystick doctor", "tallystick doctor --json"))(doctor)
    app.command(epilog=examples("tallystick metrics"))(metrics)


def doctor(*, data: DataDir = None, as_json: AsJson = False) -> None:
    """Examine the installation: settings, database, Redis, key, disk, printer, clock, processes, outbox, towns.

    Each check is ok, warn or fail, with what to do. Exit 0 when nothing fails, 1 otherwise. Changes nothing.
    """
    findings = asyncio.run(_findings(data))
    if as_json:
        print_json({"good": _is_good(findings), "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    raise typer.Exit(GOOD if _is_good(findings) else PROBLEM)


def metrics(*, data: DataDir = None) -> None:
    """Print what the server that is up says at /metrics."""
    settings = settings_for(data)
    if settings.metrics_token is None:
        raise SettingsInvalid("TALLYSTICK_METRICS_TOKEN is not set: without it the server has no /metrics")
    headers = {"Authorization": f"Bearer {settings.metrics_token.get_secret_value()}"}
    request = urllib.request.Request(f"{settings.public_url}/metrics", headers=headers)  # noqa: S310 - our own URL
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:  # noqa: S310 - as above
        typer.echo(answer.read().decode(), nl=False)


async def _findings(data: Path | None) -> list[Finding]:
    try:
        settings = settings_for(data)
    except SettingsInvalid as fault:
        return [Finding(check="settings", level=Level.FAIL, said=fault.message, do="see docs/reference/settings.md")]
    found = [_judge_settings(settings), *await _of_database(settings), await _of_redis(settings)]
    usage = shutil.disk_usage(_nearest(settings.data_dir))
    found.append(examination.judge_disk(str(settings.data_dir), usage.free, usage.total))
    found.append(await asyncio.to_thread(_of_api, settings))
    found.append(examination.judge_printer(printer_problem(), PRINTER_REMEDY))
    found += await asyncio.to_thread(lambda: [*_of_providers(settings)])
    found.append(await asyncio.to_thread(_of_gateway, settings))
    ages = beat_ages(settings.data_dir)
    found += [examination.judge_beats(process, ages, BEAT_SECONDS_MAX) for process in ("worker", "scheduler")]
    return found


def _judge_settings(settings: Settings) -> Finding:
    address = urlsplit(settings.public_url)
    said = f"the settings are readable; devices reach the server at {settings.public_url}"
    if address.scheme != "https" and address.hostname not in examination.LOOPBACK:
        do = "put a proxy with TLS in front, and its https:// address into TALLYSTICK_PUBLIC_URL"
        return Finding(check="settings", level=Level.WARN, said=said, do=do)
    return Finding(check="settings", level=Level.OK, said=said)


async def _of_database(settings: Settings) -> list[Finding]:
    found: list[Finding] = []
    signer = None
    try:
        signer = existing_signer(settings)
    except TallystickError as fault:
        do = "restore it from its backup; for a new installation it is made at the first start"
        found.append(Finding(check="key", level=Level.FAIL, said=fault.message, do=do))
    else:
        found.append(_judge_key_file(settings.server_key_path))
    try:
        examined = await examine(settings, signer)
    except Unavailable as fault:
        said = f"PostgreSQL does not answer ({str(fault.__cause__).partition(chr(10))[0]})"
        do = "start it, or mend DATABASE_URL"
        return [*found, Finding(check="postgresql", level=Level.FAIL, said=said, do=do)]
    found += _judge_database(examined)
    if signer is not None:
        found.append(examination.judge_signer(signer.public_key, examined.towns))
    return found


def _judge_key_file(path: Path) -> Finding:
    if path.stat().st_mode & NOT_FOR_OTHERS:
        said = f"other accounts may read the signing key at {path}"
        return Finding(check="key", level=Level.FAIL, said=said, do=f"chmod 600 {path}")
    return Finding(check="key", level=Level.OK, said=f"the signing key at {path} is readable, for its owner only")


def _judge_database(examined: Examined) -> Iterator[Finding]:
    facts, sights = examined.facts, examined.sights
    yield examination.judge_server(facts)
    yield examination.judge_role(facts)
    yield examination.judge_durability(facts)
    schema = examination.judge_schema(facts, newest_revision())
    yield schema
    yield examination.judge_clock(facts, examined.towns)
    if schema.level is Level.OK and facts.may_become_api:
        yield examination.judge_fences(examined.faults)
        yield examination.judge_outbox(
            sum(town.waiting for town in sights),
            sum(town.given_up for town in sights),
            max((town.overdue_seconds for town in sights), default=0.0),
        )
        yield examination.judge_towns(examined.towns, sum(town.devices.get("suspended", 0) for town in sights))


async def _of_redis(settings: Settings) -> Finding:
    try:
        version = await redis_version(redis_url(settings))
    except TallystickError as fault:
        do = "start it, or mend REDIS_URL; until then the scheduler does the work, a few seconds later"
        return Finding(check="redis", level=Level.WARN, said=fault.message, do=do)
    return Finding(check="redis", level=Level.OK, said=f"Redis {version} answers")


def _of_api(settings: Settings) -> Finding:
    """Whether our API answers where devices look for it; if not, whether somebody else is on its port."""
    try:
        with urllib.request.urlopen(f"{settings.public_url}/readyz", timeout=ANSWER_SECONDS_MAX):  # noqa: S310
            return Finding(check="api", level=Level.OK, said=f"the API at {settings.public_url} can serve")
    except urllib.error.HTTPError as fault:
        said = f"{settings.public_url}/readyz answers {fault.code}"
        return Finding(check="api", level=Level.FAIL, said=said, do="read the API's log, event `check_failed`")
    except OSError:
        said, do = f"nothing of ours answers at {settings.public_url}", "start `tallystick serve`, or mend the proxy"
    address = urlsplit(settings.public_url)
    if address.hostname in examination.LOOPBACK and _is_listened_on(address.port or 80):
        said, do = f"another program listens on port {address.port}", "stop it, or choose another port"
    return Finding(check="api", level=Level.WARN, said=said, do=do)


def _of_providers(settings: Settings) -> Iterator[Finding]:
    """The providers of payments that are set; whether somebody listens where they are said to be."""
    needed: Mapping[str, Mapping[str, object]] = {
        "momo": {
            "TALLYSTICK_MOMO_API_USER": settings.momo_api_user,
            "TALLYSTICK_MOMO_API_KEY": settings.momo_api_key,
            "TALLYSTICK_MOMO_SUBSCRIPTION_KEY": settings.momo_subscription_key,
        },
        "cards": {
            "TALLYSTICK_CARD_API_KEY": settings.card_api_key,
            "TALLYSTICK_WEBHOOK_SECRETS": settings.webhook_secrets,
        },
    }
    for name, url in (("momo", settings.momo_base_url), ("cards", settings.card_base_url)):
        if url is not None:
            address = urlsplit(url)
            port = address.port or (443 if address.scheme == "https" else 80)
            missing = [variable for variable, value in needed[name].items() if not value]
            is_reached = not missing and _is_listened_on(port, str(address.hostname))
            ours = str(urlsplit(settings.public_url).hostname)
            theirs = (address.scheme, str(address.hostname))
            yield examination.judge_provider(name, *theirs, ours, missing=missing, is_reached=is_reached)


def _of_gateway(settings: Settings) -> Finding:
    """Whether reminders leave by themselves, and whether somebody listens where they are sent to."""
    if settings.reminders_url is None:
        return examination.judge_gateway(None, has_secrets=False, is_reached=False)
    address = urlsplit(settings.reminders_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    host, has_secrets = str(address.hostname), bool(settings.reminder_keys)
    is_reached = has_secrets and _is_listened_on(port, host)
    return examination.judge_gateway(host, has_secrets=has_secrets, is_reached=is_reached)


def _is_listened_on(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def _is_good(findings: Sequence[Finding]) -> bool:
    return all(finding.level is not Level.FAIL for finding in findings)


def _show(findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        said = escape(finding.said) + (f"\n[dim]→[/] {escape(finding.do)}" if finding.do else "")
        table.add_row(f"[{_COLOURS[finding.level]}]{finding.level}[/]", finding.check, said)
    out.print(table)
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    err.print(", ".join(f"{count} {level}" for level, count in counts.items()))
