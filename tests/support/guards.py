"""What guards a made-up key or password in tests: as in the product, but for the memory that guessing it would take.

Whoever opens it reads the cost beside it, so one that was made cheaply here is cheap for every process.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from client_sdk.adapters import keys
from server.domain import passwords

COSTS_KIB: Final[dict[ModuleType, int]] = {module: module._MEMORY_KIB for module in (keys, passwords)}
"""What it costs outside of tests."""

CHEAP_KIB = 64


def cheapen_guards() -> None:
    """From now on this process makes cheap ones; also what a process that a test starts may be told to begin with."""
    for module in COSTS_KIB:
        module.__dict__["_MEMORY_KIB"] = CHEAP_KIB


def restore_guards() -> None:
    """From now on this process makes what the product makes."""
    for module, memory_kib in COSTS_KIB.items():
        module.__dict__["_MEMORY_KIB"] = memory_kib
