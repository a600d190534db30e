"""The exchange table: complete, without traps, and harmless to whatever was recorded."""

from __future__ import annotations

import itertools

import pytest

from sync.engine.transitions import (
    BREACHES,
    LINES,
    PROBLEM_EVENTS,
    PROBLEMS,
    PROTOCOL_ERROR,
    RESTING,
    TABLE,
    Action,
    Event,
    State,
    table_as_markdown,
    transition,
)

CELLS = list(itertools.product(State, Event))
TAKES = {Action.SPOOL, Action.SETTLE}
RAISES = {action for action in Action if action.name.startswith("RAISE_")}

WHAT_ACTIONS_TOUCH = {
    Action.SEND: "wire",
    Action.KEEP_LINE: "memory",
    Action.SPOOL: "downloaded pages",
    Action.SETTLE: "base rows, verdicts",
    Action.DROP_SPOOL: "downloaded pages",
    Action.REWIND_TO_ACKED: "downloaded pages, where the server stands",
    Action.REAUTHOR: "outbox, downloaded pages",
    Action.KEEP_PENDING: "nothing",
    Action.GO_ON: "memory",
    Action.HANG_UP: "wire",
    Action.RAISE_OFFLINE: "caller",
    Action.RAISE_PROBLEM: "caller",
    Action.RAISE_PROTOCOL_ERROR: "caller",
    Action.RAISE_FORKED: "caller",
    Action.RAISE_ALTERED: "caller",
}
"""What each action may change. A new action is added here with thought: only one may touch the outbox."""


def cells_with(action: Action) -> set[tuple[State, Event]]:
    return {cell for cell in CELLS if action in transition(*cell).actions}


def reachable_from(start: State) -> set[State]:
    found = {start}
    while True:
        more = {transition(state, event).state for state in found for event in Event} - found
        if not more:
            return found
        found |= more


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_cell_for_every_event(state: State) -> None:
    assert set(TABLE[state]) == set(Event)


def test_every_event_is_a_line_a_breach_a_problem_or_told_by_the_machine() -> None:
    told = {Event.START, Event.RECORDED, Event.STALE, Event.PAGE_UNREADABLE, Event.END, Event.TORN}

    assert {*LINES, *BREACHES, *PROBLEMS} | told == set(Event)


def test_nothing_but_an_admins_release_touches_the_outbox() -> None:
    assert set(WHAT_ACTIONS_TOUCH) == set(Action)
    assert {action for action, touched in WHAT_ACTIONS_TOUCH.items() if "outbox" in touched} == {Action.REAUTHOR}
    assert cells_with(Action.REAUTHOR) == {(State.WAITING, Event.PROBLEM_CHAIN_RELEASED)}


def test_change_sets_are_answered_only_by_a_final_checkpoint_after_the_welcome() -> None:
    listening = {State.ANSWERED, State.RECEIVING, State.SPOOLED}

    assert cells_with(Action.SETTLE) == {(state, Event.CHECKPOINT_FINAL) for state in listening}


def test_pages_are_spooled_only_by_a_good_intermediate_checkpoint() -> None:
    listening = {State.ANSWERED, State.RECEIVING, State.SPOOLED}

    assert cells_with(Action.SPOOL) == {(state, Event.CHECKPOINT_MORE) for state in listening}


@pytest.mark.parametrize("event", [*BREACHES, *PROBLEMS, Event.TORN, Event.STALE, Event.PAGE_UNREADABLE])
def test_whatever_goes_wrong_takes_nothing_and_comes_to_rest(event: Event) -> None:
    cells = [transition(state, event) for state in State]

    assert not any(TAKES & set(cell.actions) for cell in cells)
    assert all(cell.state in RESTING for cell in cells)


@pytest.mark.parametrize("event", [*BREACHES, *PROBLEMS])
def test_no_breach_and_no_problem_passes_in_silence(event: Event) -> None:
    silent = {state for state in State if not RAISES & set(transition(state, event).actions)}

    is_mended = event in {Event.PROBLEM_CHAIN_GAP, Event.PROBLEM_CHAIN_RELEASED}
    assert silent == ({State.WAITING} if is_mended else set())


