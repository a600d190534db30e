"""Deliberate defects of money, one at a time; `tests.simulation.mutants` makes them."""

from __future__ import annotations

from tests.simulation.mutant import Mutant

MOMO, REFUNDS = "sync/modules/billing/momo.py", "sync/modules/billing/refunds.py"
PAYMENTS = "sync/modules/billing/payments.py"
INVOICES = "sync/modules/billing/invoices.py"

MONEY_MUTANTS = (
    Mutant(
        name="more is allocated than is owed",
        path=PAYMENTS,
        before='        placed = 0 if is_void else min(minor, invoice["remaining_minor"])',
        after="        placed = 0 if is_void else minor",
    ),
    Mutant(
        name="what is confirmed twice is paid twice",
        path=MOMO,
        before="    if was not in NOT_ARRIVED:",
        after='    if was == "VOIDED":',
    ),
    Mutant(
        name="what was asked for counts, and not what came",
        path=MOMO,
        before='    amounts = {"amount_minor": came,',
        after='    amounts = {"amount_minor": settlement["amount_minor"],',
    ),
    Mutant(
        name="what the provider takes back stays paid",
        path=MOMO,
        before='    way = settlement["suspense_minor"] - minor\n',
        after='    way = settlement["suspense_minor"]\n',
        test="tests/decisions/test_cards_online.py",
    ),
    Mutant(
        name="more is given back than came",
        path=REFUNDS,
        before="    if not 0 < minor <= left:",
        after="    if not 0 < minor:",
    ),
    Mutant(
        name="who asks for a refund approves it",
        path=REFUNDS,
        before='    if refund["requested_by"] == draft.change_set.actor:',
        after='    if not refund["requested_by"]:',
    ),
    Mutant(
        name="a reference that came before is not looked for",
        path="sync/modules/billing/marks.py",
        before="    return other if other != payment else None\n\n\ndef last_asked",
        after="    return None\n\n\ndef last_asked",
        test="tests/decisions/test_momo.py",
    ),
    Mutant(
        name="what arrived at the bank is booked as often as it is said",
        path="sync/modules/billing/pay_outs.py",
        before="    if before is not None:",
        after='    if before is not None and before["fee_minor"] < 0:',
        test="tests/decisions/test_pay_outs.py",
    ),
    Mutant(
        name="what cards have paid out is taken from mobile money",
        path="sync/modules/billing/pay_outs.py",
        before='CLEARING = {"momo": MOMO, "card": CARD}',
        after='CLEARING = {"momo": MOMO, "card": MOMO}',
    ),
    Mutant(
        name="a drawer that is closed stays open",
        path="sync/modules/billing/drawers.py",
        before='"differences": differences, "state": "CLOSED",',
        after='"differences": differences, "state": "COUNTED",',
    ),
    Mutant(
        name="credit is used and stays",
        path=INVOICES,
        before='    change_credit(draft, credit["party_id"], currency, -minor,',
        after='    change_credit(draft, credit["party_id"], currency, 0,',
    ),
    Mutant(
        name="an invoice that is cancelled keeps what was paid on it",
        path=INVOICES,
        before='        change_credit(draft, invoice["party_id"], invoice["currency"], paid_minor,',
        after='        change_credit(draft, invoice["party_id"], invoice["currency"], 0,',
        test="tests/decisions/test_invoices.py",
    ),
    Mutant(
        name="a statement adds what came in",
        path="server/domain/statements.py",
        before='"balance_minor": before + one.minor})',
        after='"balance_minor": before + abs(one.minor)})',
    ),
)
