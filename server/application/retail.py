"""The online-retail file format: sales lines of many countries as CSV, read as they are, warts and all.

Source: Chen, Sain and Guo, Online Retail, UCI Machine Learning Repository. What cannot be a sale is left out and
counted by its reason.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from statistics import median_low
from typing import ClassVar

from sync.kernel.errors import TallystickError

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
NAME_CHARACTERS_MAX = 200
SKU_CHARACTERS_MAX = 64
PENNY = Decimal("0.01")

BAD_DEBT = "lines of bad debt (invoice A...)"
CANCELLED = "lines of cancellations (invoice C...)"
WRITTEN_OFF = "lines written off (no positive quantity)"
NO_PRICE = "lines given away (no positive price)"
NO_MONEY = "lines with more than two decimals in the price"
UNREADABLE = "lines without an invoice, a product or numbers"
NO_NAME = "products without a description (named by their code)"
NEVER_PRICED = "products never sold at a price (not offered)"

# Windows-1252 read as Latin-1 leaves these; in Unicode they are control characters that no name has.
_LEFTOVERS = re.compile(r"[\x80-\x9f]")


class SourceUnreadable(TallystickError):
    """The file is not in the online-retail format."""

    code: ClassVar[str] = "source_unreadable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """What a country's lines say of one stock code; `price_pence` is the median of what was paid, None if nothing."""

    sku: str
    name: str
    price_pence: int | None
    sold: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sale:
    """So many pieces of one product on an invoice, at one price each."""

    sku: str
    quantity: int
    price_pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Country:
    """One country's trade: its products by stock code, and its invoices in the order of the file."""

    name: str
    products: Mapping[str, Product]
    invoices: Mapping[str, Sequence[Sale]]
    lines: int


@dataclass(kw_only=True, slots=True)
class _Gathered:
    lines: int = 0
    names: dict[str, str] = field(default_factory=dict)
    prices: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    sold: Counter[str] = field(default_factory=Counter)
    invoices: dict[str, dict[str, Sale]] = field(default_factory=dict)


def source_files(path: Path) -> list[Path]:
    """The CSV files (also gzipped) that `path` is or holds, by name. Raises `SourceUnreadable` when there is none."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*") if file.name.endswith((".csv", ".csv.gz")))
    if not found:
        raise SourceUnreadable(f"{path} is neither a CSV file nor a directory with one")
    return found


def read_countries(files: Iterable[Path]) -> tuple[list[Country], Counter[str]]:
    """The countries, the one with most lines first, and how many lines or products were left out for which reason.

    Raises `SourceUnreadable` for a file in another format.
    """
    gathered: dict[str, _Gathered] = defaultdict(_Gathered)
    skipped: Counter[str] = Counter()
    for file in files:
        for row in _rows(file):
            reason = _take(gathered[row["Country"] or "Unspecified"], row)
            if reason:
                skipped[reason] += 1
    countries = [_country(name, one, skipped) for name, one in gathered.items()]
    return sorted(countries, key=lambda country: (-country.lines, country.name)), skipped


def clean_name(text: str) -> str:
    """A description without what an old code page left in it, blanks made single, cut to what a name may be."""
    if _LEFTOVERS.search(text):
        text = _LEFTOVERS.sub(lambda found: found.group().encode("latin-1").decode("cp1252", "ignore"), text)
    return " ".join(text.replace("\ufffd", " ").split())[:NAME_CHARACTERS_MAX].strip()


def _rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as text:
            rows = csv.DictReader(text)
            missing = set(COLUMNS) - set(rows.fieldnames or ())
            if missing:
                raise SourceUnreadable(f"{file} has no column {min(missing)}: expected {', '.join(COLUMNS)}")
            for row in rows:
                yield {name: (row[name] or "").strip() for name in COLUMNS}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as fault:
        raise SourceUnreadable(f"{file} cannot be read: {fault}") from fault


def _take(country: _Gathered, row: Mapping[str, str]) -> str | None:
    """Add one line to its country; the reason when it is no sale."""
    try:
        quantity, price = int(row["Quantity"]), Decimal(row["UnitPrice"])
    except (ValueError, InvalidOperation):
        return UNREADABLE
    sku, invoice = row["StockCode"], row["InvoiceNo"]
    reason = _no_sale(invoice, sku, quantity, price)
    if reason not in {UNREADABLE, BAD_DEBT}:
        # A product that only ever came back is still a product.
        country.names[sku] = country.names.get(sku) or clean_name(row["Description"])
    if reason:
        return reason
    country.lines += 1
    country.prices[sku].append(int(price / PENNY))
    country.sold[sku] += quantity
    sales = country.invoices.setdefault(invoice, {})
    # A product that is on an invoice twice is picked once: the pieces add up, the first price counts.
    before = sales.get(sku) or Sale(sku=sku, quantity=0, price_pence=int(price / PENNY))
    sales[sku] = replace(before, quantity=before.quantity + quantity)
    return None


def _no_sale(invoice: str, sku: str, quantity: int, price: Decimal) -> str | None:
    reasons = {
        UNREADABLE: not invoice or not sku or len(sku) > SKU_CHARACTERS_MAX or not price.is_finite(),
        BAD_DEBT: invoice.startswith("A"),
        CANCELLED: invoice.startswith("C"),
        WRITTEN_OFF: quantity <= 0,
        NO_PRICE: price.is_finite() and price <= 0,
        NO_MONEY: price.is_finite() and price != round(price, 2),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _country(name: str, gathered: _Gathered, skipped: Counter[str]) -> Country:
    products = {}
    for sku, description in gathered.names.items():
        prices = gathered.prices.get(sku)
        skipped.update([NO_NAME] * (not description) + [NEVER_PRICED] * (not prices))
        products[sku] = Product(
            sku=sku,
            name=description or sku,
            price_pence=median_low(prices) if prices else None,
            sold=gathered.sold[sku],
        )
    invoices = {number: tuple(sales.values()) for number, sales in gathered.invoices.items()}
    return Country(name=name, products=products, invoices=invoices, lines=gathered.lines)
