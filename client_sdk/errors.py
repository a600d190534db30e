"""Every fault the SDK can report, one class each; the docstring is the sentence the reader sees and says what to do.

Recorded work is never lost by any of them: it stays in the replica until the server has answered it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sync.kernel.changeset import Note
from sync.kernel.errors import TallystickError


class Offline(TallystickError):
    """The server cannot be reached; go on working and sync again later."""

    code = "offline"


class InsecureServer(TallystickError):
    """The server's address is not https://: anybody on the way could read along. Use https, or pass insecure=True."""

    code = "insecure_server"


class Refused(TallystickError):
    """The rules do not allow this; nothing was recorded."""

    code: str = "refused"  # type: ignore[misc]  # the rule that refused, different for each instance

    def __init__(self, code: str, notes: Sequence[Note]) -> None:
        super().__init__(" ".join(note.text for note in notes) or None)
        self.code = code
        self.notes = tuple(notes)


class ServerProblem(TallystickError):
    """The server answered with a problem; its code says which."""

    code: str = "server_problem"  # type: ignore[misc]  # the code of the problem document

    def __init__(
        self,
        code: str,
        *,
        status: int,
        message: str | None = None,
        retry_after_seconds: float | None = None,
        expected_seq: int | None = None,
        wipe: Mapping[str, Any] | None = None,
        released: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message or f"the server answered with {code} ({status})")
        self.code = code
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.expected_seq = expected_seq
        self.wipe = wipe
        self.released = released


class TownHalted(ServerProblem):
    """The town is halted: the server lacks history that it had signed. Go on recording; an admin must look."""


class BadAnswer(TallystickError):
    """The server's answer breaks the protocol; nothing of it was taken. Sync again, and report it if it stays."""

    code = "bad_answer"


class UnknownServerKey(BadAnswer):
    """The server's answer is signed by a key that this device does not know; nothing of it was taken."""

    code = "unknown_server_key"


class NoSealingKey(TallystickError):
    """This replica does not know yet for whom to seal its work; sync once, and export then."""

    code = "no_sealing_key"


class ReplicaWiped(TallystickError):
    """This device was revoked: its unsent work is with the server, and the replica is wiped. Enrol on another path."""

    code = "replica_wiped"


class StaleExchange(TallystickError):
    """Another process has synced this replica meanwhile; nothing was lost. Sync again."""

    code = "stale_exchange"


class SnapshotUnusable(StaleExchange):
    """A file that the server offered cannot be used; the same rows come over the feed. Sync again."""

    code = "snapshot_unusable"


class OldCopy(TallystickError):
    """The server holds work of this device that the replica does not: it is an old copy. Stop, and tell an admin."""

    code = "old_copy"


class HistoryAltered(TallystickError):
    """The server's history does not contain what it signed before: it was rolled back or altered. Tell an admin."""

    code = "history_altered"


class WrongPassphrase(TallystickError):
    """The passphrase does not open this replica's key; try again."""

    code = "wrong_passphrase"


class KeyMissing(TallystickError):
    """The key file beside the replica is missing or damaged; put it back from a copy to open the replica."""

    code = "key_missing"


class NoKeystore(TallystickError):
    """This machine has no keystore that could keep the replica's key; give a passphrase instead."""

    code = "no_keystore"


class NotAReplica(TallystickError):
    """There is no replica in this place; check the path, or enrol first."""

    code = "not_a_replica"


class NotEnrolled(TallystickError):
    """The replica was begun but its enrolment never finished; enrol again on the same path, with any valid code."""

    code = "not_enrolled"


class AlreadyEnrolled(TallystickError):
    """There is an enrolled replica in this place already; open it, or choose another path."""

    code = "already_enrolled"


class NeverSynced(TallystickError):
    """The replica has never been in sync with its town; sync once, and then record."""

    code = "never_synced"


class ReplicaTooNew(TallystickError):
    """The replica was written by a newer version of the SDK; update the app. Its work is untouched."""

    code = "replica_too_new"


class ReplicaCorrupt(TallystickError):
    """The replica's file is damaged or its key belongs to another file; keep both files, and enrol on a new path."""

    code = "replica_corrupt"


class ReplicaReadOnly(TallystickError):
    """The replica cannot be written here; check the permissions of its file and of the folder around it."""

    code = "replica_read_only"


class ReplicaBusy(TallystickError):
    """Another process kept the replica locked for too long; nothing was changed. Try again."""

    code = "replica_busy"


class ReplicaClosed(TallystickError):
    """The replica was closed; open it again."""

    code = "replica_closed"


class DiskFull(TallystickError):
    """The disk is full; nothing was recorded. Make room and try again."""

    code = "disk_full"


class DiskFailed(TallystickError):
    """The disk could not be read or written; nothing was recorded. Check the disk and try again."""

    code = "disk_failed"


class NotAQuery(TallystickError):
    """Only one reading statement (SELECT or WITH) over the views of the replica can be queried."""

    code = "not_a_query"


class UnknownActor(TallystickError):
    """This user is not known on this device; sync, or ask an admin to add the user to the town."""

    code = "unknown_actor"


class ActorInactive(TallystickError):
    """This user may not work in this town any more; let somebody else record, or ask an admin."""

    code = "actor_inactive"


class WrongDevice(TallystickError):
    """This is not a device of this user: act on the user's own device, or on one of the user's role."""

    code = "wrong_device"


class PinMissing(TallystickError):
    """This user has a PIN, and it is not known on this device; sync, and try again."""

    code = "pin_missing"


class WrongPin(TallystickError):
    """The PIN is not the user's; try again."""

    code = "wrong_pin"


class ActingAsMissing(TallystickError):
    """It is not clear who acts: record inside `with replica.acting_as(user_id, pin=...)`."""

    code = "acting_as_missing"


class NothingToName(TallystickError):
    """This operation makes nothing that an id could name: leave `id` out. Recorded again, it would count again."""

    code = "nothing_to_name"


class NoQrCode(TallystickError):
    """QR codes need the extra `qr`: install tallystick[qr], or print the receipt's code as text."""

    code = "no_qr_code"


class NoReceipt(TallystickError):
    """There is no receipt for this place: no money was taken there, or its line is not kept any more."""

    code = "no_receipt"
