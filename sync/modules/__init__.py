"""The business: every module that comes with Tallystick, and the registry that joins them."""

from __future__ import annotations

from functools import cache

from sync.kernel.cases import CASES as ENGINE_CASES
from sync.kernel.module import Module, ModuleKind, Registry
from sync.modules import billing, casework, catalogue, commerce, histories, identity, receipts, schools

ENGINE = Module(name="engine", kind=ModuleKind.TRUTH, cases=ENGINE_CASES)


@cache
def registry() -> Registry:
    """All built-in modules, each after those it needs."""
    return Registry(
        [
            ENGINE,
            casework.MODULE,
            identity.MODULE,
            histories.MODULE,
            catalogue.MODULE,
            billing.MODULE,
            receipts.MODULE,
            commerce.MODULE,
            schools.MODULE,
        ]
    )
