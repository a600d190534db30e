"""What a customer was told without a network is what the order says, whatever the price list does meanwhile."""

from __future__ import annotations

from client_sdk import Replica
from server.stack import Stack
from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import PlaceOrder, ReceiveStock
from sync.modules.commerce.operations import OrderLine
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, site_on


def test_an_order_taken_offline_keeps_the_total_that_the_device_showed(shared_stack: Stack) -> None:
    with site_on(shared_stack) as site:
        path, books = site.tablet(), site.office.books
        books.must(TOWN, ReceiveStock(warehouse=site.warehouse, product=site.product, quantity=5))
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            replica.sync()
            lines = [OrderLine(product=site.product, quantity=2)]
            order = PlaceOrder(number="T1", warehouse=site.warehouse, customer_name="Grace", lines=lines)
            with replica.acting_as(site.clerk):
                order_id = replica.record(order).id
            promised = replica.get("order", order_id)
            assert promised is not None
            books.must(TOWN, OfferProduct(product=site.product, price="1234.56"))

            replica.sync()

            booked = replica.get("order", order_id)
            assert booked is not None
            (answered,) = replica.verdicts()
            assert answered.verdict is not None
            assert (answered.verdict.rule, len(replica.attention())) == ("payments.price_difference", 1)
            assert (booked["total_minor"], booked["lines"]) == (promised["total_minor"], promised["lines"])
