"""What is kept of measurements: a run of some parts leaves the others as they were."""

from pathlib import Path

import pytest

from bench.chart import chart
from bench.compiled import HERE
from bench.report import markdown
from bench.results import Measured, Results, Run
from bench.rows import Row, Target, at_least, at_most, limit, summary

FULL = Row("first", "x", "ms", [2.0, 1.0], [4.0], at_most(3.5), "why", 100, "ports").result()
BARE = Row("first", "y", "", [1.0]).result()


def run_of(date: str, *parts: str, failure: str = "") -> Results:
    measured = {name: Measured(date, 1.5, 0.5, failure, [FULL, BARE]) for name in parts}
    return Results({date: Run(f"bench/run on {date}", {"cpu": date}, {"Envoy": "1"})}, measured)


def test_what_is_committed_is_what_a_run_would_write() -> None:
    results = Results.read(HERE / "results.json")
    texts = {"results.json": results.text(), "RESULTS.md": markdown(results), "results.svg": chart(results)}
    assert {name: (HERE / name).read_text() for name in texts} == texts


def test_a_run_of_some_parts_keeps_the_others_with_their_own_dates_and_machines() -> None:
    results = run_of("Monday", "tcp-rest", "first", "registrar")
    results.merge(run_of("Tuesday", "first"))
    assert {name: part.run for name, part in results.parts.items()} == {
        "tcp-rest": "Monday",
        "first": "Tuesday",
        "registrar": "Monday",
    }
    page = markdown(results)
    assert "|  | Monday | Tuesday |" in page and "| cpu | Monday | Tuesday |" in page
    assert "`bench/run first`, Tuesday: 2 s" in page and "`bench/run registrar`, Monday: 2 s" in page


def test_a_run_of_which_no_part_is_left_goes_and_parts_stay_in_their_order() -> None:
    results = run_of("Monday", "first", "tcp-rest")
    results.merge(run_of("Tuesday", "first", "registrar"))
    results.merge(run_of("Wednesday", "tcp-rest"))
    assert list(results.runs) == ["Tuesday", "Wednesday"]
    assert list(results.parts) == ["tcp-rest", "first", "registrar"]


def test_results_are_read_as_they_were_written_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert Results.read(file) == Results()
    for results in (Results(), run_of("Monday", "first", failure='it "broke"\n')):
        file.write_text(results.text())
        assert Results.read(file) == results
    assert [line.strip().startswith('{"what": ') for line in file.read_text().splitlines()].count(True) == 2


@pytest.mark.parametrize("target", [at_most(3.0), at_least(0.5), limit(2.0), None])
def test_a_target_is_met_or_missed_after_reading_as_before(target: Target | None, tmp_path: Path) -> None:
    for ours in (0.1, 1.0, 2.5, 10.0):
        result = Row("first", "x", "ms", [ours], [2.0], target).result()
        results = Results({"Monday": Run("", {}, {})}, {"first": Measured("Monday", rows=[result])})
        (tmp_path / "results.json").write_text(results.text())
        [read] = Results.read(tmp_path / "results.json").parts["first"].rows
        assert (read.met, read.ratio, read.title) == (result.met, result.ratio, result.title)


def test_figures_are_kept_with_six_digits() -> None:
    seen = summary([0.123456789, 1234567.8, 5.0])
    assert (seen.low, seen.high, seen.median) == (0.123457, 1234570, 5)
