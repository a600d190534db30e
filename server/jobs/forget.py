"""Forgetting what has no use any more: codes that expired, sessions, tries, answered requests, old callbacks."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.callback_ports import Agenda, Inbox
from server.application.paper_ports import Papers
from server.application.people import People
from server.application.people_ports import Requests
from server.application.ports import Enrolments, System
from server.domain.people import IDLE_SECONDS, TRIES_FORGOTTEN_SECONDS
from server.domain.requests import KEPT_SECONDS
from sync.kernel.clock import format_time

REQUEST_SECONDS = 3600
"""How long a token request is remembered after it has expired: longer than any two clocks of ours differ."""

ENROLMENT_SECONDS = 30 * 24 * 3600
"""How long a code is kept after it has expired: its own device may have missed the answer and ask again."""

AGENDA_SECONDS = 7 * 24 * 3600
"""How long what was done of the agenda can be looked at."""
CALLBACK_SECONDS = 90 * 24 * 3600
"""How long what a provider has sent is kept after it was looked at: as long as somebody may ask what came, and when."""

PAPERS_SECONDS = 7 * 24 * 3600
"""How long a paper can be fetched; it is made again for whoever asks later."""

_log = structlog.stdlib.get_logger(__name__)


class ForgetParts(Protocol):
    """The ports this job needs."""

    @property
    def enrolments(self) -> Enrolments:
        """What is found before a town is known."""
        ...

    @property
    def people(self) -> People:
        """Who signs in."""
        ...

    @property
    def requests(self) -> Requests:
        """What was answered."""
        ...

    @property
    def agenda(self) -> Agenda:
        """What workers were to do."""
        ...

    @property
    def papers(self) -> Papers:
        """What was made for whoever asked."""
        ...

    @property
    def inbox(self) -> Inbox:
        """What others have sent by themselves."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def forget(parts: ForgetParts) -> None:
    """Drop what expired long enough ago; raises what the store raises."""
    now_ms = parts.system.now_ms()
    requests_before = format_time(now_ms - REQUEST_SECONDS * 1000)
    enrolments_before = format_time(now_ms - ENROLMENT_SECONDS * 1000)
    idle_since = format_time(now_ms - IDLE_SECONDS * 1000)
    tries_before = format_time(now_ms - TRIES_FORGOTTEN_SECONDS * 1000)
    dropped = await parts.enrolments.forget(requests_before, enrolments_before)
    parts.system.reached("forget.after_enrolments")
    dropped += await parts.people.sessions.forget(format_time(now_ms), idle_since, tries_before)
    parts.system.reached("forget.after_sessions")
    dropped += await parts.requests.forget(format_time(now_ms - KEPT_SECONDS * 1000))
    parts.system.reached("forget.after_requests")
    dropped += await parts.agenda.forget(format_time(now_ms - AGENDA_SECONDS * 1000))
    parts.system.reached("forget.after_agenda")
    dropped += await parts.papers.forget(format_time(now_ms - PAPERS_SECONDS * 1000))
    parts.system.reached("forget.after_papers")
    dropped += await parts.inbox.forget(format_time(now_ms - CALLBACK_SECONDS * 1000))
    parts.system.reached("forget.after_callbacks")
    if dropped:
        _log.info("forgotten", rows=dropped)
