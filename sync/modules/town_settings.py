"""What a town decides for itself, and what is so where it says nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sync.kernel.changeset import Fields

PAYMENT_UNITS_MAX = 100_000_000
"""The most that one payment can be where a town says nothing else, in whole units of its currency.

Higher than any cash at a door in a currency of large numbers, and far below where sums could run over.
"""

COUNT_CORRECTION_MAX = 20
"""The largest correction by a count that nobody asks about, in pieces, where a town says nothing else."""

DEVICE_DAYS_MAX = 30
"""After how many days business that is closed leaves the devices, where a town says nothing else."""

RETURN_DAYS_MAX = 7
"""After how many days goods that were not delivered are missed, where a town says nothing else."""

UNPAID_MINUTES_MAX = 60
"""After how many minutes an order that was to be paid first is given up, where a town says nothing else."""

OFFLINE_DAYS = 7
"""For how many days a device may take money without the server, where a town says nothing else."""


class TownSettings(BaseModel):
    """What a town decides for itself; `payment_units_max` in whole units of the payment's currency.

    A refund of more than `refund_units_max`, too, takes a second person. A price that changed is honoured for
    `price_grace_days`, and nobody is asked about a difference up to `price_difference_units_max`.
    `sells_online` opens the catalogue and the till to customers; a town that does not say sells. `offline_days` and
    `cash_ceiling_units` (whole units of each currency) are what a device may do without the server; a town that names
    no ceiling has none. After `unpaid_minutes_max` an order by mobile money or card is given up when it
    is not paid nor picked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    payment_units_max: Annotated[int, Field(ge=1, le=999_999_999_999)] = PAYMENT_UNITS_MAX
    refund_units_max: Annotated[int, Field(ge=0, le=999_999_999_999)] | None = None
    price_grace_days: Annotated[int, Field(ge=0, le=3650)] | None = None
    price_difference_units_max: Annotated[int, Field(ge=0, le=999_999_999_999)] | None = None
    count_correction_max: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    return_days_max: Annotated[int, Field(ge=1, le=365)] | None = None
    device_days_max: Annotated[int, Field(ge=1, le=3650)] | None = None
    sells_online: bool | None = None
    offline_days: Annotated[int, Field(ge=1, le=365)] | None = None
    cash_ceiling_units: Annotated[int, Field(ge=0, le=999_999_999_999)] | None = None
    unpaid_minutes_max: Annotated[int, Field(ge=1, le=43_200)] | None = None

    def as_row(self) -> Fields:
        """What the town's row holds: nothing of what is not said, so that an old line gives the row that it gave."""
        return self.model_dump(exclude_none=True)
