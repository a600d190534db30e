"""What each line of an answer amounts to, judged without any store or wire."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import encode_bytes, journal_message, line_hash, older_journal_message, sign
from sync.engine.replica import Asked, Conversation
from sync.engine.transitions import Action, Event, State
from sync.kernel.ids import derived_id
from tests.support.fake_server import Town

TOWN = Town()
DIGESTS = [line_hash(b"three"), line_hash(b"four")]
ASKED = Asked(
    town=TOWN.id,
    server_keys=[TOWN.key.public_key()],
    epoch=TOWN.epoch,
    version=7,
    witness=(7, encode_bytes(TOWN.journal(7))),
    from_seq=3,
    digests=[encode_bytes(digest) for digest in DIGESTS],
    head_seq=4,
    buckets=frozenset({"town"}),
)
START = Conversation(asked=ASKED).after(Event.START)
MARK = {"version": 9, "rows": 1, "sum": "0" * 16}


def hear(*lines: bytes) -> tuple[list[Event], Conversation]:
    talk, events = START, []
    for line in lines:
        event, talk = talk.judge(line)
        talk = talk.after(event)
        events.append(event)
    return events, talk


def verdicts() -> list[bytes]:
    return [TOWN.verdict(seq, digest, 9) for seq, digest in enumerate(DIGESTS, start=3)]


def test_a_good_answer_is_heard_to_its_end() -> None:
    rows = TOWN.rows("town", "product")
    events, talk = hear(TOWN.welcome(2), *verdicts(), TOWN.bucket("town"), rows, TOWN.checkpoint(9, {"town": MARK}))

    assert events == [
        Event.WELCOME,
        Event.VERDICT,
        Event.VERDICT,
        Event.BUCKET,
        Event.ROWS,
        Event.CHECKPOINT_FINAL,
    ]
    assert (talk.state, talk.after(Event.END).state) == (State.SETTLED, State.IDLE)


@pytest.mark.parametrize(
    ("acked", "event"),
    [(1, Event.WELCOME_BEHIND), (2, Event.WELCOME), (3, Event.WELCOME), (4, Event.WELCOME), (5, Event.WELCOME_AHEAD)],
)
def test_a_welcome_is_measured_by_what_was_sent_and_recorded(acked: int, event: Event) -> None:
    assert START.judge(TOWN.welcome(acked))[0] is event


def test_the_first_welcome_ever_brings_no_new_epoch() -> None:
    first = Conversation(asked=replace(ASKED, epoch=None, version=0, witness=None)).after(Event.START)

    assert first.judge(TOWN.welcome(2))[0] is Event.WELCOME


AFTER = replace(TOWN, epoch=derived_id("epoch", 2))
LATER = replace(TOWN, epoch=derived_id("epoch", 3))
OTHER_KEY = replace(AFTER, key=Ed25519PrivateKey.from_private_bytes(bytes(32)))


@pytest.mark.parametrize(
    ("epochs", "event"),
    [
        ([AFTER.begun()], Event.WELCOME_NEW_EPOCH),
        ([AFTER.begun(version=7, journal=encode_bytes(TOWN.journal(7)))], Event.WELCOME_NEW_EPOCH),
        ([LATER.begun(), AFTER.begun(before=LATER.epoch)], Event.WELCOME_NEW_EPOCH),
        ([], Event.HISTORY_BACK),
        ([LATER.begun()], Event.HISTORY_BACK),
        ([LATER.begun(), AFTER.begun()], Event.HISTORY_BACK),
        ([AFTER.begun(version=7)], Event.HISTORY_BACK),
        ([OTHER_KEY.begun()], Event.SIGNATURE_WRONG),
        ([AFTER.begun() | {"reason": "another"}], Event.SIGNATURE_WRONG),
        ([AFTER.begun(before=LATER.epoch, at="2026-11-21T08:10:00.000Z")], Event.WELCOME_NEW_EPOCH),
        ([AFTER.begun(before=LATER.epoch, at="2026-11-21T07:59:00.000Z")], Event.HISTORY_BACK),
    ],
    ids=[
        *("follows", "follows where the witness is", "two epochs on", "not told", "leads elsewhere", "a gap"),
        *("another history at the witness", "another key", "altered", "from a lost epoch, begun since", "an old one"),
    ],
)
def test_another_epoch_is_gone_over_into_only_on_the_servers_signed_word(
    epochs: list[dict[str, object]], event: Event
) -> None:
    talk = Conversation(asked=replace(ASKED, heard_at="2026-11-21T08:00:00.000Z")).after(Event.START)
    welcome = orjson.loads(AFTER.welcome(2)) | {"epochs": epochs}

    assert talk.judge(orjson.dumps(welcome))[0] is event


@pytest.mark.parametrize(("seq", "digest"), [(3, DIGESTS[1]), (4, DIGESTS[0]), (4, DIGESTS[1]), (2, DIGESTS[0])])
def test_a_verdict_is_for_the_next_line_and_exactly_its_bytes(seq: int, digest: bytes) -> None:
    events, _ = hear(TOWN.welcome(2), TOWN.verdict(seq, digest, 9))

    assert events[-1] is Event.VERDICT_WRONG


def test_rows_are_known_by_their_type_however_they_are_spaced() -> None:
    _, talk = hear(TOWN.welcome(2), *verdicts())

    assert talk.judge(b'{ "e":"product", "t" : "rows", "b":"town" }')[0] is Event.ROWS


def test_a_journal_head_of_another_version_makes_a_checkpoint_wrong() -> None:
    head = {"version": 8, "hash": encode_bytes(TOWN.journal(8)), "sig": "A" * 86}
    wrong = TOWN.checkpoint(9, {"town": MARK}, journal=head)

    assert hear(TOWN.welcome(2), *verdicts(), wrong)[0][-1] is Event.CHECKPOINT_WRONG


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (journal_message(TOWN.id, TOWN.epoch, 9, TOWN.journal(9)), Event.CHECKPOINT_FINAL),
        (older_journal_message(TOWN.id, 9, TOWN.journal(9)), Event.CHECKPOINT_FINAL),
        (journal_message(TOWN.id, derived_id("another epoch"), 9, TOWN.journal(9)), Event.SIGNATURE_WRONG),
        (journal_message(TOWN.id, TOWN.epoch, 8, TOWN.journal(9)), Event.SIGNATURE_WRONG),
        (older_journal_message(derived_id("another town"), 9, TOWN.journal(9)), Event.SIGNATURE_WRONG),
    ],
)
def test_a_journal_head_is_signed_in_the_epoch_of_its_checkpoint_or_in_the_older_form(
    message: bytes, event: Event
) -> None:
    head = {"version": 9, "hash": encode_bytes(TOWN.journal(9)), "sig": sign(TOWN.key, message)}

    events, _ = hear(
        TOWN.welcome(2), *verdicts(), TOWN.bucket("town"), TOWN.checkpoint(9, {"town": MARK}, journal=head)
    )

    assert events[-1] is event


@pytest.mark.parametrize(
    ("said", "named", "event"),
    [
        ([("town", "kept")], ["town"], Event.CHECKPOINT_FINAL),
        ([("town", "kept"), ("driver:a", "added")], ["town", "driver:a"], Event.CHECKPOINT_FINAL),
        ([("town", "dropped")], [], Event.CHECKPOINT_FINAL),
        ([("town", "kept")], [], Event.CHECKPOINT_WRONG),
        ([], [], Event.CHECKPOINT_WRONG),
        ([("town", "dropped")], ["town"], Event.CHECKPOINT_WRONG),
        ([("town", "kept")], ["town", "driver:a"], Event.CHECKPOINT_WRONG),
    ],
)
def test_a_final_checkpoint_names_exactly_the_buckets_that_are_held(
    said: list[tuple[str, str]], named: list[str], event: Event
) -> None:
    buckets = [TOWN.bucket(*bucket) for bucket in said]

    events, _ = hear(TOWN.welcome(2), *verdicts(), *buckets, TOWN.checkpoint(9, dict.fromkeys(named, MARK)))

    assert events[-1] is event


def test_an_intermediate_checkpoint_may_be_behind_and_name_nothing() -> None:
    behind = TOWN.checkpoint(9, {"town": {"version": 8}}, more=True)

    assert hear(TOWN.welcome(2), *verdicts(), behind)[0][-1] is Event.CHECKPOINT_MORE
    assert hear(TOWN.welcome(2), *verdicts(), TOWN.checkpoint(9, {}, more=True))[0][-1] is Event.CHECKPOINT_MORE


def test_the_same_version_with_the_same_journal_is_no_step_back() -> None:
    events, talk = hear(TOWN.welcome(2))
    same = replace(talk, verdicts=2).judge(TOWN.checkpoint(7, {"town": {**MARK, "version": 7}}))[0]

    assert (events, same) == ([Event.WELCOME], Event.CHECKPOINT_FINAL)


def test_what_is_to_be_done_is_read_before_the_state_moves() -> None:
    _, talk = hear(TOWN.welcome(2), *verdicts())
    event, heard = talk.judge(TOWN.checkpoint(9, {"town": MARK}))

    assert (heard.state, heard.actions(event)) == (State.ANSWERED, (Action.SETTLE,))
