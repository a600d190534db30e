"""A provider of mobile money that misbehaves: late, doubled, silent, of two minds, with other sums than were asked for.

It is outside of the town and outlives everything in it: what it has moved is moved, whatever a failover loses. The
server's own code asks it (`server.application.commands.settle_payments`); how HTTP is spoken with a real one is tested
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from server.application.payment_ports import ProviderUnavailable, Return, Wanted, Word, WordKind
from sync.kernel.money import to_amount, to_minor
from tests.simulation.facts import Facts
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop

ANSWER_SECONDS: Final = (1.0, 240.0)
LATE_SECONDS: Final = (1_000.0, 100_000.0)
MIND_CHANGED_SECONDS: Final = (60.0, 90_000.0)
CALL_SECONDS: Final = (0.05, 0.4)
SLOW_SECONDS: Final = (2.0, 25.0)
REFUSED_SHARE: Final = 0.25
REASONS: Final = ("APPROVAL_REJECTED", "NOT_ENOUGH_FUNDS", "EXPIRED", "SOMETHING_NEW")


class Around(Protocol):
    """What a provider needs of its world."""

    loop: SimLoop
    faults: Faults
    facts: Facts

    def later(self, seconds: float, work: object) -> None:
        """Have this done then."""
        ...

    def called_back(self, payment: str) -> None:
        """The provider calls the town about a payment."""
        ...


@dataclass(kw_only=True)
class Intent:
    """What was asked of the provider under one reference, and what it says from when on, the last word last."""

    minor: int
    currency: str
    reference: str
    words: list[tuple[float, WordKind, str]]


class Provider:
    """Everything that the provider has been asked."""

    def __init__(self, around: Around, random: Random) -> None:
        self._around = around
        self._random = random
        self._intents: dict[str, Intent] = {}
        self._numbers = 0

    async def request(self, wanted: Wanted) -> None:
        """The holder of the telephone is asked once, however often this comes."""
        await self._call()
        if wanted.reference not in self._intents:
            minor = to_minor(wanted.amount, wanted.currency)
            if self._around.faults.strikes("provider.wrong_amount"):
                minor = max(1, minor + self._random.choice((-1, 1, 500)))
            self._intents[wanted.reference] = self._decide(minor, wanted.currency)
            self._call_back(wanted.external_id, self._intents[wanted.reference])
        self._lose_answer()

    async def ask(self, reference: str) -> Word | None:
        """What it says by now."""
        await self._call()
        intent = self._intents.get(reference)
        word = self._word(intent) if intent else None
        if intent and word and word.kind is WordKind.SUCCESSFUL:
            self._around.facts.moved[reference] = (intent.minor, intent.currency)
        self._lose_answer()
        return word

    async def give_back(self, returned: Return) -> None:
        """Money goes back once."""
        await self._call()
        if returned.reference not in self._intents:
            intent = self._decide(to_minor(returned.amount, returned.currency), returned.currency)
            self._intents[returned.reference] = intent
        self._lose_answer()

    async def ask_return(self, reference: str) -> Word | None:
        """As for what was asked for."""
        return await self.ask(reference)

    def _decide(self, minor: int, currency: str) -> Intent:
        """What will come of it."""
        random, strikes, now = self._random, self._around.faults.strikes, self._around.loop.now
        self._numbers += 1
        number = self._numbers - (1 if strikes("provider.reference_reused") else 0)
        at = now + random.uniform(*(LATE_SECONDS if strikes("provider.late") else ANSWER_SECONDS))
        last = WordKind.FAILED if random.random() < REFUSED_SHARE else WordKind.SUCCESSFUL
        words = [(now, WordKind.PENDING, "")]
        if not strikes("provider.never"):
            words.append((at, last, f"F{number}"))
            if strikes("provider.failed_then_confirmed"):
                words[-1] = (at, WordKind.FAILED, f"F{number}")
                words.append((at + random.uniform(*MIND_CHANGED_SECONDS), WordKind.SUCCESSFUL, f"F{number}"))
            elif strikes("provider.confirmed_then_failed"):
                words[-1] = (at, WordKind.SUCCESSFUL, f"F{number}")
                words.append((at + random.uniform(*MIND_CHANGED_SECONDS), WordKind.FAILED, f"F{number}"))
            elif strikes("provider.confirmed_twice"):
                words[-1] = (at, WordKind.SUCCESSFUL, f"F{number}")
                words.append((at + random.uniform(*MIND_CHANGED_SECONDS), WordKind.SUCCESSFUL, f"G{number}"))
        return Intent(minor=minor, currency=currency, reference=f"F{number}", words=words)

    def _word(self, intent: Intent) -> Word:
        _, kind, reference = [word for word in intent.words if word[0] <= self._around.loop.now][-1]
        amount, reason = to_amount(intent.minor, intent.currency), ""
        if kind is WordKind.FAILED:
            reason = self._random.choice(REASONS)
        return Word(kind=kind, amount=amount, currency=intent.currency, reference=reference, reason=reason)

    def _call_back(self, payment: str, intent: Intent) -> None:
        """At each of its words, or not, or twice, or at any other time."""
        for at, kind, _ in intent.words:
            if kind is WordKind.PENDING or self._around.faults.strikes("provider.callback_lost"):
                continue
            delays = [at - self._around.loop.now]
            if self._around.faults.strikes("provider.callback_doubled"):
                delays.append(delays[0] + self._random.uniform(-100.0, 10_000.0))
            for delay in delays:
                self._around.later(max(0.0, delay), _calling(self._around, payment))

    async def _call(self) -> None:
        """The way there. Raises `ProviderUnavailable`."""
        strikes = self._around.faults.strikes
        seconds = self._random.uniform(*(SLOW_SECONDS if strikes("provider.slow") else CALL_SECONDS))
        turn = self._around.loop.create_future()
        self._around.loop.call_later(seconds, turn.set_result, None)
        await turn
        if strikes("provider.down"):
            raise ProviderUnavailable

    def _lose_answer(self) -> None:
        if self._around.faults.strikes("provider.answer_lost"):
            raise ProviderUnavailable


def _calling(around: Around, payment: str) -> Callable[[], None]:
    return lambda: around.called_back(payment)
