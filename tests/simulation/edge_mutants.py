"""Deliberate defects of what is beside the store: statements in Redis, files, enrolment; `mutants` makes them."""

from __future__ import annotations

from tests.simulation.mutant import Mutant

EDGE_MUTANTS = (
    Mutant(
        name="a commit does not tell that an account has changed",
        path="server/application/queries/statements.py",
        before="        cache.changed(step.head.version, parties, schools)",
        after="        cache.changed(step.head.version, (), schools)",
    ),
    Mutant(
        name="a statement that is kept is shown at the door of another town",
        path="server/application/queries/statements.py",
        before="            if town != town_id.encode():",
        after="            if not town:",
    ),
    Mutant(
        name="a statement is kept for a day",
        path="server/adapters/redis/statement_cache.py",
        before="KEPT_SECONDS = 60",
        after="KEPT_SECONDS = 24 * 3600",
    ),
    Mutant(
        name="what was written while a file was made is left out",
        path="server/application/queries/exchange_page.py",
        before="        cursors[bucket] = snapshot.version\n",
        after="        cursors[bucket] = snapshot.version + 1\n",
    ),
    Mutant(
        name="a file that was altered is believed",
        path="client_sdk/application/snapshots.py",
        before="    if digest.hexdigest() != offer.sha256:",
        after="    if not digest.hexdigest():",
    ),
    Mutant(
        name="who asks again to be enrolled gets another certificate",
        path="server/application/commands/enrol_device.py",
        before='        certificate=device["certificate"],',
        after="        certificate=_operation(request, enrolment, device_id, signer, system).certificate,",
    ),
)
