"""What a list is: the rows of an entity, who reads them, by what they may be filtered and ordered. Data, no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

OFFICE = frozenset({"admin", "dispatcher"})
INDOORS = OFFICE | {"warehouse_staff"}
COUNTERS = OFFICE | {"counter_clerk"}
SCHOOL_ONLY = frozenset({"school_office"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A parameter of a list: the field it looks at, and how; `values` are all that there can be, if they are few."""

    field: str
    how: Literal["is", "from", "before", "holds"] = "is"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class List:
    """The rows of an entity for those who have one of `roles`; the first order is the usual one, `-` turns it round.

    `hidden` fields are not for this list, whoever reads it. With `of_school` a row is of the school in that field, and
    who reads the list only because they work for a school sees its rows alone.
    """

    entity: str
    roles: frozenset[str]
    filters: Mapping[str, Filter]
    orders: tuple[str, ...]
    hidden: frozenset[str] = frozenset()
    of_school: str | None = None
