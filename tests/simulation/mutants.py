"""Deliberate defects, one at a time: each must make the simulator, or a named test, fail. `make mutants` runs them all.

A mutant is a replacement of one piece of source that stands there exactly once. It is made in a copy of the tree, so
nothing here is ever changed. A survivor is a promise that nothing checks; a mutant whose source is not there any more
is one as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.simulation.edge_mutants import EDGE_MUTANTS
from tests.simulation.money_mutants import MONEY_MUTANTS
from tests.simulation.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("client_sdk", "docs", "migrations", "server", "sync", "tests", "loadtests")
SEEDS_MAX = 500
SECONDS_MAX = 1_800
SURVIVED, FAILED, KILLED = 0, 1, 3
HUNT = """
import sys
from tests.simulation.run import run_seed
for seed in range(1, {seeds}):
    try:
        findings = run_seed(seed).findings
    except Exception as fault:
        findings = [repr(fault)]
    if findings:
        print(f"seed {{seed}}: {{findings[0][:150]}}")
        sys.exit({killed})
"""


CHAIN, APPLY = "sync/engine/chain.py", "server/application/commands/apply_change_sets.py"
FEED, PAGES = "sync/engine/feed.py", "server/application/queries/exchange_page.py"
STATE, STORE = "client_sdk/adapters/memory_state.py", "client_sdk/adapters/memory.py"
TOWN, DECIDE = "sync/engine/town.py", "sync/engine/decide.py"

MUTANTS = (
    Mutant(
        name="a fork is not seen",
        path=CHAIN,
        before="        if known.get(link.seq) != link.digest:\n            raise ChainForked(link.seq)",
        after="        if link.seq not in known:\n            raise ChainForked(link.seq)",
    ),
    Mutant(
        name="no dedupe",
        path=CHAIN,
        before="    repeated = [link for link in links if link.seq <= head.seq]",
        after="    repeated: list[Link] = []",
    ),
    Mutant(
        name="an act that makes nothing may be recorded again under its id",
        path="client_sdk/application/record.py",
        before="    if operation.made() is None:",
        after="    if False:",
    ),
    Mutant(
        name="no head lock: rows of another process are not read again",
        path=APPLY,
        before="        if lane.head != head:",
        after="        if lane.head is None:",
    ),
    Mutant(
        name="ack before commit: a commit in doubt is believed",
        path=APPLY,
        before="if done is None or not await is_committed(self._towns, lane.town_id, done):",
        after="if done is None:",
    ),
    Mutant(
        name="lines of a fork are not kept",
        path=APPLY,
        before="        await histories.keep_lines(",
        after="        (lambda *_, **__: None)(",
    ),
    Mutant(
        name="a fork suspends nobody",
        path=APPLY,
        before="        await self.author(upload.town_id, server_device_id(upload.town_id), [suspend])",
        after="        del suspend",
        test="tests/e2e/test_forks.py",
    ),
    Mutant(
        name="poison is tried for ever",
        path="server/application/planning.py",
        before="failing(submitted) if count >= FAILURES_MAX else submitted",
        after="failing(submitted) if count >= 10 * FAILURES_MAX else submitted",
    ),
    Mutant(
        name="a request of the office is done as often as it comes",
        path="server/application/batch.py",
        before="            self.answered[request.key] = self.newly_answered[request.key] = answered",
        after="            self.answered[request.key] = answered",
    ),
    Mutant(
        name="tombstone dropped on bucket leave",
        path=FEED,
        before="        if bucket not in buckets:",
        after="        if bucket in ():",
    ),
    Mutant(
        name="a checksum forgets the row that was there",
        path=FEED,
        before="            yield bucket, BucketSum().without_row(entity.name, row_id, before.version)",
        after="            yield bucket, BucketSum()",
    ),
    Mutant(
        name="checksum not compared",
        path=STATE,
        before="            fits = mark.sum is None or (mark.rows, int(mark.sum, 16)) == (held.rows, held.total)",
        after="            fits = True",
    ),
    Mutant(
        name="verdict not stored on the device",
        path=STATE,
        before="            status=LineStatus.ANSWERED,",
        after="            status=entry.status,",
    ),
    Mutant(
        name="what an epoch has lost is not sent again",
        path="client_sdk/application/exchange.py",
        before="        self._store.rewind(expected - 1)\n",
        after="",
    ),
    Mutant(
        name="a bucket that starts anew keeps its rows",
        path=STATE,
        before="        self._forget(line.b)\n        if line.state",
        after="        if line.state",
    ),
    Mutant(
        name="overlay not rebuilt",
        path=STORE,
        before="            self._relay(now)\n            now.spool = now.signed",
        after="            now.spool = now.signed",
    ),
    Mutant(
        name="two processes on one file do not see each other",
        path=STORE,
        before="        if now.generation != state.generation:",
        after="        if now.generation is None:",
        test="tests/conformance/test_store.py",
    ),
    Mutant(
        name="cursors of a lost epoch are believed",
        path=PAGES,
        before="known = hello.cursors if epoch in {None, reader.head.epoch} else {}",
        after="known = hello.cursors",
    ),
    Mutant(
        name="a page loses the rest of its bucket",
        path=PAGES,
        before="                cursors[bucket] = page.last_version\n                return False",
        after="                cursors[bucket] = states[bucket].version\n                return False",
    ),
    Mutant(
        name="what another process has written is not noticed",
        path="server/application/recent.py",
        before="        return town if town and standing == (town.head, False) else None",
        after="        return town if standing else None",
    ),
    Mutant(
        name="what is remembered of buckets does not move",
        path="server/application/recent.py",
        before="            town.states[bucket] = replace(before, version=step.head.version,",
        after="            town.states[bucket] = replace(before, version=before.version,",
    ),
    Mutant(
        name="a device that was put out of use is remembered as one in use",
        path="server/application/recent.py",
        before="    if any(row.entity in _DECIDING for row in step.rows):",
        after="    if any(row.entity in () for row in step.rows):",
    ),
    Mutant(
        name="a witness always fits",
        path="server/application/histories.py",
        before="    return entry is not None and encode_bytes(entry.digest) == witness.journal",
        after="    return entry is not None",
        test="tests/server/api/test_histories.py",
    ),
    Mutant(
        name="who saw a lost part is shut out for ever",
        path="server/application/histories.py",
        before="        if (lost or is_contradicted) and await _is_given_up(",
        after="        if hello.epoch is None and await _is_given_up(",
        test="tests/server/application/test_given_up_histories.py",
    ),
    Mutant(
        name="the verdicts of a lost branch are kept",
        path="server/application/commands/begin_epoch.py",
        before="    if may_be_branched(",
        after="    if not epoch and may_be_branched(",
        test="tests/server/application/test_given_up_histories.py",
    ),
    Mutant(
        name="a revoked device keeps what was lost after it was answered",
        path="client_sdk/application/wipe.py",
        before="    return min(unsent, kept.seq + 1) if is_ours else 1",
        after="    return unsent if is_ours else 1",
        test="tests/client_sdk/test_wipe.py",
    ),
    Mutant(
        name="a revoked device is wiped before it has handed in",
        path="client_sdk/application/wipe.py",
        before="            receipt = courier.deliver(claim, box)\n            _check_receipt(",
        after="            receipt = courier\n            (lambda *_: None)(",
    ),
    Mutant(
        name="a line written anew does not name what it stands for",
        path="client_sdk/application/reauthor.py",
        before="        replaces=",
        after="        replaces=None if True else ",
    ),
    Mutant(
        name="what stands for a booked line is booked again",
        path="sync/engine/replacing.py",
        before="    if replaced is None:\n        return None\n",
        after="    if replaced is None or context.is_truth:\n        return None\n",
    ),
    Mutant(
        name="LWW on status: goods go down again",
        path="sync/modules/commerce/entities.py",
        before="    if now not in way or way.index(now) >= way.index(target):\n        return ()",
        after="    if now not in way or way.index(now) >= way.index(target):\n        return (target,)",
    ),
    Mutant(
        name="count as overwrite",
        path="sync/modules/commerce/counts.py",
        before='        shelf.book(draft, place, on_hand=correction, reason="counted", count=weighed.row_id)',
        after='        draft.update("stock_level", place.level_id, on_hand=weighed.line.counted)',
    ),
    Mutant(
        name="what is released stays reserved",
        path="sync/modules/commerce/orders.py",
        before='            reserved=-line["reserved"],\n            reason="released",',
        after='            reserved=0,\n            reason="released",',
    ),
    Mutant(
        name="a conflict without its task",
        path="sync/kernel/casework.py",
        before='    if matter.task:\n        rows["task", task_id]',
        after='    if matter.task and not matter.audience:\n        rows["task", task_id]',
    ),
    Mutant(
        name="an adjustment without its rule",
        path="sync/kernel/draft.py",
        before="        self.rule = self.rule or case.id\n        self.notes.append(Note(code=case.id, text=text,",
        after="        self.notes.append(Note(code=case.id, text=text,",
    ),
    Mutant(
        name="a version is left out",
        path=TOWN,
        before="    version = head.version + 1\n",
        after="    version = head.version + (2 if head.version == 15 else 1)\n",
    ),
    Mutant(
        name="a journal entry does not name the one before it",
        path=TOWN,
        before='            "prev": encode_bytes(head.journal),',
        after='            "prev": encode_bytes(bytes(32)),',
    ),
    Mutant(
        name="the rows of another driver are shown",
        path="sync/modules/commerce/entities.py",
        before="    return () if is_archived else (f\"driver:{row['driver_id']}\",)",
        after='    return () if is_archived else (f"driver:{row[\'driver_id\']}", "town")',
    ),
    Mutant(
        name="recorded, but not kept",
        path="client_sdk/application/record.py",
        before="        recording.append(entry, ",
        after="        if entry.seq % 3:\n            recording.append(entry, ",
    ),
    Mutant(
        name="the server says that it holds more than it does",
        path="server/api/exchange.py",
        before="    acked = max(device.head.seq, hello.head.seq if lines else 0)",
        after="    acked = max(device.head.seq, hello.head.seq)",
        test="tests/server/api/test_exchange.py",
    ),
    Mutant(
        name="a device that wrote anew lets go of what was answered",
        path=STATE,
        before="        self.entries = {seq: entry for seq, entry in self.entries.items() if seq < first}",
        after="        self.entries = {}",
        test="tests/conformance/test_rebasing.py",
    ),
    Mutant(
        name="verdicts of a lost part are kept",
        path="client_sdk/application/exchange.py",
        before="return first if first is not None and first < asked.from_seq else None",
        after="return None",
        test="tests/client_sdk/test_exchange_history.py",
    ),
    Mutant(
        name="a device that cannot send what is missing is not told where to go on",
        path="server/api/exchange.py",
        before="    return is_behind or (not lines and hello.pending > 0)",
        after="    return is_behind",
        test="tests/server/api/test_histories.py",
    ),
    *MONEY_MUTANTS,
    *EDGE_MUTANTS,
)


def main() -> int:
    """Hunt every mutant, or those whose name has one of the arguments in it; 1 when one survives."""
    wanted = [one for one in MUTANTS if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    survivors = []
    with tempfile.TemporaryDirectory(prefix="tallystick-mutants-") as folder:
        copy = Path(folder)
        for part in PARTS:
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for mutant in wanted:
            told = hunt(mutant, copy)
            if told is None:
                survivors.append(mutant.name)
            _say(f"{'SURVIVED' if told is None else 'killed'}: {mutant.name}{f' ({told})' if told else ''}")
    _say(
        f"{len(wanted) - len(survivors)} of {len(wanted)} killed" + "".join(f"\n  survived: {one}" for one in survivors)
    )
    return FAILED if survivors else SURVIVED


def hunt(mutant: Mutant, copy: Path) -> str | None:
    """What killed it; None when nothing did."""
    path = copy / mutant.path
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.before) != 1:
        return None
    path.write_text(source.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        return _killer(mutant, copy)
    finally:
        path.write_text(source, encoding="utf-8")


def _killer(mutant: Mutant, copy: Path) -> str | None:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", HUNT.format(seeds=SEEDS_MAX, killed=KILLED)]
    if mutant.test:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutant.test]
    try:
        run = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, check=False, text=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return f"it does not end in {SECONDS_MAX} seconds"
    if run.returncode == (FAILED if mutant.test else KILLED):
        return mutant.test or run.stdout.strip()
    return None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
