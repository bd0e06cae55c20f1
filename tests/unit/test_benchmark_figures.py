"""What benchmarks make of their samples: ratios, goals, the table, the JSON file."""

from __future__ import annotations

import dataclasses
import io
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jennah.render import console_on, show
from tests.benchmarks import compare
from tests.benchmarks.compare import changes, unpack
from tests.benchmarks.figures import Bound, Goal, Measure, Run, Sample, headline, percentile, rows
from tests.benchmarks.import_times import package_of, read_import_times
from tests.benchmarks.report import document, number, summary, write_json
from tests.chaos.scene import RunFailed

SPEED = Measure("lifecycles", "jobs", "jobs/s", "bare clients", Goal(Bound.RATIO_AT_LEAST, 0.3))
COUNT = Measure("calls", "RPCs", "per job", "one life", Goal(Bound.VALUE_AT_MOST, 8))
FREE = Measure("calls", "messages", "per job", "one life")


@pytest.mark.parametrize(
    ("bound", "limit", "value", "ratio", "met"),
    [
        (Bound.RATIO_AT_LEAST, 0.3, 1, 0.3, True),
        (Bound.RATIO_AT_LEAST, 0.3, 1, 0.29, False),
        (Bound.RATIO_AT_MOST, 1.25, 99, 1.25, True),
        (Bound.RATIO_AT_MOST, 1.25, 1, 1.26, False),
        (Bound.VALUE_AT_MOST, 8, 8, 99, True),
        (Bound.VALUE_AT_MOST, 8, 8.1, 1, False),
    ],
)
def test_a_goal_limits_what_it_says(
    bound: Bound, limit: float, value: float, ratio: float, met: bool
) -> None:
    assert Goal(bound, limit).met(value, ratio) is met


def test_the_ratio_is_taken_run_by_run() -> None:
    """The medians' own ratio would be 20 / 40: it compares one run's value with another run's floor."""
    samples = [Sample(SPEED, 10, 100), Sample(SPEED, 20, 25), Sample(SPEED, 30, 40)]
    (row,) = rows(Run([sample]) for sample in samples)
    assert (row.median, row.floor, row.ratio, row.met) == (20, 40, 0.75, True)


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9))
def test_a_machine_that_is_slower_as_a_whole_changes_no_ratio(pairs: list[tuple[float, float]]) -> None:
    slower = [Sample(SPEED, value / 2**place, floor / 2**place) for place, (value, floor) in enumerate(pairs)]
    (row,) = rows([Run(slower)])
    assert row.ratio == pytest.approx(statistics.median(value / floor for value, floor in pairs))


def test_samples_are_gathered_by_measure_in_their_order() -> None:
    runs = [Run([Sample(COUNT, place, 1), Sample(FREE, place, 2)]) for place in range(3)]
    assert [(row.measure, row.values) for row in rows(runs)] == [(COUNT, [0, 1, 2]), (FREE, [0, 1, 2])]


def test_the_headline_is_the_first_figure_and_the_goals() -> None:
    measured = rows([Run([Sample(SPEED, 41.234, 100), Sample(COUNT, 9, 7), Sample(FREE, 3, 3)])])
    assert headline(measured) == "jobs 41.2 jobs/s, 0.41 x bare clients; 1 of 2 goals met"


def test_the_table_says_what_is_met_and_what_is_missed() -> None:
    measured = rows([Run([Sample(SPEED, 41, 100), Sample(COUNT, 9, 7), Sample(FREE, 3, 3)])])
    stream = io.StringIO()
    show(console_on(stream), summary(measured))
    _, speed, count, free = (" ".join(line.split()) for line in stream.getvalue().splitlines())
    told = "lifecycles jobs 41 41-41 jobs/s bare clients 100 0.41 (0.41-0.41) at least 0.3 x its floor yes"
    assert speed == told
    assert count.endswith("at most 8 no")
    assert free.endswith("- -")


def test_the_json_file_has_every_run(tmp_path: Path) -> None:
    measured = rows([Run([Sample(SPEED, 10, 100)]), Run([Sample(SPEED, 20, 50)])])
    content = {"measured": [row.to_json() for row in measured]}
    write_json(tmp_path / "made" / "bench.json", content)
    (row,) = json.loads((tmp_path / "made" / "bench.json").read_text())["measured"]
    assert row["runs"] == [
        {"value": 10, "floor": 100, "ratio": 0.1},
        {"value": 20, "floor": 50, "ratio": 0.4},
    ]
    assert (row["median"], row["lowest"], row["highest"]) == (15, 10, 20)
    assert (row["ratio"], row["floor"], row["met"]) == (0.25, {"name": "bare clients", "median": 75}, False)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["bench.json"]


