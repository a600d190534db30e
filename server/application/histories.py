"""Whether what a device has seen of a town's history fits what the server has, or is a known loss, or an alarm.

A device shows the last journal head that the server has signed. In the town's epoch the journal must contain it. In an
older one it must contain it up to where the next epoch began; what came later is known to be lost, and sent again. An
epoch that this history does not know was lost as a whole: that is known when a halt over it has ended in a new epoch.
So is a part of an epoch that was lost, and written again before anybody noticed: from where is not known, so a witness
of it that does not fit is no alarm any more, and its device goes over into the last epoch. What proves that is a halt
over a witness inside the part that was kept; one over what came after it proves nothing of what was before.

Where a town went on before it was halted, a version does not tell of which branch a verdict is. So a halt is ended by
two epochs (`begin_epoch` begins both), and a device of the lost branch hears of the last one alone, which does not
follow on from its own: what it knows is lost as a whole, and it asks for every verdict again.
Everything else halts the town, but only on the word of the server's own key, so that no tablet can do it alone.

The key says in which epoch it signed: a head of a history that was given up is no head of another one. A signature from
before it said so is believed until the town has begun an epoch, because only then a history has been given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import structlog

from server.application.history_ports import EpochRecord, Halt, TownHalted
from server.application.ports import Signer, System, TownReader, Towns
from sync.engine.chain import (
    HASH_BYTES,
    decode_bytes,
    encode_bytes,
    is_signed,
    journal_message,
    older_journal_message,
    parse_public_key,
)
from sync.kernel.clock import format_time
from sync.kernel.errors import Malformed, TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.protocol.messages import Hello, Witness

_log = structlog.stdlib.get_logger(__name__)


class HistoryAltered(TallystickError):
    """The server's history does not contain what this device has seen of it; an admin must look, nothing is taken."""

    code: ClassVar[str] = "history_altered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What the server makes of a device's witness: where the town stood, the epochs it has not heard of, what is wrong.

    `lost_versions` counts those that the device has seen and this history has given up. `is_contradicted`: the witness
    does not fit, which the server's signature may prove; `is_beyond`: a cursor does not, which anybody may say.
    """

    head_version: int
    news: Sequence[EpochRecord] = ()
    lost_versions: int = 0
    is_contradicted: bool = False
    is_beyond: bool = False

    @property
    def is_alarming(self) -> bool:
        """Whether the device gets no answer."""
        return self.is_contradicted or self.is_beyond


async def look_at(reader: TownReader, hello: Hello) -> Sight:
    """Compare a witness with the journal, in the reader's snapshot."""
    head, witness = reader.head, hello.witness
    if hello.epoch is None or hello.epoch == head.epoch:
        is_beyond = hello.epoch is not None and any(cursor > head.version for cursor in hello.cursors.values())
        is_contradicted = not await _has(reader, witness, head.version)
        return Sight(head_version=head.version, is_contradicted=is_contradicted, is_beyond=is_beyond)
    epochs = await reader.epochs()
    place = next((place for place, one in enumerate(epochs) if one.before == hello.epoch), None)
    if place is not None:
        kept = epochs[place].version
        lost = max(0, witness.version - kept) if witness else 0
        is_contradicted = not lost and not await _has(reader, witness, kept)
        if (lost or is_contradicted) and await _is_given_up(reader, hello.epoch, up_to=None if lost else kept):
            return Sight(head_version=head.version, news=epochs[-1:], lost_versions=max(1, lost))
        news = epochs[place:]
        return Sight(head_version=head.version, news=news, lost_versions=lost, is_contradicted=is_contradicted)
    is_known = await _has(reader, witness, head.version) or await _is_given_up(reader, hello.epoch)
    lost = max(0, witness.version - head.version) if witness else 0
    return Sight(head_version=head.version, news=epochs[-1:], lost_versions=lost, is_contradicted=not is_known)


async def sound_alarm(
    sight: Sight, hello: Hello, town_id: str, device_id: str, *, towns: Towns, signer: Signer, system: System
) -> None:
    """Raise `TownHalted` when the server's own key vouches for a witness that does not fit, else `HistoryAltered`.

    A cursor is a number that any tablet can make up: it halts nothing, also beside a witness that we have signed.
    A witness over which an admin has let the town go on does not halt it again; its device still gets no answer.
    """
    witness = hello.witness
    told = {"town_id": town_id, "device_id": device_id, "head_version": sight.head_version}
    seen = witness.version if witness else max(hello.cursors.values(), default=0)
    _log.error("history_altered", **told, witness_version=seen, epoch=hello.epoch)
    if witness is None or hello.epoch is None or not sight.is_contradicted:
        raise HistoryAltered
    has_given_up = bool(await towns.histories.epochs(town_id))
    if not _is_ours(witness, town_id, hello.epoch, signer, is_older_form_believed=not has_given_up):
        raise HistoryAltered
    digest = decode_bytes(witness.journal, HASH_BYTES)
    halts = await towns.histories.halts(town_id)
    if any((halt.version, halt.journal) == (witness.version, digest) for halt in halts):
        raise HistoryAltered
    halt = Halt(
        id=make_id(system.now_ms(), system.random(RANDOM_BYTES)),
        device_id=device_id,
        epoch=hello.epoch,
        version=witness.version,
        journal=digest,
        signature=witness.sig or "",
        head_version=sight.head_version,
        halted_at=format_time(system.now_ms()),
    )
    await towns.histories.halt(town_id, halt)
    _log.critical("town_halted", **told, witness_version=witness.version, halt_id=halt.id)
    raise TownHalted


async def _has(reader: TownReader, witness: Witness | None, kept: int) -> bool:
    """Whether the journal contains the witness, up to version `kept`; nothing was shown, nothing is missing."""
    if witness is None or witness.version == 0:
        return True
    if witness.version > kept:
        return False
    entry = await reader.journal_entry(witness.version)
    return entry is not None and encode_bytes(entry.digest) == witness.journal


def may_be_branched(epoch: str, epochs: Sequence[EpochRecord], halts: Sequence[Halt]) -> bool:
    """Whether the epoch before this one may have a lost branch: a halt over it, which this one ended, shows a loss.

    What was decided between the loss and the halt is beside that branch, under the same versions.
    """
    [begun] = [record for record in epochs if record.epoch == epoch]
    return any(halt.ended == epoch and halt.epoch == begun.before for halt in halts)


async def _is_given_up(reader: TownReader, epoch: str, up_to: int | None = None) -> bool:
    """Whether an admin has begun an epoch over witnesses of this one, of versions `up_to` this one when it is given."""
    over = [halt for halt in await reader.halts() if halt.epoch == epoch and halt.ended not in {None, "resumed"}]
    return any(up_to is None or halt.version <= up_to for halt in over)


def _is_ours(witness: Witness, town_id: str, epoch: str, signer: Signer, *, is_older_form_believed: bool) -> bool:
    try:
        digest = decode_bytes(witness.journal, HASH_BYTES)
    except Malformed:
        return False
    messages = [journal_message(town_id, epoch, witness.version, digest)]
    if is_older_form_believed:
        messages.append(older_journal_message(town_id, witness.version, digest))
    keys = [parse_public_key(key) for key in (signer.public_key, *signer.older_keys)]
    signature = witness.sig or ""
    return any(is_signed(key, signature, message) for message in messages for key in keys)
