"""The cases that arise before any module's rule is asked: who acts, what is pointed to, what is no money."""

from __future__ import annotations

from sync.kernel.module import Case

MIXED_INTENTS = Case(
    id="people.mixed_intents",
    sentence="What happened and what is asked for cannot be recorded as one action; record them one after the other.",
    is_refusal=True,
)
ACTOR_INACTIVE = Case(
    id="people.actor_inactive",
    sentence="{actor_name} may not work here any more; what had already happened is kept.",
    conflict="actor_inactive",
    task="Check what {actor_name} recorded after leaving",
)
ACTOR_REFUSED = Case(
    id="people.actor_refused",
    sentence="{actor_name} may not do this here.",
    is_refusal=True,
)
WRONG_DEVICE = Case(
    id="people.wrong_device",
    sentence="This is not a device of {actor_name}; what had already happened is kept.",
    conflict="wrong_device",
    task="Find out who recorded this in the name of {actor_name}",
)
NOT_PERMITTED = Case(
    id="people.not_permitted",
    sentence="{actor_name} may not do {what} on this device; what had already happened is kept.",
    conflict="not_permitted",
    task="Check whether {actor_name} should have done {what}",
)
UNKNOWN_REFERENCE = Case(
    id="engine.unknown_reference",
    sentence="This points to a {entity} that does not exist here.",
    is_refusal=True,
)
DEPENDS_ON = Case(
    id="engine.depends_on",
    sentence="This builds on change set {seq}, which did not take effect.",
    is_refusal=True,
)
INVALID_AMOUNT = Case(
    id="engine.invalid_amount",
    sentence="The amount cannot be: {problem}.",
    is_refusal=True,
)
QUARANTINED = Case(
    id="engine.quarantined",
    sentence="{problem} What was recorded is kept, without effect.",
    conflict="quarantined",
    task="Change set {seq} of this device has no effect: find out what happened, and book it in the office",
)
ID_TAKEN = Case(id="engine.id_taken", sentence="The id of this {entity} is already used.", is_refusal=True)
CASES = (
    MIXED_INTENTS,
    ACTOR_INACTIVE,
    ACTOR_REFUSED,
    WRONG_DEVICE,
    NOT_PERMITTED,
    UNKNOWN_REFERENCE,
    DEPENDS_ON,
    INVALID_AMOUNT,
    QUARANTINED,
    ID_TAKEN,
)
