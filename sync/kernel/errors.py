"""One class per fault, each with a stable code; the docstring is the sentence a person reads.

Nothing here knows about HTTP or SQL: the edges translate a class into a status or an exit code in one table each.
"""

from __future__ import annotations

from typing import ClassVar


class TallystickError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())

    @property
    def message(self) -> str:
        """The sentence for the reader."""
        return str(self.args[0])


class Malformed(TallystickError):
    """The input cannot be read: it breaks the format."""

    code = "malformed"


class InvalidId(Malformed):
    """The id is not a canonical lower-case UUID of version 7 or 8."""

    code = "invalid_id"


class InvalidMoney(Malformed):
    """The amount is not a positive decimal string with no more places than its currency has."""

    code = "invalid_money"


class InvalidClockReading(Malformed):
    """The time is not a UTC time in milliseconds with a four-digit counter."""

    code = "invalid_clock_reading"


class UnknownOperation(Malformed):
    """The operation is not known here; it may come from a newer version of the app."""

    code = "unknown_operation"


class LimitExceeded(Malformed):
    """The input is larger than the named limit allows."""

    code = "limit_exceeded"


class ChainBroken(TallystickError):
    """The change set does not follow on from the one before it, or its signature does not fit."""

    code = "chain_broken"


class ChainGap(TallystickError):
    """A change set is missing before the first one that was sent; send from the expected position."""

    code = "chain_gap"

    def __init__(self, expected_seq: int) -> None:
        super().__init__(f"a change set is missing: send again from position {expected_seq}")
        self.expected_seq = expected_seq


class ChainForked(TallystickError):
    """The device has sent two different change sets for one position: a clone, a restored backup or tampering."""

    code = "chain_forked"

    def __init__(self, seq: int) -> None:
        super().__init__(f"position {seq} was already used by a different change set of this device")
        self.seq = seq


class InvalidModule(TallystickError):
    """The module's declaration contradicts itself or another module's."""

    code = "invalid_module"
