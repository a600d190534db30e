"""What a deliberate defect is: a replacement of one piece of source that stands there exactly once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """A defect: what stands in a file, and what stands there instead. `test` kills what the simulator cannot see."""

    name: str
    path: str
    before: str
    after: str
    test: str = ""
