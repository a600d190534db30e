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
AWAITED = Case(
    id="engine.awaited",
    sentence="This {entity} is not known here yet; what was recorded is kept and counts as soon as it is.",
)
ARRIVED = Case(
    id="engine.arrived",
    sentence="What had been reported of this {entity} before it was known here counts now ({count}).",
)
ARRIVED_UNFIT = Case(
    id="engine.arrived_unfit",
    sentence="{problem} What was recorded before this {entity} was known here is kept, without effect.",
    conflict="arrived_unfit",
    task="Change set {seq} of this device has no effect on the {entity}: find out what happened, "
    "and book it in the office",
)
INVALID_AMOUNT = Case(
    id="engine.invalid_amount",
    sentence="The amount cannot be: {problem}.",
    is_refusal=True,
)
SIGNED_AMOUNT = Case(
    id="engine.signed_amount",
    sentence="{problem} The device has signed it all the same.",
    conflict="security",
    task="Change set {seq} of this device says an amount that it should have refused: find out whether money was "
    "taken, and whether somebody has changed the app",
)
QUARANTINED = Case(
    id="engine.quarantined",
    sentence="{problem} What was recorded is kept, without effect.",
    conflict="quarantined",
    task="Change set {seq} of this device has no effect: find out what happened, and book it in the office",
)
BOOKED_BEFORE = Case(
    id="engine.booked_before",
    sentence="This was booked before, by change set {seq}; it counts once.",
)
LINE_REJECTED = Case(
    id="engine.line_rejected",
    sentence="The office has rejected change set {seq} of this device; it is kept, without effect.",
)
CLOCK_SUSPECT = Case(
    id="engine.clock_suspect",
    sentence="The clock of this device said {claimed}; it was between {earliest} and {latest}.",
    conflict="clock_suspect",
    task="Set the clock of this device, which said {claimed} between {earliest} and {latest}",
)
DEVICE_REVOKED = Case(
    id="people.device_revoked",
    sentence="This device was revoked; what happened before it was lost is kept for the office to look at.",
    is_refusal=True,
)
LEASE_OVER = Case(
    id="engine.lease_over",
    sentence="This device could take money without the server until {until}; let it sync, and then record this.",
    is_refusal=True,
)
LEASE_LACKS = Case(
    id="engine.lease_lacks",
    sentence="The server does not let this device do {what} by itself.",
    is_refusal=True,
)
CASH_CEILING = Case(
    id="engine.cash_ceiling",
    sentence="This device may take {left} {currency} more before it has synced, and this is {amount}; let it sync, "
    "and then record this.",
    is_refusal=True,
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
    AWAITED,
    ARRIVED,
    ARRIVED_UNFIT,
    INVALID_AMOUNT,
    SIGNED_AMOUNT,
    QUARANTINED,
    BOOKED_BEFORE,
    LINE_REJECTED,
    CLOCK_SUSPECT,
    DEVICE_REVOKED,
    LEASE_OVER,
    LEASE_LACKS,
    CASH_CEILING,
    ID_TAKEN,
)
