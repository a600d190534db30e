"""Catalogue (truth): products and what a town sells them for. Server-authored; devices read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from sync.kernel.changeset import Fields, Intent, Operation, RowKey
from sync.kernel.draft import Draft
from sync.kernel.ids import Id, derived_id
from sync.kernel.module import Entity, FieldKind, Module, ModuleKind, Ref
from sync.kernel.money import Amount, to_minor
from sync.modules.identity import ADMIN, Name

PRODUCT = Entity(
    name="product",
    plural="products",
    fields={"sku": FieldKind.TEXT, "name": FieldKind.TEXT, "unit": FieldKind.TEXT},
    bucket_kinds=frozenset({"town"}),
    buckets=lambda _row: ("town",),
)
CHANGES_SINCE = 3
"""The rules since which it is known when a price was changed (`sync.kernel.draft.RULES`)."""


def _shown_price(_bucket: str, row: Fields) -> Fields:
    """When it was changed is for the town to know."""
    return {name: value for name, value in row.items() if name not in {"changed_at", "changed_version"}}


TOWN_PRODUCT = Entity(
    name="town_product",
    plural="town_products",
    fields={
        "product_id": FieldKind.ID,
        "price_minor": FieldKind.INTEGER,
        "currency": FieldKind.TEXT,
        "is_enabled": FieldKind.BOOLEAN,
        "changed_at": FieldKind.TIME,
        "changed_version": FieldKind.INTEGER,
    },
    bucket_kinds=frozenset({"town"}),
    buckets=lambda row: ("town",) if row["is_enabled"] else (),
    project=_shown_price,
)


def product_id(sku: str) -> str:
    """The id of the product with this stock-keeping unit, the same in every town."""
    return derived_id("product", sku)


def town_product_id(product: str) -> str:
    """The id of a product's entry in the price list of its town."""
    return derived_id("town_product", product)


class DefineProduct(Operation):
    """A product exists; its id is derived from the stock-keeping unit."""

    op: ClassVar = "product.define"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    sku: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    name: Name
    unit: Name = "piece"

    def reads(self) -> Iterable[RowKey]:
        """Whether the product is there already."""
        return [("product", product_id(self.sku))]


class OfferProduct(Operation):
    """The town sells the product at this price, or stops selling it."""

    op: ClassVar = "product.offer"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = ADMIN
    product: Annotated[Id, Ref(entity="product")]
    price: Amount
    is_enabled: bool = True

    def reads(self) -> Iterable[RowKey]:
        """The entry it replaces."""
        return [("town_product", town_product_id(self.product))]


def define_product(operation: DefineProduct, draft: Draft) -> None:
    """The product's row."""
    row = {"sku": operation.sku, "name": operation.name, "unit": operation.unit}
    draft.create("product", product_id(operation.sku), row)


def offer_product(operation: OfferProduct, draft: Draft) -> None:
    """The entry in the price list, made or changed."""
    draft.need("product", operation.product)
    currency = draft.need("town", draft.change_set.town)["currency"]
    entry_id = town_product_id(operation.product)
    before = draft.get("town_product", entry_id)  # also so that the feed knows what it replaces
    price_minor = to_minor(operation.price, currency)
    row = {
        "product_id": operation.product,
        "price_minor": price_minor,
        "currency": currency,
        "is_enabled": operation.is_enabled,
        "changed_at": before["changed_at"] if before else None,
        "changed_version": before["changed_version"] if before else None,
    }
    if before and before["price_minor"] != price_minor and draft.context.rules >= CHANGES_SINCE:
        row.update(changed_at=draft.context.decided_at, changed_version=draft.context.version)
    draft.put("town_product", entry_id, row)


MODULE = Module(
    name="catalogue",
    kind=ModuleKind.TRUTH,
    needs=frozenset({"identity"}),
    entities=(PRODUCT, TOWN_PRODUCT),
    operations=(DefineProduct, OfferProduct),
    rules={DefineProduct: define_product, OfferProduct: offer_product},
)
