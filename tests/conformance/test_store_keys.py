"""The server's keys, and the end of a replica: what every store must do, whatever it is made of."""

from __future__ import annotations

import pytest

from client_sdk.application.ports import Store
from client_sdk.errors import ReplicaWiped, StaleExchange
from tests.support.desk import town_with_jobs
from tests.support.stores import jobs, note
from tests.support.toy import TakeCash, exchange, job_id


def test_the_server_s_keys_are_kept_beside_who_the_device_is(store: Store) -> None:
    before = store.identity()

    store.trust({"one": "key one", "two": "key two"}, "sealing key")

    after = store.identity()
    assert (after.server_keys, after.sealing_key) == ({"one": "key one", "two": "key two"}, "sealing key")
    assert (after.device_id, after.certificate) == (before.device_id, before.certificate)
    assert after.key.private_bytes_raw() == before.key.private_bytes_raw()


def test_a_wipe_leaves_nothing_and_says_so_for_ever(store: Store) -> None:
    exchange(store, town_with_jobs())
    done = note(store, TakeCash(job=job_id(0), amount="1.00", currency="GBP"))

    store.wipe(done.seq)

    with pytest.raises(ReplicaWiped):
        store.identity()
    with pytest.raises(ReplicaWiped):
        store.exchange_state()
    with pytest.raises(ReplicaWiped), store.recording():
        pass


def test_nothing_is_wiped_when_more_was_recorded_than_is_known_of(store: Store) -> None:
    exchange(store, town_with_jobs())
    first = note(store, TakeCash(job=job_id(0), amount="1.00", currency="GBP"))
    note(store, TakeCash(job=job_id(1), amount="1.00", currency="GBP"))

    with pytest.raises(StaleExchange):
        store.wipe(first.seq)

    assert (store.pending_count(), len(jobs(store))) == (2, 3)
    assert store.identity().device_id
