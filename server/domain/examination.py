"""What an installation should be like: facts in, findings out. Pure; `tallystick doctor` reads the facts and prints.

A finding is `ok`, `warn` (it works, but not as it should in earnest) or `fail` (it does not work, or something is at
risk), with one sentence of what is so and one of what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

POSTGRES_MAJOR = 18
CLOCK_WARN_SECONDS = 1.0
CLOCK_FAIL_SECONDS = 30.0
"""Tokens are good for minutes; a clock that is further off than this makes enough of them void to be noticed."""

JOURNAL_AHEAD_SECONDS = 5.0
CONNECTIONS_WARN_SHARE = 0.8
DISK_WARN_BYTES, DISK_FAIL_BYTES = 5 * 1024**3, 512 * 1024**2
OVERDUE_WARN_SECONDS, OVERDUE_FAIL_SECONDS = 60.0, 3600.0
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
NAMES_SHOWN_MAX = 5


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """How one check came out; `do` is empty when there is nothing to do."""

    check: str
    level: Level
    said: str
    do: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFacts:
    """What PostgreSQL says of itself; `revision` is None where there is no schema yet."""

    version_number: int
    login_role: str
    is_login_superuser: bool
    may_become_api: bool
    revision: str | None
    settings: Mapping[str, str]
    connections: int
    clock_ahead_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TownFacts:
    """A town's head, whether the journal ends in it, and its last entry as it was signed."""

    town_id: str
    name: str
    version: int
    is_head_journalled: bool
    written_seconds_ahead: float
    is_signed_by_key: bool
    is_halted: bool = False


def judge_server(facts: DatabaseFacts) -> Finding:
    """Is it the PostgreSQL that we need, with room for connections."""
    major = facts.version_number // 10_000
    if major < POSTGRES_MAJOR:
        return _fail("postgresql", f"PostgreSQL is version {major}", f"upgrade it to {POSTGRES_MAJOR}")
    most = int(facts.settings["max_connections"])
    said = f"PostgreSQL {major} answers, {facts.connections} of {most} connections are used"
    if facts.connections > most * CONNECTIONS_WARN_SHARE:
        return _warn("postgresql", said, "raise max_connections, or run fewer processes")
    return _ok("postgresql", said)


def judge_role(facts: DatabaseFacts) -> Finding:
    """Does the application work as a role that row-level security binds."""
    if not facts.may_become_api:
        return _fail(
            "role",
            f"{facts.login_role} may not become tallystick_api",
            f"GRANT tallystick_api TO {facts.login_role}, or log in as tallystick_api",
        )
    if facts.is_login_superuser:
        return _warn(
            "role",
            f"the login is the superuser {facts.login_role}; every connection lowers itself to tallystick_api",
            "give tallystick_api a password and put it into DATABASE_URL; keep the superuser for `tallystick migrate`",
        )
    return _ok("role", f"the login {facts.login_role} is no superuser")


def judge_schema(facts: DatabaseFacts, newest: str) -> Finding:
    """Is the schema the one that this release needs."""
    if facts.revision != newest:
        there = "not there" if facts.revision is None else f"at revision {facts.revision}"
        return _fail("schema", f"the schema is {there}, this release needs {newest}", "run `tallystick migrate`")
    return _ok("schema", f"the schema is at revision {newest}")


def judge_durability(facts: DatabaseFacts) -> Finding:
    """Is what was committed on the disk."""
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    off = [name for name, value in wanted.items() if facts.settings[name] not in {value, "remote_apply"}]
    if off:
        names = ", ".join(f"{name} = {facts.settings[name]}" for name in off)
        return _fail("durability", f"a power cut may lose what was acknowledged: {names}", "switch it on")
    return _ok("durability", "a COMMIT is on the disk when it is answered")


def judge_fences(faults: Iterable[tuple[str, str]]) -> Finding:
    """Does anything in the schema break the pattern that keeps towns apart; `faults` are (fault, place)."""
    found = [f"{place} ({fault})" for fault, place in faults]
    if found:
        return _fail("fences", f"towns are not kept apart by: {_some(found)}", "undo what was changed by hand")
    return _ok("fences", "row-level security fences every table of the towns")


def judge_clock(facts: DatabaseFacts, towns: Iterable[TownFacts]) -> Finding:
    """Do this machine, the database's and the journal agree on the time."""
    ahead = [town for town in towns if town.written_seconds_ahead > JOURNAL_AHEAD_SECONDS]
    off = facts.clock_ahead_seconds
    said = f"this clock and the database's differ by {abs(off):.1f} s"
    if ahead:
        said = f"the journal of {ahead[0].name} is {ahead[0].written_seconds_ahead:.0f} s ahead of this clock"
    if abs(off) > CLOCK_FAIL_SECONDS or ahead:
        return _fail("clock", said, "set both clocks by NTP before anybody works on")
    if abs(off) > CLOCK_WARN_SECONDS:
        return _warn("clock", said, "let NTP set both clocks")
    return _ok("clock", said)


def judge_printer(problem: str | None, remedy: str) -> Finding:
    """PDFs can be made; without them everything else works, and those who want one wait."""
    if problem is None:
        return Finding(check="printer", level=Level.OK, said="PDFs of statements and Z reports can be made")
    return Finding(check="printer", level=Level.WARN, said=f"PDFs cannot be made here ({problem})", do=remedy)


