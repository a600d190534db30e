"""The online-retail format: what is a sale, what is left out and why, and what a product is called and costs."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from server.application import retail
from server.application.retail import Country, Product, Sale, SourceUnreadable, clean_name, read_countries, source_files

HEADER = ",".join(retail.COLUMNS)


def line(
    *, invoice: str = "1", sku: str = "22423", name: str = "CAKESTAND", quantity: int = 1, price: str = "2.50"
) -> str:
    return f"{invoice},{sku},{name},{quantity},2010-12-01 08:26:00,{price},,Germany"


def read(path: Path, *lines: str) -> tuple[list[Country], Counter[str]]:
    path.write_text("\n".join([HEADER, *lines, ""]))
    return read_countries([path])


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (line(invoice="A1"), retail.BAD_DEBT),
        (line(invoice="A1", price="-11062.06"), retail.BAD_DEBT),
        (line(invoice="C1", quantity=-1), retail.CANCELLED),
        (line(quantity=-3), retail.WRITTEN_OFF),
        (line(quantity=0), retail.WRITTEN_OFF),
        (line(price="0"), retail.NO_PRICE),
        (line(price="-1"), retail.NO_PRICE),
        (line(price="0.001"), retail.NO_MONEY),
        (line(price="NaN"), retail.UNREADABLE),
        (line(price="Infinity"), retail.UNREADABLE),
        (line(price="dear"), retail.UNREADABLE),
        (line(sku=""), retail.UNREADABLE),
    ],
)
def test_what_is_no_sale_is_left_out_and_counted(tmp_path: Path, odd: str, reason: str) -> None:
    countries, skipped = read(tmp_path / "a.csv", line(invoice="2"), odd)

    assert [country.invoices for country in countries] == [
        {"2": (Sale(sku="22423", quantity=1, price_pence=250),)},
    ]
    assert skipped == {reason: 1}


def test_a_product_has_its_first_description_and_its_median_price(tmp_path: Path) -> None:
    prices = [line(price=price, quantity=2) for price in ("2.50", "9.99", "2.55")]

    countries, _ = read(tmp_path / "a.csv", line(name="  ", price="2.50", quantity=1), *prices)

    assert countries[0].products == {"22423": Product(sku="22423", name="CAKESTAND", price_pence=250, sold=7)}


def test_a_product_that_only_came_back_is_known_and_not_priced(tmp_path: Path) -> None:
    countries, skipped = read(tmp_path / "a.csv", line(invoice="C9", quantity=-2, name=""))

    assert countries[0].products == {"22423": Product(sku="22423", name="22423", price_pence=None, sold=0)}
    assert skipped == {retail.CANCELLED: 1, retail.NO_NAME: 1, retail.NEVER_PRICED: 1}


def test_a_product_that_is_on_an_invoice_twice_is_one_line_of_it(tmp_path: Path) -> None:
    countries, _ = read(tmp_path / "a.csv", line(quantity=2), line(quantity=3, price="9.99"))

    assert countries[0].invoices == {"1": (Sale(sku="22423", quantity=5, price_pence=250),)}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Voucher \x8040.00 \x95 gift", "Voucher €40.00 • gift"),
        ("Voucher £40.00", "Voucher £40.00"),
        ("  SET   OF 3 ", "SET OF 3"),
        ("lost\ufffdbyte \x81", "lost byte"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_description_is_cleaned_of_what_an_old_code_page_left(text: str, name: str) -> None:
    assert clean_name(text) == name


def test_a_folder_is_read_with_its_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{line()}\n")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{line(invoice='2')}\n".encode()))
    (tmp_path / "notes.txt").write_text("not sales")

    countries, _ = read_countries(source_files(tmp_path))

    assert [list(country.invoices) for country in countries] == [["1", "2"]]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", HEADER.encode() + b"\n\xff\xfe,\n"])
def test_a_file_in_another_format_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.csv"
    file.write_bytes(content)

    with pytest.raises(SourceUnreadable, match=r"other\.csv"):
        read_countries([file])


def test_a_place_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="neither a CSV file nor a directory with one"):
        source_files(tmp_path)
