"""The page and the chart of what a benchmark found: `python -m docs.performance results.json` takes a run and draws it.

The run that is shown is kept beside the page; whoever has another machine can put their own in its place.
"""
# ruff: noqa: INP001 - a script beside the pages, not a package

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

Run = Mapping[str, Any]

DOCS = Path(__file__).resolve().parent
KEPT = DOCS / "reference" / "performance.json"
PAGE = "reference/performance.md"
CHART = "images/performance.svg"
MEMORY = "API memory at its peak, MiB"

TIMES_MIN, TIMES_MAX = 1 / 100, 10.0
"""What the chart has room for: a hundredth of a goal, and ten times as good."""

LEFT, RIGHT, WIDTH = 305, 705, 960
TOP, ROW, HEAD = 88, 24, 30

_INTRODUCTION = """# Performance

What `tallystick bench` found. A figure alone says nothing of software: each stands beside a limit, or a peer, that the
same machine reached in the same run. Made by `docs/performance.py` from
[the run itself](performance.json); to see your own:

```sh
tallystick bench --json > results.json
python -m docs.performance results.json
```

`tallystick bench --budgets loadtests/budgets.toml` compares the ratios with what was reached before and exits 1 when
one has become worse.

"""

_HONESTLY = (
    "The goals are those of the design, for two cores; they were set before anything was measured. "
    "What is short of its goal is below, and in the chart:"
)
_FIGURES = """## Figures

| workload | figure | limit beside it | ratio | goals | API memory |
|---|---|---|---|---|---|
"""

_STYLE = """  <style>
    .text { fill: #1f2328 }
    .soft { fill: #57606a }
    .rule { stroke: #d0d7de }
    .goal { stroke: #1f2328; stroke-width: 1.5 }
    .good { stroke: #1a7f37; fill: #1a7f37 }
    .short { stroke: #bc4c00; fill: #bc4c00 }
    @media (prefers-color-scheme: dark) {
      .text { fill: #e6edf3 }
      .soft { fill: #9198a1 }
      .rule { stroke: #30363d }
      .goal { stroke: #e6edf3 }
      .good { stroke: #3fb950; fill: #3fb950 }
      .short { stroke: #f0883e; fill: #f0883e }
    }
  </style>
"""


def kept_run() -> Run:
    """The run that is shown."""
    run: Run = json.loads(KEPT.read_text(encoding="utf-8"))
    return run


def performance_page(run: Run) -> str:
    """`reference/performance.md`."""
    reached, goals = _count(run)
    short = [(one, goal) for one, goal in _goals(run) if not goal["is_reached"]]
    parts = [
        _INTRODUCTION,
        f"{_machine(run)} {_amounts(run)}\n\n",
        f"**{reached} of {goals} goals are reached.** {_HONESTLY}\n\n",
        f"![How far each goal is reached](../{CHART})\n\n",
        _FIGURES,
        *map(_figure, run["workloads"]),
        "\n## Goals that are not reached\n\n",
        *(["All are.\n"] if not short else ["| workload | goal | reached | wanted |\n|---|---|---|---|\n"]),
        *(f"| {one['name']} | {goal['what']} | {_number(goal['value'])} | {_bound(goal)} |\n" for one, goal in short),
        "\n## What is measured, and where the time goes\n",
        *map(_story, run["workloads"]),
    ]
    return "".join(parts)


def performance_chart(run: Run) -> str:
    """`images/performance.svg`: each goal as a line, the goal in the middle, and how many times better or worse."""
    body, y = [], TOP
    for one in run["workloads"]:
        y += HEAD
        body.append(f'  <text class="text" x="20" y="{y - 6}" font-weight="600" font-size="15">{one["name"]}</text>\n')
        body.append(f'  <path class="rule" d="M20 {y} H{WIDTH - 20}"/>\n')
        for goal in _charted(one):
            y += ROW
            body.append(_bar(goal, y))
    height = y + 40
    reached, goals = _count(run)
    said = f"{reached} of {goals} goals are reached; memory and missed rows are in the table"
    where = escape(_machine(run).partition(";")[0])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="13">\n'
        '  <title id="title">How far each goal of speed is reached</title>\n'
        f'  <desc id="description">{said}. Each line begins at its goal: to the right it is better, to the left it is '
        "short of it, on a scale of ten.</desc>\n"
        + _STYLE
        + f'  <text class="text" x="20" y="32" font-weight="600" font-size="19">Speed, goal by goal</text>\n'
        f'  <text class="soft" x="20" y="54" font-size="12">{where}; all on one machine</text>\n'
        + _scale(height)
        + "".join(body)
        + f'  <text class="soft" x="20" y="{height - 12}" font-size="12">{said}.</text>\n</svg>\n'
    )


