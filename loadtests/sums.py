"""What a retail file says was sold and came back, by country; reads the file with nothing of the product.

    python -m loadtests.sums FILE [LINES]

prints one line of JSON per country. It is the other side of the check after a season, so it shares no code with what
it checks.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path


@dataclass(kw_only=True, slots=True)
class Sums:
    """Of one country: pieces sold, what they cost in pence, pieces on cancelling invoices, pieces written off."""

    sold: int = 0
    pence: int = 0
    back: int = 0
    written_off: int = 0


def sums_by_country(path: Path, lines_max: int | None = None) -> dict[str, Sums]:
    """Over the first `lines_max` lines. Bad debt, and prices that are no money, are not trade."""
    found: dict[str, Sums] = defaultdict(Sums)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for row in islice(csv.DictReader(file), lines_max):
            price, quantity = Decimal(row["UnitPrice"]), int(row["Quantity"])
            if row["InvoiceNo"][0] == "A" or price < 0 or price != round(price, 2):
                continue
            country = found[row["Country"]]
            if quantity > 0:
                country.sold += quantity
                country.pence += int(quantity * price * 100)
            elif row["InvoiceNo"][0] == "C":
                country.back -= quantity
            else:
                country.written_off -= quantity
    return dict(found)


if __name__ == "__main__":
    limit = int(sys.argv[2]) if len(sys.argv) > 2 else None  # noqa: PLR2004 - the program, a file, a number
    for name, sums in sums_by_country(Path(sys.argv[1]), limit).items():
        sys.stdout.write(json.dumps({"country": name, **asdict(sums)}) + "\n")
