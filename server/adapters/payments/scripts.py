"""How the sandbox's customers behave: a script for each phone number, and every fault that a provider can have.

A number that has no script pays at once and is called back once. Numbers without a name in `BY_NUMBER` may be given a
script while the sandbox runs.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.application.payment_ports import WordKind

Callback = Literal["once", "never", "twice", "early", "reordered", "forged", "stale", "altered", "foreign"]
"""`early` comes before the request is answered, `reordered` brings PENDING after the last word, `forged` says
SUCCESSFUL whatever is true. Of cards, whose webhooks are signed: `forged` has the signature of another secret, `stale`
that of an hour ago, `altered` comes a second time with another body, `foreign` is about a town that is not ours."""

Fault = Literal["none", "500", "500_in", "hang", "hang_in", "cut", "cut_in"]
"""What a call meets: `…_in` has its effect all the same, a hang gets no answer, a cut loses the connection."""

Faults = Annotated[tuple[Fault, ...], Field(max_length=20)]


class Script(BaseModel):
    """What becomes of a request. `amount` and `currency` are what the customer pays instead of what was asked.

    It is PENDING for so many questions (`pending_asks`) and so long (`after_seconds`), then `word`; after another
    `then_after_seconds` it is `then`, with a callback of its own. `on_post` and `on_get` are the faults of the first
    calls, one each. It is not found for `hidden_asks` questions although it got in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    word: WordKind = WordKind.SUCCESSFUL
    reason: str = ""
    amount: str | None = None
    currency: str | None = None
    pending_asks: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    then: WordKind | None = None
    then_after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    callback: Callback = "once"
    method: Literal["POST", "PUT"] = "PUT"
    on_post: Faults = ()
    on_get: Faults = ()
    hidden_asks: Annotated[int, Field(ge=0, le=1_000)] = 0


FOR_EVER: Final = 1_000_000


def _fails(reason: str) -> Script:
    return Script(word=WordKind.FAILED, reason=reason)


BY_NUMBER: Final = {
    "46733123450": _fails("INTERNAL_PROCESSING_ERROR"),
    "46733123451": _fails("APPROVAL_REJECTED"),
    "46733123452": _fails("EXPIRED"),
    "46733123453": Script(pending_asks=FOR_EVER, callback="never"),
    "46733123454": Script(pending_asks=2),
    "46733123455": _fails("NOT_ENOUGH_FUNDS"),
    "46733123456": _fails("PAYER_NOT_FOUND"),
    "46733123457": _fails("PAYER_LIMIT_REACHED"),
    "46733123458": _fails("COULD_NOT_PERFORM_TRANSACTION"),
    "46733123459": _fails("SOMETHING_NEW"),
    "46733123460": Script(amount="1.00"),
    "46733123461": Script(currency="EUR"),
    "46733123462": Script(word=WordKind.FAILED, reason="EXPIRED", then=WordKind.SUCCESSFUL, then_after_seconds=3),
    "46733123463": Script(then=WordKind.FAILED, then_after_seconds=3),
    "46733123464": Script(then=WordKind.REVERSED, then_after_seconds=3),
    "46733123470": Script(callback="never"),
    "46733123471": Script(callback="twice"),
    "46733123472": Script(callback="reordered"),
    "46733123473": Script(callback="early"),
    "46733123474": Script(word=WordKind.FAILED, reason="APPROVAL_REJECTED", callback="forged"),
    "46733123475": Script(method="POST"),
    "46733123480": Script(on_post=("500",)),
    "46733123481": Script(on_post=("500_in",)),
    "46733123482": Script(on_post=("hang",)),
    "46733123483": Script(on_post=("hang_in",)),
    "46733123484": Script(on_post=("cut_in",)),
    "46733123485": Script(on_get=("500", "500", "500")),
    "46733123486": Script(on_get=("hang", "cut")),
    "46733123487": Script(hidden_asks=2),
}
"""The numbers of the provider's own sandbox (…450 to …454), and ours behind them. Each is in the docs."""

BY_CARD: Final = {
    "4000000000000002": _fails("card_declined"),
    "4000000000009995": _fails("insufficient_funds"),
    "4000000000000069": _fails("expired_card"),
    "4000000000000119": _fails("something_new"),
    "4000000000003220": Script(pending_asks=2),
    "4000000000003238": Script(pending_asks=FOR_EVER, callback="never"),
    "4000000000000259": Script(then=WordKind.REVERSED, then_after_seconds=3, reason="fraudulent"),
    "4000000000000341": Script(amount="1.00"),
    "4000000000005100": Script(callback="never"),
    "4000000000005118": Script(callback="twice"),
    "4000000000005126": Script(callback="reordered"),
    "4000000000005134": Script(word=WordKind.FAILED, reason="card_declined", callback="forged"),
    "4000000000005142": Script(callback="stale"),
    "4000000000005159": Script(callback="altered"),
    "4000000000005167": Script(callback="foreign"),
}
"""What becomes of a payment by the card's number; every other number pays and is told of once. Each is in the docs."""
