"""One trace from a device's request through the group commit and the outbox to the job, told to a real collector."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

from client_sdk import Replica
from server.stack import Stack
from sync.modules.commerce import PlaceOrder, ReceiveStock, ShortPick
from sync.modules.commerce.operations import OrderLine
from tests.support.collector import collector
from tests.support.office import PASSPHRASE, office_of
from tests.support.site import TOWN, Site
from tests.support.stack import scratch_directory

ROOT = Path(__file__).parents[2]
EXCHANGE = "POST /v1/towns/{town_id}/exchange"
LOADED = "import sys, server.main, server.worker, server.scheduler; print(*sys.modules)"


def order_for(site: Site) -> str:
    """The id of an order at the tablet's shelf, of which two pieces are there."""
    order = PlaceOrder(
        id=site.office.books.new_id(),
        number="A1",
        warehouse=site.warehouse,
        customer_name="Grace",
        phone="",
        lines=[OrderLine(product=site.product, quantity=2)],
    )
    site.office.books.must(TOWN, ReceiveStock(warehouse=site.warehouse, product=site.product, quantity=2))
    site.office.books.must(TOWN, order)
    return order.id


def test_a_trace_leads_from_the_device_to_the_job_that_it_asked_for() -> None:
    with scratch_directory() as directory, collector() as told:
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": told.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with Stack.start(directory / "data", environment=tracing) as stack, office_of(stack) as office:
            site = Site(stack, office, directory)
            with Replica.open(site.tablet(), passphrase=PASSPHRASE) as replica:
                order = order_for(site)
                replica.sync()
                with replica.acting_as(site.clerk):
                    replica.record(ShortPick(order=order, product=site.product, quantity=1))
                replica.sync()
            job = told.expect("tallystick-worker", "outbox customer.notify")
            commit = told.expect("tallystick-api", "group_commit", job.trace_id)
            request = told.expect("tallystick-api", EXCHANGE, job.trace_id)
        logged = [orjson.loads(line) for line in (stack.log_dir / "api.log").read_bytes().splitlines()]

    assert (job.parent_span_id, commit.parent_span_id) == (commit.span_id, request.span_id)
    assert request.parent_span_id, "the device has named its request"
    exchanges = [line for line in logged if line["event"] == "exchange" and line["lines"]]
    assert [line["trace_id"] for line in exchanges] == [job.trace_id.hex()]


def test_without_a_collector_nothing_of_the_exporter_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, check=True, text=True)

    # The metrics of the SDK are loaded by the Redis client, whoever wants them or not.
    unwanted = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "requests")
    assert [name for name in done.stdout.split() if name.startswith(unwanted)] == []
