"""A line that stands for another one, which was never accepted: it takes effect once, whoever sends it how often.

A device whose chain forked writes what the server never accepted anew, behind the server's head. Two copies of it may
do so with the same line, and the line itself may have been accepted after all; so what a line stands for is kept as a
row `replacement`, whose id follows from the hash. A receipt for the old line leads to the new one by that row.
"""

from __future__ import annotations

from sync.kernel.cases import BOOKED_BEFORE, LINE_REJECTED
from sync.kernel.changeset import ChangeSet, Decision, Fields, Note, RowKey, Status, Verdict
from sync.kernel.draft import Context
from sync.kernel.errors import Malformed
from sync.kernel.replacing import BOOKED, REJECTED, replacement_key, replacement_row
from sync.kernel.view import UNSEEN, View


class ForeignReplaced(Malformed):
    """The change set stands for one of another device; only the office may write such a one."""

    code = "foreign_replaced"


def stands_for_foreign(change_set: ChangeSet) -> bool:
    """Whether a device speaks for another one: it could use up what that one has yet to send."""
    return change_set.replaces is not None and change_set.replaces.device != change_set.device


def decided_before(change_set: ChangeSet, view: View, context: Context) -> Decision | None:
    """The decision about a line that stands for one of which something became already; None when nothing did."""
    replaced = change_set.replaces
    if replaced is None:
        return None
    row = view.get(*replacement_key(replaced.hash))
    if row is not None and row is not UNSEEN and row["outcome"] == REJECTED:
        note = Note(code=LINE_REJECTED.id, text=LINE_REJECTED.explain({"seq": replaced.seq}))
        return Decision(verdict=Verdict(status=Status.QUARANTINED, rule=note.code, notes=(note,)), rows={})
    if context.is_booked:
        by = (replaced.device, replaced.seq)
    elif row is not None and row is not UNSEEN:
        by = (row["by_device_id"], row["by_seq"])
    else:
        return None
    data = {"device_id": by[0], "seq": by[1]}
    note = Note(code=BOOKED_BEFORE.id, text=BOOKED_BEFORE.explain(data), data=data)
    return Decision(verdict=Verdict(status=Status.ADJUSTED, rule=note.code, notes=(note,)), rows={})


def replacing_rows(change_set: ChangeSet, context: Context) -> dict[RowKey, Fields]:
    """What is kept when a line that stands for another one takes effect."""
    replaced = change_set.replaces
    if replaced is None or not context.is_truth:
        return {}
    row = replacement_row(replaced, BOOKED, (change_set.device, change_set.seq))
    return {replacement_key(replaced.hash): row}
