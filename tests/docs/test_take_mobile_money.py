"""The page about mobile money has every number of the sandbox, and says of each reason what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from server.adapters.payments.card_sandbox import Chaos
from server.adapters.payments.scripts import BY_CARD, BY_NUMBER, Script
from server.application.commands.settle_payments import CallbackAltered, RefundFailed
from server.application.payment_ports import ProviderRefused, ProviderUnavailable, ProviderUnintelligible, WordKind
from server.domain.webhooks import WebhookForeign, WebhookForged, WebhookStale
from sync.engine import receipts
from sync.engine.receipt_bytes import ReceiptUnreadable
from sync.kernel.errors import TallystickError

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/take-mobile-money.md").read_text(encoding="utf-8")
PROBLEMS = (ProviderUnavailable, ProviderRefused, ProviderUnintelligible, RefundFailed, CallbackAltered)
REASONS: set[type[TallystickError]] = {ReceiptUnreadable} | {
    one
    for one in vars(receipts).values()
    if isinstance(one, type) and issubclass(one, TallystickError) and one.__name__.startswith("Receipt")
}


def test_every_number_of_the_sandbox_is_on_the_page_with_the_reason_of_its_failure() -> None:
    told = dict(re.findall(r"^\| (\d{11}) \| (.+) \|$", PAGE, re.MULTILINE))

    assert told.keys() == BY_NUMBER.keys()
    for number, script in BY_NUMBER.items():
        if script.word is WordKind.FAILED and script.reason and number != "46733123459":
            assert told[number].startswith("fails"), number
        if told[number].startswith("fails: "):
            assert script.reason == told[number].removeprefix("fails: ")


def test_every_card_of_the_sandbox_is_on_the_page_with_the_reason_of_its_failure() -> None:
    told = dict(re.findall(r"^\| (\d{16}) \| (.+) \|$", PAGE, re.MULTILINE))

    assert told.keys() == BY_CARD.keys()
    for card, script in BY_CARD.items():
        is_failure = script.word is WordKind.FAILED and script.callback == "once"
        assert told[card].removeprefix("fails: ") == script.reason if is_failure else ": " not in told[card], card


def test_every_answer_to_a_webhook_is_on_the_page() -> None:
    told = set(re.findall(r"^\| 4\d\d `(\w+)` \|", PAGE, re.MULTILINE))

    assert told == {fault.code for fault in (WebhookForged, WebhookStale, WebhookForeign)}


def test_a_script_that_the_page_shows_is_one() -> None:
    (shown,) = re.findall(r"-d '(\{.+\})'", PAGE)
    (chaos,) = re.findall(r"`(\{\"on_post\".+?\})`", PAGE)

    assert Script.model_validate(orjson.loads(shown)).word is WordKind.FAILED
    assert Chaos.model_validate(orjson.loads(chaos)).on_post == ("500_in",)


def test_every_problem_and_every_reason_is_on_the_page() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))

    faults: set[type[TallystickError]] = {*PROBLEMS, *REASONS}
    assert told == {fault.code for fault in faults}
