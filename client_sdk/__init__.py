"""What an app embeds: a replica of its town that works all day without a network, and every fault it can report.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client_sdk.errors import (
        ActingAsMissing,
        ActorInactive,
        AlreadyEnrolled,
        BadAnswer,
        DiskFailed,
        DiskFull,
        KeyMissing,
        NeverSynced,
        NoKeystore,
        NoQrCode,
        NoReceipt,
        NoSealingKey,
        NotAQuery,
        NotAReplica,
        NotEnrolled,
        NothingToName,
        Offline,
        PinMissing,
        Refused,
        ReplicaBusy,
        ReplicaClosed,
        ReplicaCorrupt,
        ReplicaReadOnly,
        ReplicaTooNew,
        ReplicaWiped,
        ServerProblem,
        StaleExchange,
        TownHalted,
        UnknownActor,
        UnknownServerKey,
        WrongDevice,
        WrongPassphrase,
        WrongPin,
    )
    from client_sdk.receipts import (
        PrintedReceipt,
        Receipt,
        ReceiptAltered,
        ReceiptForeign,
        ReceiptForged,
        ReceiptKeyUnknown,
        ReceiptReused,
        ReceiptUnreadable,
        verify_receipt,
    )
    from client_sdk.replica import Replica

__all__ = [
    "ActingAsMissing",
    "ActorInactive",
    "AlreadyEnrolled",
    "BadAnswer",
    "DiskFailed",
    "DiskFull",
    "KeyMissing",
    "NeverSynced",
    "NoKeystore",
    "NoQrCode",
    "NoReceipt",
    "NoSealingKey",
    "NotAQuery",
    "NotAReplica",
    "NotEnrolled",
    "NothingToName",
    "Offline",
    "PinMissing",
    "PrintedReceipt",
    "Receipt",
    "ReceiptAltered",
    "ReceiptForeign",
    "ReceiptForged",
    "ReceiptKeyUnknown",
    "ReceiptReused",
    "ReceiptUnreadable",
    "Refused",
    "Replica",
    "ReplicaBusy",
    "ReplicaClosed",
    "ReplicaCorrupt",
    "ReplicaReadOnly",
    "ReplicaTooNew",
    "ReplicaWiped",
    "ServerProblem",
    "StaleExchange",
    "TownHalted",
    "UnknownActor",
    "UnknownServerKey",
    "WrongDevice",
    "WrongPassphrase",
    "WrongPin",
    "verify_receipt",
]

_ELSEWHERE = {"Replica": "client_sdk.replica"} | {
    name: "client_sdk.receipts" for name in __all__ if "receipt" in name.lower() and name != "NoReceipt"
}
"""Where a name is when it is not in `client_sdk.errors`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_ELSEWHERE.get(name, "client_sdk.errors"))
    return getattr(module, name)
