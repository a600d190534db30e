"""Papers for people: a statement and a Z report as HTML, for a browser and for the printer of PDFs. Pure.

Everything that comes from people is escaped. A statement says first what is to be paid. A page of it has so many lines,
and says what was brought forward and what it carries over, so that each page adds up by itself. The check of a receipt
is such a page as well, for who has scanned one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final, Literal

from server.domain.local_time import day, moment
from sync.kernel.money import to_amount

STYLE_PATH: Final = "/v1/papers.css"
LINES_ON_PAGE: Final = 28
LINES_MAX: Final = 2_000
"""Lines of one PDF; of more some days are asked for."""

STYLE: Final = """
@page { size: A4; margin: 16mm 15mm 18mm;
  @bottom-left { content: string(town); font: 8pt Inter, "Liberation Sans", "DejaVu Sans", sans-serif; color: #64748b }
  @bottom-right { content: "Page " counter(page) " of " counter(pages);
    font: 8pt Inter, "Liberation Sans", "DejaVu Sans", sans-serif; color: #64748b } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 46rem; padding: 2rem 1.5rem; background: #fff; color: #0f172a;
  font: 15px/1.45 Inter, "Liberation Sans", "DejaVu Sans", system-ui, sans-serif }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 2rem;
  border-bottom: 3px solid #0b5cad; padding-bottom: .75rem; margin-bottom: 1.25rem }
h1 { font-size: 1.6rem; line-height: 1.15; margin: 0 }
h2 { font-size: 1rem; margin: 1.75rem 0 .5rem }
.town { string-set: town content(); color: #0b5cad; font-weight: 600 }
.note { color: #64748b; font-size: .85rem }
header .note { text-align: right }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th { text-align: left; font-size: .75rem; font-weight: 600; color: #64748b; border-bottom: 1px solid #cbd5e1;
  padding: .3rem .5rem }
td { border-bottom: 1px solid #e2e8f0; padding: .3rem .5rem; vertical-align: top }
td.sum, th.sum { text-align: right; white-space: nowrap }
td.day { white-space: nowrap; color: #475569 }
tr.total td { font-weight: 600; background: #f5f7fa }
tr.off td { font-weight: 700; color: #b42318; background: #fdecea }
tr.even td { font-weight: 700; color: #067647; background: #e7f6ec }
section.page + section.page { break-before: page }
.signs { display: flex; gap: 3rem; margin-top: 3.5rem; break-inside: avoid }
.signs span { flex: 1; border-top: 1px solid #0f172a; padding-top: .35rem; font-size: .8rem; color: #475569 }
.due { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; margin: 0 0 1.25rem;
  padding: .8rem 1rem; border-radius: .5rem; background: #f5f7fa; break-inside: avoid }
.due strong { font-size: 1.35rem; font-variant-numeric: tabular-nums }
body.check { max-width: 28rem; padding: 1.5rem 1rem; background: #f5f7fa }
.check main { overflow: hidden; background: #fff; border: 1px solid #e2e8f0; border-radius: .75rem;
  box-shadow: 0 1px 3px rgb(15 23 42 / .08) }
.check header { display: block; margin: 0; padding: 1.5rem 1.5rem 1.25rem; border: 0; text-align: center }
.check svg { width: 3rem; height: 3rem; fill: none; stroke: currentcolor; stroke-width: 2.25; stroke-linecap: round;
  stroke-linejoin: round }
.check h1 { margin-top: .5rem; font-size: 1.2rem }
.check .good { color: #067647; background: #e7f6ec }
.check .look { color: #92400e; background: #fdf3dc }
.check .bad { color: #b42318; background: #fdecea }
.check .amount { padding: 1.25rem 1.5rem 0; text-align: center; font-size: 2rem; font-weight: 700;
  font-variant-numeric: tabular-nums }
.check dl { display: grid; grid-template-columns: auto 1fr; gap: .45rem 1.5rem; margin: 0;
  padding: 1.25rem 1.5rem 1.5rem }
.check dt { color: #64748b }
.check dd { margin: 0; text-align: right; overflow-wrap: anywhere }
.check footer { padding: 1rem .5rem; color: #64748b; font-size: .8rem; text-align: center }
.pill { display: inline-block; border-radius: 1rem; padding: .05rem .6rem; font-size: .75rem; font-weight: 600;
  background: #fdecea; color: #b42318 }
@media (max-width: 30rem) { body { padding: 1.25rem 1rem } header { gap: 1rem } th, td { padding: .3rem .2rem }
  table { font-size: .85rem } th { font-size: .7rem } }
@media print { body { max-width: none; padding: 0; font-size: 9pt } th, td { padding: .2rem .45rem } }
""".strip()

_SIGNS: Final = {"good": "M7.5 12.5l3 3 6-6.5", "look": "M12 7v6M12 16.5v.01", "bad": "M8.5 8.5l7 7M15.5 8.5l-7 7"}


def statement_page(said: Mapping[str, Any], sections: Sequence[Mapping[str, Any]], *, is_for_print: bool) -> str:
    """A statement's document (`queries.statements`) with the sections that are wanted of it, as `shown`."""
    account, as_of, zone = said["account"], said["as_of"], zone_of(said)
    due = "".join(
        f' <span class="pill">overdue {_sum(one["amount"])} {one["currency"]}</span>' for one in said["overdue"]
    )
    body = _header(
        said["town"]["name"],
        "Statement",
        f"<strong>{escape(account['name'])}</strong>{due}",
        f"as of {moment(as_of['at'], zone)}<br>version {as_of['version']} of the books",
    )
    body += "".join(map(_due, sections))
    pages = [page for section in sections for page in _pages(section, zone)]
    return _document(f"Statement {account['name']}", body + ("".join(pages) or _empty()), is_for_print=is_for_print)


def z_report_page(report: Mapping[str, Any], *, is_for_print: bool) -> str:
    """A Z report's document (`queries.z_reports`)."""
    amended = '<p class="note">It amends the report before it: a payment came late. Both are kept.</p>'
    zone = zone_of(report)
    told = f"<strong>{escape(report['drawer']['name'])}</strong>, {escape(report['drawer']['holder'])}"
    body = _header(
        report["town"]["name"],
        f"Z report {report['number']}",
        told,
        f"opened {moment(report['opened_at'], zone)}<br>counted {moment(report['counted_at'], zone)}"
        f"<br>closed {moment(report['made_at'], zone)}",
    )
    body += amended if report["late_payment"] else ""
    body += "".join(_drawer_sums(one) for one in report["currencies"]) or _empty()
    body += _drawer_payments(report["payments"], zone)
    signs = '<div class="signs"><span>Counted by</span><span>Checked by</span><span>Date</span></div>'
    return _document(f"Z report {report['number']}", body + signs, is_for_print=is_for_print)


def zone_of(said: Mapping[str, Any]) -> str:
    """The time zone of a document's town; one that the release before has kept does not say it, and is soon gone."""
    return str(said["town"].get("time_zone", "UTC"))


def receipt_check(kind: Literal["good", "look", "bad"], title: str, amount: str, told: Mapping[str, str]) -> str:
    """What becomes of a scanned receipt: whether it is good, or has to be looked at, or is not good, and why."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in told.items())
    sign = (
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><circle cx="12" cy="12" r="10"/><path d="{_SIGNS[kind]}"/></svg>'
    )
    body = (
        f'<main><header class="{kind}">{sign}<h1>{escape(title)}</h1></header>'
        f"{f'<div class=amount>{escape(amount)}</div>' if amount else ''}<dl>{rows}</dl></main>"
        "<footer>Checked against the keys and the books of this installation.</footer>"
    )
    return _document("Receipt", body, is_for_print=False, kind="check")


def _document(title: str, body: str, *, is_for_print: bool, kind: str = "paper") -> str:
    """A browser is not to take style out of a page (`security_headers`), the printer loads nothing."""
    style = f"<style>{STYLE}</style>" if is_for_print else f'<link rel="stylesheet" href="{STYLE_PATH}">'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>{style}</head>'
        f'<body class="{kind}">{body}</body></html>'
    )


def _header(town: str, title: str, told: str, note: str) -> str:
    return (
        f'<header><div><div class="town">{escape(town)}</div><h1>{escape(title)}</h1>{told}</div>'
        f'<div class="note">{note}</div></header>'
    )


def _due(section: Mapping[str, Any]) -> str:
    """What the reader asks first."""
    closing, currency = Decimal(section["closing"]), section["currency"]
    told = "To pay" if closing > 0 else "In credit" if closing < 0 else "Nothing to pay"
    return f'<div class="due"><span>{told}</span><strong>{_sum(str(abs(closing)))} {currency}</strong></div>'


def _sum(amount: str) -> str:
    """An amount for people: a comma before each three digits, a minus that does not break. Empty stays empty."""
    return f"{Decimal(amount):,}".replace("-", "\N{MINUS SIGN}") if amount else ""


def _empty() -> str:
    return '<p class="note">Nothing was booked.</p>'


def _pages(section: Mapping[str, Any], zone: str) -> Iterator[str]:
    lines, currency = section["lines"], section["currency"]
    starts = range(0, max(len(lines), 1), LINES_ON_PAGE)
    before = section["opening"]
    for place, start in enumerate(starts):
        part = lines[start : start + LINES_ON_PAGE]
        after = part[-1]["balance"] if part else before
        is_last = place == len(starts) - 1
        first = _total("opening balance" if place == 0 else "brought forward", "", "", before)
        name = "closing balance" if is_last else "carried forward"
        last = _total(f"{name}, this page" if len(starts) > 1 else name, *_page_sums(part, currency), after)
        ending = _total("in all", section["charged"], section["received"], section["closing"])
        rows = first + "".join(_line(line, zone) for line in part) + last + (ending if is_last and place else "")
        before = after
        head = "".join(f'<th class="sum">{name}</th>' for name in ("charged", "received", f"balance {currency}"))
        yield (
            f'<section class="page"><table><thead><tr><th>date</th><th>what</th>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></section>"
        )


def _page_sums(lines: Sequence[Mapping[str, Any]], currency: str) -> tuple[str, str]:
    """What the lines of one page come to."""
    zero = Decimal(to_amount(0, currency))
    charged, received = (
        sum((Decimal(line[name]) for line in lines if line[name]), zero) for name in ("charged", "received")
    )
    return str(charged), str(received)


def _line(line: Mapping[str, Any], zone: str) -> str:
    what = ": ".join(part for part in (line["name"], _in_words(line["what"])) if part)
    sums = "".join(f'<td class="sum">{_sum(line[name])}</td>' for name in ("charged", "received", "balance"))
    return f'<tr><td class="day">{day(line["at"], zone)}</td><td>{escape(what)}</td>{sums}</tr>'


def _in_words(what: str) -> str:
    """The methods of payment have short names in the books."""
    return what.removesuffix("momo") + "mobile money" if what == "momo" or what.endswith(": momo") else what


def _total(name: str, charged: str, received: str, balance: str) -> str:
    sums = "".join(f'<td class="sum">{_sum(one)}</td>' for one in (charged, received, balance))
    return f'<tr class="total"><td></td><td>{name}</td>{sums}</tr>'


def _drawer_sums(one: Mapping[str, Any]) -> str:
    currency = one["currency"]
    rows = "".join(
        f'<tr><td>{name}</td><td class="sum">{_sum(one[key])}</td></tr>'
        for name, key in (
            ("float in the morning", "opening"),
            (f"taken, {one['payments']} payment{'' if one['payments'] == 1 else 's'}", "taken"),
            ("given back", "given_back"),
        )
    )
    kind = "even" if one["difference"] == to_amount(0, currency) else "off"
    return (
        f'<h2>{currency}</h2><table><tbody>{rows}<tr class="total"><td>should be there</td>'
        f'<td class="sum">{_sum(one["expected"])}</td></tr><tr><td>counted, without being told</td>'
        f'<td class="sum">{_sum(one["counted"])}</td></tr><tr class="{kind}"><td>difference</td>'
        f'<td class="sum">{_sum(one["difference"])}</td></tr></tbody></table>'
    )


def _drawer_payments(payments: Sequence[Mapping[str, Any]], zone: str) -> str:
    if not payments:
        return ""
    rows = "".join(
        f'<tr><td class="day">{moment(one["at"], zone)}</td><td>{escape(one["what"])}</td>'
        f"<td>{one['status'].lower()}</td>"
        f'<td class="sum">{_sum(one["amount"])} {one["currency"]}</td></tr>'
        for one in payments
    )
    head = '<tr><th>taken</th><th>for</th><th></th><th class="sum">amount</th></tr>'
    return f"<h2>What went into it</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>"
