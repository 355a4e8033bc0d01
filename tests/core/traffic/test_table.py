"""The table of `top`: what is sorted how, what fits, and that no name can write anywhere else."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.traffic.table import BY_KEY, BY_NAME, COLUMNS, PLAIN, RED, Look, count, is_of, lines, percent


def row(name: str = "web", **more: Any) -> dict[str, Any]:
    figures: dict[str, Any] = dict.fromkeys(column.name for column in COLUMNS)
    return {
        **figures,
        "id": f"{name}-dev-80",
        "service": name,
        "environment": "dev",
        "container": f"{name}-1",
        "addresses": ["0.0.0.0:80", "[::]:80"],
        "mode": "http",
        "state": "serving",
        "packets_in": None,
        "packets_out": None,
        **more,
    }


def answer(*problems: str) -> dict[str, Any]:
    return {
        "now": "2026-11-26T03:50:00+00:00",
        "window": 10.0,
        "warming": False,
        "problems": list(problems),
    }


def table(*rows: dict[str, Any], look: Look = Look(), problems: tuple[str, ...] = ()) -> list[str]:  # noqa: B008
    return lines(answer(*problems), rows, look)


def test_a_row_says_what_passes_a_service() -> None:
    found = table(
        row(requests=1234.5, success=0.9987, p50=0.5, p95=12.3, p99=12345.0, connections=7, out=1500.0)
    )
    assert found[0] == "03:50:00 UTC, 1 service, 1234 requests/s, 0 B/s in, 1.5 kB/s out, last 10 s"
    titles, values = found[2].split(), found[3].split("  ")
    assert titles[:4] == ["SERVICE", "ADDRESS", "MODE", "STATE"]
    assert [value.strip() for value in values if value.strip()] == [
        *("web/dev", "0.0.0.0:80 +1", "http", "serving"),
        *("1234", "99.87", "<1", "12", "12s", "7", "-", "-", "1.5 kB", "-"),
    ]


def test_all_is_only_said_of_all() -> None:
    assert (percent(1), percent(0.999999), percent(0.0)) == ("100", "99.99", "0.00")
    assert [count(value) for value in (0, 0.01, 0.26, 99.96, 9999.4, 12345, 2e7, 1e12)] == [
        *("0", "<0.1", "0.3", "100", "9999", "12.3k", "20.0M", "1000G"),
    ]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_each_column_can_be_sorted_by_with_its_key_and_none_comes_last(column: Any) -> None:
    assert BY_KEY[column.key] is column is BY_NAME[column.name]
    rows = [row("a", packets_in=1.0, packets_out=0.0), row("b"), row("c", packets_in=3.0, packets_out=1.0)]
    if column.value(rows[0]) is None:
        rows[0][column.name], rows[2][column.name] = 1.0, 3.0
    for reverse in (False, True):
        names = [line.split("/")[0] for line in table(*rows, look=Look(column, reverse))[3:]]
        assert sorted(names) == ["a", "b", "c"]
        if column.value(rows[1]) is None:
            assert names == (["c", "a", "b"] if column.descending is not reverse else ["a", "c", "b"])


def test_the_busiest_come_first_and_the_rest_by_bytes() -> None:
    rows = [row("idle", out=0.0), row("bytes", out=9.0), row("few", requests=1.0), row("many", requests=2.0)]
    assert [line.split("/")[0] for line in table(*rows)[3:]] == ["many", "few", "bytes", "idle"]


@pytest.mark.parametrize("width", [10, 40, 80, 100, 200])
def test_on_a_narrow_screen_the_lighter_columns_leave_but_not_the_sorted_one(width: int) -> None:
    look = Look(BY_NAME["packets"], width=width, height=24)
    found = table(*(row(f"service-{number}") for number in range(50)), look=look, problems=("x" * 300,))
    assert all(len(line) <= width for line in found) and len(found) <= 24
    if width >= 40:
        assert "SERVICE" in found[3] and "PKT/S" in found[3]


def test_colours_are_for_what_needs_a_look() -> None:
    found = table(row("bad", success=0.5, requests=2.0), row("good", success=1.0), look=Look(colours=True))
    assert found[3].startswith(RED) and found[3].endswith(PLAIN) and "\x1b" not in found[4]


def test_a_service_is_found_by_any_of_its_names() -> None:
    found = [is_of(row("web"), name) for name in ("web", "web-1", "web-dev-80", "we", "dev")]
    assert found == [True, True, True, False, False]


@given(st.text(), st.text(), st.text(), st.integers(0, 120))
def test_no_name_writes_anything_but_one_line(service: str, container: str, problem: str, width: int) -> None:
    hostile = row(
        service, container=container, environment=problem, id=container, mode=service, state=problem
    )
    hostile["addresses"] = [service]
    found = table(hostile, look=Look(width=width), problems=(problem,))
    assert len(found) == 5
    assert not [line for line in found if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u202e]", line)]
