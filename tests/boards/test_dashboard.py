"""The dashboard is whole by the rules of Grafana's JSON model: what an import would refuse or show wrongly.

The rules are those of its own schema (dashboard_kind.cue of Grafana 9) and of the panels' plugins.
"""

import json
import re
from itertools import combinations, pairwise
from typing import Any

import pytest

from tests.examples.documents import EXAMPLES

BOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "dashboard.json").read_text())
ROWS = [panel for panel in BOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
UNITS = {"short", "reqps", "cps", "pps", "Bps", "bytes", "ms", "s", "percentunit"}
BUILT_IN = {"__rate_interval", "1"}  # "$1" is label_replace's own


def titled(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_the_dashboard_can_be_imported_as_it_is() -> None:
    assert BOARD["id"] is None and re.fullmatch(r"[a-z-]{8,40}", BOARD["uid"])
    assert BOARD["schemaVersion"] == 36 and BOARD["graphTooltip"] in (0, 1, 2)
    assert BOARD["title"] and BOARD["time"] == {"from": "now-1h", "to": "now"}
    needed = {entry["id"] for entry in BOARD["__requires"] if entry["type"] == "panel"}
    assert needed == {panel["type"] for panel in PANELS}


def test_panels_have_ids_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids) and min(ids) > 0
    places = [(panel["title"], panel["gridPos"]) for panel in BOARD["panels"]]
    for title, at in places:
        assert at["w"] > 0 and at["h"] > 0 and at["x"] >= 0 and at["x"] + at["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (one, other)


def test_rows_are_headings_and_each_has_panels() -> None:
    order = sorted(BOARD["panels"], key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))
    assert order == BOARD["panels"] and order[0]["type"] == "row"
    for row, after in pairwise(order):
        assert "row" not in (row["type"], after["type"]) or row["type"] != after["type"]
    assert all(row["panels"] == [] and row["collapsed"] is False for row in ROWS)
    assert order[-1]["type"] != "row"


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_a_panel_says_all_that_its_plugin_needs(panel: dict[str, Any]) -> None:
    assert panel["title"] and panel["targets"]
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for asked in (panel, *panel["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    table = panel["type"] == "table"
    for target in panel["targets"]:
        assert target["expr"].strip() and target["instant"] is table and target["range"] is not table
        assert target["format"] == ("table" if table else "time_series")
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    bounds = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert bounds[0] is None and bounds[1:] == sorted(bounds[1:])
    if panel["type"] == "timeseries":
        assert {"drawStyle", "stacking"} <= defaults["custom"].keys()
        assert {"legend", "tooltip"} <= panel["options"].keys()
        assert all(target["legendFormat"] for target in panel["targets"])
    if panel["type"] == "stat":
        assert panel["options"]["reduceOptions"]["calcs"] and len(panel["targets"]) == 1


@pytest.mark.parametrize("panel", PANELS, ids=titled)
def test_a_legend_names_labels_that_the_answer_has(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        # One that is no sum has its series' labels.
        summed = re.search(r"\b(?:sum|min) by \(([^)]*)\)", target["expr"])
        if summed:
            assert wanted <= set(summed[1].split(", ")), target


def test_the_variables_are_there_and_each_is_used() -> None:
    assert list(VARIABLES) == ["datasource", "instance", "environment", "service"]
    assert VARIABLES["datasource"]["query"] == "prometheus"
    text = json.dumps([PANELS, [v for v in VARIABLES.values() if v["type"] == "query"]])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__all"}
    assert used == set(VARIABLES) | BUILT_IN
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            assert variable["allValue"] == ".*" and variable["multi"] and variable["includeAll"]
            assert variable["query"]["query"] == variable["definition"]


def test_the_table_of_services_is_one_table() -> None:
    (table,) = [panel for panel in PANELS if panel["type"] == "table"]
    merge, organize = table["transformations"]
    assert merge["id"] == "merge" and organize["id"] == "organize"
    renamed = organize["options"]["renameByName"]
    values = {f"Value #{target['refId']}" for target in table["targets"]}
    assert set(renamed) == values | {"service", "environment"} == set(organize["options"]["indexByName"])
    shown = list(renamed.values())
    for wanted in ("Requests", "Success", "p50", "p95", "p99", "Connections", "From clients", "To clients"):
        assert wanted in shown
    assert {entry["matcher"]["options"] for entry in table["fieldConfig"]["overrides"]} == {
        renamed[value] for value in values
    }
    for target in table["targets"]:
        labels = re.search(r"by \(([^)]*service, environment)\) \(\n", target["expr"])
        assert labels and set(labels[1].split(", ")) <= {"le", "service", "environment"}
