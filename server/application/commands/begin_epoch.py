"""An epoch is begun: what came later in the one before is given up, and devices send it again."""

from __future__ import annotations

from server.application.commands.apply_change_sets import Appliers
from server.application.histories import may_be_branched
from server.application.ports import Towns


async def begin_epoch(town_id: str, reason: str, *, appliers: Appliers, towns: Towns) -> str:
    """Begin an epoch where the town stands, whether it is halted or not; its id.

    A second one is begun at once over an epoch that may have two branches: whoever was in the lost one then knows
    that epoch as lost as a whole, and asks again for every verdict of it. Raises what the write path raises; where
    only one was begun then, doing it once more is right.
    """
    epoch = await appliers.begin_epoch(town_id, reason)
    histories = towns.histories
    if may_be_branched(epoch, await histories.epochs(town_id), await histories.halts(town_id)):
        epoch = await appliers.begin_epoch(town_id, reason)
    return epoch
