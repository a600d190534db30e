"""Mobile money over real HTTP: what is asked, what is believed, and every way in which a provider can be no help."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.adapters.payments.momo import Momo, Token, read_word
from server.adapters.payments.sandbox import Sandbox
from server.adapters.payments.scripts import Script
from server.adapters.redis.breaker import FAILURES_MAX, OPEN_SECONDS, Breaker
from server.application.payment_ports import (
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnintelligible,
    Return,
    Wanted,
    Word,
    WordKind,
)
from tests.support.fake_server import Answer, fake_server, json_answer
from tests.support.provider import CALL_SECONDS_MAX, account, provider, reference

CALLBACKS = Path(__file__).parents[2] / "support" / "momo_callbacks.json"
GOOD = "46733123999"
WANTED = Wanted(
    reference=reference(1),
    amount="12.50",
    currency="GBP",
    payer=GOOD,
    external_id="INV-1",
    note="Order 1001",
    callback_url="",
)
PAID = Word(kind=WordKind.SUCCESSFUL, amount="12.50", currency="GBP", reference="100000001")


@pytest.fixture
def sandbox_at() -> Iterator[tuple[Sandbox, str]]:
    with provider() as running:
        yield running


@pytest.fixture
def sandbox(sandbox_at: tuple[Sandbox, str]) -> Sandbox:
    return sandbox_at[0]


@pytest.fixture
async def momo(sandbox_at: tuple[Sandbox, str]) -> AsyncIterator[Momo]:
    made = Momo(account(sandbox_at[1]), call_seconds_max=CALL_SECONDS_MAX)
    yield made
    await made.close()


async def test_money_that_is_asked_for_comes(momo: Momo) -> None:
    await momo.request(WANTED)

    assert await momo.ask(WANTED.reference) == PAID


async def test_the_request_is_what_the_provider_documents(momo: Momo, sandbox: Sandbox) -> None:
    await momo.request(replace(WANTED, note="x" * 500))

    assert sandbox.requests[WANTED.reference].body == {
        "amount": "12.50",
        "currency": "GBP",
        "externalId": "INV-1",
        "payer": {"partyIdType": "MSISDN", "partyId": GOOD},
        "payerMessage": "x" * 160,
        "payeeNote": "x" * 160,
    }


async def test_a_request_under_the_same_reference_is_there_already(momo: Momo, sandbox: Sandbox) -> None:
    for _ in range(3):
        await momo.request(WANTED)

    assert sandbox.posts == [WANTED.reference] * 3
    assert list(sandbox.requests) == [WANTED.reference]


async def test_a_request_that_the_provider_does_not_know_is_nothing(momo: Momo) -> None:
    assert await momo.ask(reference(9)) is None


@pytest.mark.parametrize(
    ("payer", "reason"),
    [
        ("46733123450", "INTERNAL_PROCESSING_ERROR"),
        ("46733123451", "APPROVAL_REJECTED"),
        ("46733123452", "EXPIRED"),
        ("46733123455", "NOT_ENOUGH_FUNDS"),
        ("46733123456", "PAYER_NOT_FOUND"),
        ("46733123457", "PAYER_LIMIT_REACHED"),
        ("46733123458", "COULD_NOT_PERFORM_TRANSACTION"),
        ("46733123459", "SOMETHING_NEW"),
    ],
)
async def test_a_failure_is_an_answer_with_a_reason(momo: Momo, payer: str, reason: str) -> None:
    await momo.request(replace(WANTED, payer=payer))

    assert await momo.ask(WANTED.reference) == Word(kind=WordKind.FAILED, amount="12.50", currency="GBP", reason=reason)


async def test_money_that_takes_its_time_is_pending_first(momo: Momo) -> None:
    await momo.request(replace(WANTED, payer="46733123454"))

    words = [await momo.ask(WANTED.reference) for _ in range(3)]

    assert [word.kind for word in words if word] == [WordKind.PENDING, WordKind.PENDING, WordKind.SUCCESSFUL]


async def test_what_was_paid_counts_and_not_what_was_asked(momo: Momo) -> None:
    await momo.request(replace(WANTED, payer="46733123460"))
    await momo.request(replace(WANTED, payer="46733123461", reference=reference(2)))

    assert await momo.ask(WANTED.reference) == replace(PAID, amount="1.00")
    assert await momo.ask(reference(2)) == replace(PAID, currency="EUR", reference="100000002")


@pytest.mark.parametrize("payer", ["46733123480", "46733123482"])
async def test_a_call_that_was_lost_is_done_by_the_next(momo: Momo, sandbox: Sandbox, payer: str) -> None:
    wanted = replace(WANTED, payer=payer)
    with pytest.raises(ProviderUnavailable):
        await momo.request(wanted)
    assert sandbox.requests == {}

    await momo.request(wanted)

    assert await momo.ask(WANTED.reference) == PAID


@pytest.mark.parametrize("payer", ["46733123481", "46733123483", "46733123484"])
async def test_a_call_whose_answer_was_lost_has_got_in(momo: Momo, sandbox: Sandbox, payer: str) -> None:
    wanted = replace(WANTED, payer=payer)
    with pytest.raises(ProviderUnavailable):
        await momo.request(wanted)
    assert list(sandbox.requests) == [WANTED.reference]

    await momo.request(wanted)  # 409

    assert (await momo.ask(WANTED.reference), len(sandbox.requests)) == (PAID, 1)


@pytest.mark.parametrize("fault", ["500", "hang", "cut"])
async def test_a_question_without_an_answer_says_nothing_about_the_money(
    momo: Momo, sandbox: Sandbox, fault: Any
) -> None:
    sandbox.script(GOOD, Script(on_get=(fault,)))
    await momo.request(WANTED)

    with pytest.raises(ProviderUnavailable):
        await momo.ask(WANTED.reference)
    assert await momo.ask(WANTED.reference) == PAID


async def test_a_provider_that_does_not_answer_is_left_in_peace_and_tried_again_later(
    sandbox_at: tuple[Sandbox, str],
) -> None:
    sandbox, url = sandbox_at
    now = 0.0
    momo = Momo(account(url), call_seconds_max=CALL_SECONDS_MAX, breaker=Breaker(monotonic=lambda: now))
    sandbox.script(GOOD, Script.model_validate({"on_post": ["500"] * FAILURES_MAX}))
    for _ in range(FAILURES_MAX + 2):
        with pytest.raises(ProviderUnavailable):
            await momo.request(WANTED)
    assert len(sandbox.posts) == FAILURES_MAX

    now = OPEN_SECONDS
    await momo.request(WANTED)

    assert await momo.ask(WANTED.reference) == PAID
    await momo.close()


async def test_a_provider_that_is_not_there_is_unavailable() -> None:
    momo = Momo(account("http://127.0.0.1:1"), call_seconds_max=CALL_SECONDS_MAX)

    with pytest.raises(ProviderUnavailable):
        await momo.ask(WANTED.reference)
    await momo.close()


async def test_a_token_that_was_taken_back_is_renewed(momo: Momo, sandbox: Sandbox) -> None:
    await momo.request(WANTED)
    sandbox.forget_tokens()

    assert await momo.ask(WANTED.reference) == PAID


async def test_a_request_that_the_provider_does_not_take_is_refused(momo: Momo) -> None:
    with pytest.raises(ProviderRefused, match="INVALID_REQUEST"):
        await momo.request(replace(WANTED, amount="0"))


async def test_money_goes_back_once(momo: Momo, sandbox: Sandbox) -> None:
    await momo.request(WANTED)
    returned = Return(
        reference=reference(2), paid=WANTED.reference, amount="2.50", currency="GBP", external_id="R-1", note="Returned"
    )
    for _ in range(2):
        await momo.give_back(returned)

    assert await momo.ask_return(returned.reference) == replace(PAID, amount="2.50", reference="100000002")
    assert len(sandbox.refunds) == 1
    assert await momo.ask_return(reference(9)) is None


async def test_money_that_never_came_does_not_go_back(momo: Momo) -> None:
    await momo.give_back(
        Return(reference=reference(2), paid=reference(9), amount="1", currency="GBP", external_id="R", note="")
    )

    word = await momo.ask_return(reference(2))
    assert word is not None
    assert (word.kind, word.reason) == (WordKind.FAILED, "PAYMENT_NOT_APPROVED")


def samples() -> list[dict[str, Any]]:
    """Bodies after the provider's documents, as they are in `momo_callbacks.json`."""
    found: list[dict[str, Any]] = orjson.loads(CALLBACKS.read_bytes())
    return found


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample["name"])
def test_a_body_of_the_documented_shape_is_read(sample: dict[str, Any]) -> None:
    word = read_word(orjson.dumps(sample["body"]))

    assert (word.kind.value, word.amount, word.currency) == (sample["body"]["status"], "150.00", "EUR")
    assert word.reason == sample["body"].get("reason", "")
    assert word.reference == sample["body"].get("financialTransactionId", "")


