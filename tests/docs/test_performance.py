"""The page of figures says of a run what is reached and what is not, and its chart has each goal in its place."""

from __future__ import annotations

import copy
import re
from typing import Any
from xml.etree import ElementTree as ET

from docs.performance import MEMORY, kept_run, performance_chart, performance_page


def with_goal(**changes: object) -> dict[str, Any]:
    """The kept run with its first workload alone, which has one goal."""
    run: dict[str, Any] = copy.deepcopy(dict(kept_run()))
    run["workloads"] = run["workloads"][:1]
    goal = {"what": "rows/s", "value": 50.0, "bound": 100.0, "is_ceiling": False, "is_reached": False}
    run["workloads"][0]["goals"] = [goal | changes]
    return run


def dot(run: dict[str, Any]) -> float:
    (x,) = re.findall(r'<circle [^>]*cx="([\d.]+)"', performance_chart(run))
    return float(x)


def test_a_goal_that_is_not_reached_is_said_and_one_that_is_is_not_complained_of() -> None:
    short, good = with_goal(), with_goal(value=100.0, is_reached=True)

    assert "| rows/s | 50 | ≥ 100 |" in performance_page(short)
    assert "**0 of 1 goals are reached.**" in performance_page(short)
    assert "All are." in performance_page(good)


def test_a_better_figure_is_further_to_the_right_for_floors_and_ceilings() -> None:
    floors = [dot(with_goal(value=value)) for value in (1.0, 50.0, 100.0, 500.0)]
    ceilings = [dot(with_goal(value=value, is_ceiling=True)) for value in (500.0, 100.0, 50.0, 0.0)]

    assert floors == sorted(set(floors))
    assert ceilings == sorted(set(ceilings))
    assert floors[2] == ceilings[1]


def test_the_kept_run_has_every_workload_and_no_path_of_a_machine() -> None:
    run = kept_run()
    drawing = ET.fromstring(performance_chart(run))  # noqa: S314 - our own

    names = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {one["name"] for one in run["workloads"]} <= names
    assert all(goal["what"] != MEMORY or goal["value"] > 0 for one in run["workloads"] for goal in one["goals"])
    assert not re.search(r'"[^"]*/(tmp|home|work|root)/', str(run))