def _scale(height: int) -> str:
    marks = [(0.01, "1/100"), (0.1, "1/10"), (10.0, "10 times")]
    lines = [
        f'  <path class="rule" d="M{_x(times):.0f} {TOP + 6} V{height - 34}" stroke-dasharray="2 4"/>\n'
        f'  <text class="soft" x="{_x(times):.0f}" y="{TOP - 2}" text-anchor="middle" font-size="12">{word}</text>\n'
        for times, word in marks
    ]
    goal = (
        f'  <path class="goal" d="M{_x(1):.0f} {TOP + 6} V{height - 34}"/>\n'
        f'  <text class="text" x="{_x(1):.0f}" y="{TOP - 2}" text-anchor="middle" font-weight="600">goal</text>\n'
    )
    return "".join(lines) + goal


def _bar(goal: Mapping[str, Any], y: int) -> str:
    x, kind = _x(_times(goal)), "good" if goal["is_reached"] else "short"
    middle = y - 8
    return (
        f'  <text class="text" x="{LEFT - 20}" y="{y - 4}" text-anchor="end">{escape(goal["what"])}</text>\n'
        f'  <path class="{kind}" d="M{_x(1):.0f} {middle} H{x:.0f}" stroke-width="5" stroke-linecap="round"/>\n'
        f'  <circle class="{kind}" cx="{x:.0f}" cy="{middle}" r="5.5"/>\n'
        f'  <text class="text" x="{RIGHT + 25}" y="{y - 4}">{_number(goal["value"])} '
        f'<tspan class="soft">wanted {escape(_bound(goal))}</tspan></text>\n'
    )


def _x(times: float) -> float:
    """Where a goal that is reached so many times lies."""
    within = min(max(times, TIMES_MIN), TIMES_MAX)
    return LEFT + (RIGHT - LEFT) * math.log(within / TIMES_MIN) / math.log(TIMES_MAX / TIMES_MIN)


def _times(goal: Mapping[str, Any]) -> float:
    """How many times as good as was wanted: below 1 it is short of it."""
    value, bound = float(goal["value"]), float(goal["bound"])
    if goal["is_ceiling"]:
        return bound / value if value else TIMES_MAX
    return value / bound


def _goals(run: Run) -> Iterator[tuple[Run, Mapping[str, Any]]]:
    for one in run["workloads"]:
        for goal in one["goals"]:
            yield one, goal


def _charted(one: Run) -> list[Mapping[str, Any]]:
    """Goals that have a distance: not what is either so or not, nor what all workloads have alike."""
    return [goal for goal in one["goals"] if goal["what"] not in {MEMORY, "rows missed"}]


def _count(run: Run) -> tuple[int, int]:
    goals = [goal for _, goal in _goals(run)]
    return sum(goal["is_reached"] for goal in goals), len(goals)


def _machine(run: Run) -> str:
    here = run["environment"]
    return (
        f"On {here['day']}: {here['cores']} cores, {here['system']} {here['machine']}, Python {here['python']}, "
        f"PostgreSQL {here['postgresql']}, SQLite {here['sqlite']}; clients, server and database share them. "
        f"The machine's load was {here['load']:.1f} when it began."
    )


def _amounts(run: Run) -> str:
    sizes = run["sizes"]
    return (
        f"Amounts: {sizes['first_sync_rows']:,} rows, {sizes['pushed_change_sets']:,} change sets pushed, "
        f"{sizes['storm_devices']} devices in a storm, {sizes['crew_devices']} in a round, "
        f"{sizes['pending_change_sets']:,} pending, {sizes['verified_change_sets']:,} verified."
    )


def _figure(one: Run) -> str:
    reached = sum(goal["is_reached"] for goal in one["goals"])
    peak_mib = one["details"].get("api_peak_mib")
    memory = "" if peak_mib is None else f"{peak_mib:.0f} MiB"
    figure, limit = (f"{_number(one[key])} {one['unit']}" for key in ("value", "limit"))
    return (
        f"| [{one['name']}](#{one['name']}) | {figure} | {limit} | {one['ratio']:.3g} | "
        f"{reached} of {len(one['goals'])} | {memory} |\n"
    )


def _story(one: Run) -> str:
    goals = "".join(
        f"- {'reached' if goal['is_reached'] else '**not reached**'}: {goal['what']} {_number(goal['value'])}, "
        f"wanted {_bound(goal)}\n"
        for goal in one["goals"]
    )
    return (
        f"\n### {one['name']}\n\n{_sentence(one['what'])}. The limit: {one['limit_what']}.\n\n{goals}\n"
        f"Where the time goes: {one['where']}.\n"
    )


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _bound(goal: Mapping[str, Any]) -> str:
    return f"{'<' if goal['is_ceiling'] else '≥'} {_number(goal['bound'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"  # noqa: PLR2004 - for reading


def main(words: Sequence[str]) -> None:
    """Keep this run, and write its page and chart."""
    (path,) = words
    run = json.loads(Path(path).read_text(encoding="utf-8"))
    KEPT.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (DOCS / PAGE).write_text(performance_page(run), encoding="utf-8")
    (DOCS / CHART).write_text(performance_chart(run), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
