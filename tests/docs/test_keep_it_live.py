"""The page about keeping an app live is done, block by block, with a tablet of a running town."""

from __future__ import annotations

from pathlib import Path

from client_sdk import Replica
from server.stack import Stack
from tests.support.office import PASSPHRASE
from tests.support.pages import PageRun, blocks_of, fits
from tests.support.site import site_on

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/how-to/keep-it-live.md"


def no_commands(line: str) -> str:
    raise AssertionError(line)


def test_the_page_works_as_it_is_written(shared_stack: Stack) -> None:
    run = PageRun(PAGE, shell=no_commands, replace={})
    with site_on(shared_stack) as site, Replica.open(site.tablet(), passphrase=PASSPHRASE) as tablet:
        run._names["tablet"] = tablet
        blocks = list(blocks_of((ROOT / PAGE).read_text(encoding="utf-8")))
        printed = [(block.shown, run.do(block)) for block in blocks]
        assert tablet.status.last_problem is None

    told = [(shown, text) for shown, text in printed if shown is not None]
    assert len(told) == 1
    assert all(fits(shown, text) for shown, text in told)