def test_the_json_file_says_where_it_was_measured() -> None:
    content = json.loads(json.dumps(document([], {}, {"runs": 1})))
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["packages"]["google-cloud-spanner"]
    assert content["options"] == {"runs": 1}
    assert content["date"].endswith("+00:00")


def test_a_percentile_lies_among_the_values() -> None:
    values = [float(value) for value in range(101)]
    assert (percentile(values, 50), percentile(values, 99)) == (50, 99)
    assert percentile([1.0, 3.0], 50) == 2


@pytest.mark.parametrize(
    ("value", "shown"), [(0.12345, "0.123"), (7.4, "7.4"), (82.71, "82.7"), (123.4, "123"), (0, "0")]
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_import_times_are_read_by_package_and_by_module() -> None:
    log = "\n".join(
        (
            "import time: self [us] | cumulative | imported package",
            "import time:      1500 |       1500 |       google.cloud.spanner_v1.types",
            "a line of the function's own",
            "import time:       500 |       2000 |     google.cloud.spanner_v1",
            "import time:      1000 |       3000 | flask.app",
        )
    )
    assert read_import_times(log) == {
        "modules": 3,
        "milliseconds": 3.0,
        "packages": {"google.cloud.spanner_v1": 2.0, "flask": 1.0},
        "slowest_modules": {
            "google.cloud.spanner_v1.types": 1.5,
            "flask.app": 1.0,
            "google.cloud.spanner_v1": 0.5,
        },
    }


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("json", "json"),
        ("flask.app", "flask"),
        ("google", "google"),
        ("google.protobuf.message", "google.protobuf"),
        ("google.cloud.batch_v1.types.job", "google.cloud.batch_v1"),
        ("googlemaps.client", "googlemaps"),
    ],
)
def test_a_package_is_what_one_would_name(module: str, package: str) -> None:
    assert package_of(module) == package


def test_times_are_compared_by_their_ratios_and_counts_as_they_are() -> None:
    def measured(speed: float, floor: float, count: float) -> dict[str, Any]:
        run = Run([Sample(SPEED, speed, floor), Sample(COUNT, count, 5)])
        return document(rows([run]), {}, {})

    base = [measured(10, 20, 8), measured(12, 20, 8), measured(30, 20, 9)]
    here: list[dict[str, Any]] = [
        measured(30, 40, 6),
        {"measured": [{"figure": "new", "name": "n", "unit": "s", "runs": []}]},
    ]
    speed, count = changes(base, here)
    assert (speed.figure, speed.name) == ("lifecycles", "jobs")
    assert speed.factor == pytest.approx(0.75 / 0.6)
    assert (speed.base.value, speed.base.floor, speed.here.value, speed.here.floor) == (12, 20, 30, 40)
    assert (count.figure, count.name, count.factor) == ("calls", "RPCs", 6 / 8)


def test_one_measure_beside_two_floors_is_compared_beside_each() -> None:
    second = dataclasses.replace(SPEED, floor="those, and forks")
    base, here = (
        [document(rows([Run([Sample(SPEED, value, 100), Sample(second, value, 50)], {})]), {}, {})]
        for value in (10, 20)
    )
    compared = changes(base, here)
    assert [(change.here.beside, change.here.ratio) for change in compared] == [
        ("bare clients", 0.2),
        ("those, and forks", 0.4),
    ]
    assert [change.factor for change in compared] == [2, 2]


def test_a_floor_that_is_another_one_now_is_not_compared_with() -> None:
    other = dataclasses.replace(SPEED, floor="what is slower")
    base, here = ([document(rows([Run([Sample(of, 10, 20)], {})]), {}, {})] for of in (SPEED, other))
    (change,) = changes(base, here)
    assert change.factor is None
    text = io.StringIO()
    show(console_on(text), compare.summary([change]))
    assert "another floor" in text.getvalue()


def test_what_is_no_commit_can_not_be_compared_with() -> None:
    with pytest.raises(RunFailed, match="no-such-commit is no commit here"):
        unpack("no-such-commit")