def test_pending_work_is_named_as_kept_wherever_an_exchange_fails() -> None:
    failing = [transition(*cell) for cell in CELLS if RAISES & set(transition(*cell).actions)]

    assert all(Action.KEEP_PENDING in cell.actions for cell in failing)


@pytest.mark.parametrize("state", State)
def test_recording_goes_on_in_every_state_and_changes_none(state: State) -> None:
    cell = transition(state, Event.RECORDED)

    assert (cell.state, cell.actions) == (state, (Action.KEEP_PENDING,))


def test_the_spool_is_dropped_before_a_line_of_a_new_epoch_is_kept() -> None:
    assert transition(State.WAITING, Event.WELCOME_NEW_EPOCH).actions == (Action.DROP_SPOOL,)
    assert Action.KEEP_LINE not in {action for event in Event for action in transition(State.WAITING, event).actions}


def test_a_spool_is_otherwise_dropped_only_when_it_cannot_be_read_or_the_server_is_behind_it() -> None:
    dropped = {event for _, event in cells_with(Action.DROP_SPOOL)}
    rewound = {event for _, event in cells_with(Action.REWIND_TO_ACKED)}

    assert dropped == {Event.WELCOME_NEW_EPOCH, Event.PAGE_UNREADABLE}
    assert rewound == {Event.WELCOME_LOST, Event.WELCOME_BEHIND, Event.PROBLEM_CHAIN_GAP}


@pytest.mark.parametrize("state", RESTING)
def test_a_new_exchange_may_be_tried_from_every_resting_state(state: State) -> None:
    cell = transition(state, Event.START)

    assert (cell.state, cell.actions) == (State.WAITING, (Action.SEND,))


@pytest.mark.parametrize("state", State)
def test_no_state_is_a_trap_and_none_is_out_of_reach(state: State) -> None:
    assert reachable_from(state) >= set(State) - set(RESTING) - {state} | {State.IDLE}
    assert state in reachable_from(State.IDLE)


@pytest.mark.parametrize("state", [state for state in State if state not in RESTING])
def test_one_exchange_at_a_time(state: State) -> None:
    assert transition(state, Event.START) == PROTOCOL_ERROR


def test_every_problem_of_an_exchange_leads_to_its_own_event() -> None:
    assert {*PROBLEM_EVENTS.values(), Event.PROBLEM_OTHER} == set(PROBLEMS)


@pytest.mark.parametrize(
    ("code", "rests"),
    [
        ("busy", State.IDLE),
        ("unauthorized", State.IDLE),
        ("device_suspended", State.SUSPENDED),
        ("device_revoked", State.REVOKED),
        ("not_found", State.IDLE),
        ("chain_gap", State.IDLE),
        ("chain_broken", State.SUSPENDED),
        ("chain_forked", State.FORKED),
        ("history_altered", State.ALARMED),
        ("malformed", State.IDLE),
        ("upgrade_required", State.OUTDATED),
    ],
)
def test_a_problem_comes_to_rest_where_its_code_says(code: str, rests: State) -> None:
    assert transition(State.WAITING, PROBLEM_EVENTS[code]).state is rests


def test_a_missing_history_is_sent_again_at_once() -> None:
    for event in (Event.PROBLEM_CHAIN_GAP, Event.WELCOME_BEHIND):
        actions = transition(State.WAITING, event).actions
        assert actions[-2:] == (Action.REWIND_TO_ACKED, Action.GO_ON)


def test_the_rendered_table_has_a_row_for_every_event_and_a_column_for_every_state() -> None:
    head, _, *rows = table_as_markdown().splitlines()

    assert head.count("|") == len(State) + 2
    assert [row.split("`")[1] for row in rows] == [event.value for event in Event]