@pytest.mark.parametrize(
    ("amount", "currency", "read"),
    [
        ("150", "EUR", "150.00"),
        ("150.0", "EUR", "150.00"),
        (150, "UGX", "150"),
        (12.5, "KWD", "12.500"),
        ("0", "EUR", "0.00"),
    ],
)
def test_an_amount_is_read_with_the_places_of_its_currency(amount: object, currency: str, read: str) -> None:
    body = {"status": "SUCCESSFUL", "amount": amount, "currency": currency}

    assert read_word(orjson.dumps(body)).amount == read


def test_a_reason_may_be_an_object() -> None:
    body = {"status": "FAILED", "amount": "1", "currency": "EUR", "reason": {"code": "EXPIRED", "message": "too late"}}

    assert read_word(orjson.dumps(body)).reason == "EXPIRED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"status":"DONE","amount":"1","currency":"EUR"}',
        b'{"status":"SUCCESSFUL","currency":"EUR"}',
        *(
            b'{"status":"SUCCESSFUL","amount":%s,"currency":"EUR"}' % amount
            for amount in (b'"1.005"', b'"-1"', b'"NaN"')
        ),
        *(b'{"status":"SUCCESSFUL","amount":%s,"currency":"EUR"}' % amount for amount in (b"true", b"null", b'"1e99"')),
        b'{"status":"SUCCESSFUL","amount":"1","currency":"XXX"}',
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(body: bytes) -> None:
    with pytest.raises(ProviderUnintelligible):
        read_word(body)


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(lines=[b"<html>a portal</html>"], content_type="text/html")],
        [json_answer({"access_token": "t", "token_type": "access_token", "expires_in": "soon"})],
        [json_answer({"access_token": "t", "expires_in": 3600}), Answer(lines=[b"<html>"], content_type="text/html")],
        [json_answer({"access_token": "t", "expires_in": 3600}), Answer(lines=[b"x" * 70_000])],
    ],
)
async def test_an_answer_of_somebody_else_is_not_believed(answers: list[Answer]) -> None:
    with fake_server() as server:
        server.will_answer(*answers)
        momo = Momo(account(server.url), call_seconds_max=5)

        with pytest.raises(ProviderUnintelligible):
            await momo.ask(WANTED.reference)
        await momo.close()


async def test_a_token_goes_on_to_the_next_who_asks(sandbox_at: tuple[Sandbox, str]) -> None:
    sandbox, url = sandbox_at
    tokens: dict[str, Token] = {}
    for number in range(3):
        momo = Momo(account(url), call_seconds_max=CALL_SECONDS_MAX, tokens=tokens)
        await momo.request(replace(WANTED, reference=reference(number)))
        await momo.close()

    assert (len(sandbox.requests), len(sandbox._tokens)) == (3, 1)