def judge_disk(path: str, free_bytes: int, total_bytes: int) -> Finding:
    """Is there room."""
    said = f"{free_bytes / 1024**3:.1f} of {total_bytes / 1024**3:.0f} GiB are free at {path}"
    if free_bytes < DISK_FAIL_BYTES:
        return _fail("disk", said, "make room now: a full disk stops every write")
    if free_bytes < DISK_WARN_BYTES:
        return _warn("disk", said, "make room soon")
    return _ok("disk", said)


def judge_towns(towns: Sequence[TownFacts], suspended: int) -> Finding:
    """Does every town's journal end where its head is, and is every device at work."""
    torn = [town.name for town in towns if not town.is_head_journalled]
    if torn:
        return _fail("towns", f"head and journal disagree in {_some(torn)}", "run `tallystick verify`, stop writing")
    halted = [town.name for town in towns if town.is_halted]
    if halted:
        said = f"halted, because a device has seen history that is not here: {_some(halted)}"
        do = "nothing is written there until you act: follow docs/how-to/when-histories-disagree.md"
        return _fail("towns", said, do)
    if suspended:
        return _warn(
            "towns",
            f"{len(towns)} towns are sound, {suspended} devices are suspended",
            "look at `tallystick device list --town TOWN`: somebody waits for an answer",
        )
    return _ok("towns", f"{len(towns)} towns are sound")


def judge_signer(public_key: str, towns: Iterable[TownFacts]) -> Finding:
    """Is it the key that signed the journals."""
    foreign = [town.name for town in towns if not town.is_signed_by_key]
    if foreign:
        return _fail(
            "signer",
            f"another key has signed the journal of {_some(foreign)}",
            "put the right file where TALLYSTICK_SERVER_KEY_FILE points: devices trust no other",
        )
    return _ok("signer", f"the key {public_key[:12]}… is the one that signed the journals")


def judge_outbox(waiting: int, given_up: int, overdue_seconds: float) -> Finding:
    """Is work done in time."""
    said = f"{waiting} items wait, the longest overdue one for {overdue_seconds:.0f} s"
    if overdue_seconds > OVERDUE_FAIL_SECONDS:
        return _fail("outbox", said, "start a worker and the scheduler, and read their logs")
    if given_up:
        do = "look at `tallystick jobs list --dead` of each town; somebody has to do this work, or have it tried again"
        return _warn("outbox", f"{given_up} items were given up; {said}", do)
    if overdue_seconds > OVERDUE_WARN_SECONDS:
        return _warn("outbox", said, "see that worker and scheduler run")
    return _ok("outbox", said)


def judge_beats(process: str, ages: Mapping[str, float], age_seconds_max: float) -> Finding:
    """Does a process of this kind live; `ages` are seconds since the last beat, by `process@host`."""
    ours = [age for name, age in ages.items() if name.partition("@")[0] == process]
    if not ours:
        return _warn(process, f"no {process} has run on this data directory", f"start `tallystick {process}`")
    if min(ours) > age_seconds_max:
        said = f"no {process} has shown itself for {min(ours):.0f} s"
        return _fail(process, said, f"start `tallystick {process}` again; its log says why it ended")
    return _ok(process, f"a {process} showed itself {min(ours):.0f} s ago")


def judge_provider(
    name: str, scheme: str, host: str, our_host: str, *, missing: Sequence[str], is_reached: bool
) -> Finding:
    """Can a provider of payments be asked, and can it call back; `missing` are the settings that it lacks."""
    if missing:
        said = f"a provider is set, and not {', '.join(missing)}: nothing of the server starts like that"
        return _fail(name, said, "set what is missing, or take the provider's URL away")
    is_here = host in LOOPBACK
    if not is_here and scheme != "https":
        return _fail(name, f"our key would go to {host} in clear", "use the provider's https:// address")
    if not is_reached:
        said = f"nothing answers at {host}; payments wait, and are asked about again by themselves"
        return _warn(name, said, "see whether the address is right, and the network")
    if not is_here and our_host in LOOPBACK:
        said = f"{host} cannot call back at {our_host}; payments are confirmed later, by asking"
        return _warn(name, said, "set TALLYSTICK_PUBLIC_URL to an address that the provider reaches")
    return _ok(name, f"the provider at {host} is reached")


def judge_gateway(host: str | None, *, has_secrets: bool, is_reached: bool) -> Finding:
    """Do reminders leave by themselves: `host` is where to, None when no gateway is set."""
    if host is None:
        said = "no gateway is set: reminders are rows, for a program that takes them (TALLYSTICK_REMINDERS_URL)"
        return _ok("reminders", said)
    if not has_secrets:
        said = "a gateway is set, and not TALLYSTICK_REMINDERS_SECRETS: nothing of the server starts like that"
        return _fail("reminders", said, "set what is missing, or take the gateway's URL away")
    if not is_reached:
        said = f"nothing answers at {host}; reminders wait, and are tried again for ten hours"
        return _warn("reminders", said, "see whether the address is right, and the network")
    return _ok("reminders", f"the gateway at {host} is reached")


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _ok(check: str, said: str) -> Finding:
    return Finding(check=check, level=Level.OK, said=said)


def _warn(check: str, said: str, do: str) -> Finding:
    return Finding(check=check, level=Level.WARN, said=said, do=do)


def _fail(check: str, said: str, do: str) -> Finding:
    return Finding(check=check, level=Level.FAIL, said=said, do=do)
