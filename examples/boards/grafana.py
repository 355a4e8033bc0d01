"""The dashboard as Grafana imports it: what rows.py says, in the JSON model of Grafana 9 and newer.

``schemaVersion`` 36 is that of 9.0; later versions convert it when they load it.  The data source is a
variable, so that the file can be imported as it is.
"""

from collections.abc import Iterable, Iterator
from string import ascii_uppercase
from typing import Any

from examples.boards.panel import GRAPH, HOST, STAT, TABLE, Panel, Query
from examples.boards.queries import INFO
from examples.boards.rows import ROWS

Json = dict[str, Any]

SCHEMA = 36
WIDTH = 24  # columns
HEIGHTS = {STAT: 4, GRAPH: 8, TABLE: 10}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# UDP has no cluster, and so no INFO.
OF_SERVICES = f'__name__=~"{INFO}|envoy_docker_shim_udp_clients"'


def dashboard() -> Json:
    """All of it."""
    return {
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in HEIGHTS),
        ],
        "id": None,
        "uid": "envoy-docker-shim",
        "title": "envoy-docker-shim",
        "description": "Services behind published Docker ports: HTTP, TCP and UDP, and what serves them.",
        "tags": ["docker", "envoy", "envoy-docker-shim"],
        "style": "dark",
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "version": 1,
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[Json]:
    common = {"hide": 0, "skipUrlSync": False, "options": [], "current": {}, "regex": ""}
    yield {
        **common,
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "refresh": 1,
        "multi": False,
        "includeAll": False,
    }
    of_hosts = f"{OF_SERVICES},{HOST}"
    for name, label, expr in (
        ("instance", "Host", "label_values(envoy_docker_shim_build_info, instance)"),
        ("environment", "Environment", f"label_values({{{of_hosts}}}, environment)"),
        ("service", "Service", f'label_values({{{of_hosts},environment=~"$environment"}}, service)'),
    ):
        yield {
            **common,
            "type": "query",
            "name": name,
            "label": label,
            "datasource": SOURCE,
            "definition": expr,
            "query": {"query": expr, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }


def _panels() -> Iterator[Json]:
    number = y = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "type": "row",
            "id": number,
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        y, x, height = y + 1, 0, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + height
            number, height = number + 1, HEIGHTS[panel.kind]
            place = {"x": x, "y": y, "w": panel.width, "h": height}
            yield _panel(panel) | {"id": number, "gridPos": place}
            x += panel.width
        y += height


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [
            _target(ref, query, panel.kind)
            for ref, query in zip(ascii_uppercase, panel.queries, strict=False)
        ],
        "fieldConfig": {
            "defaults": _defaults(panel),
            "overrides": list(_columns(panel.queries)) if panel.kind == TABLE else [],
        },
        "options": OPTIONS[panel.kind],
        "transformations": _as_one_table(panel.queries) if panel.kind == TABLE else [],
    }


def _target(ref: str, query: Query, kind: str) -> Json:
    now = kind == TABLE
    return {
        "refId": ref,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": "" if now else query.legend,
        "format": "table" if now else "time_series",
        "instant": now,
        "range": not now,
    }


def _defaults(panel: Panel) -> Json:
    found: Json = {
        "unit": panel.unit,
        "mappings": [],
        "color": {"mode": "palette-classic" if panel.kind == GRAPH else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
    }
    if panel.kind == GRAPH:
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        fill = 40 if panel.stacked else 10
        lines = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": fill, "showPoints": "never"}
        found |= {"min": 0, "custom": {**lines, "spanNulls": False, "stacking": stacking}}
    return found


def _steps(panel: Panel) -> list[Json]:
    if panel.bad_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.bad_below}]
    steps: list[Json] = [{"color": "green", "value": None}]
    return steps if panel.bad is None else [*steps, {"color": "red", "value": panel.bad}]


OPTIONS: dict[str, Json] = {
    STAT: {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto",
        "textMode": "auto",
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
    },
    GRAPH: {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    TABLE: {"showHeader": True, "sortBy": [{"displayName": "Service", "desc": False}]},
}


def _columns(queries: Iterable[Query]) -> Iterator[Json]:
    """Each column's own unit."""
    for query in queries:
        unit = [{"id": "unit", "value": query.unit}]
        yield {"matcher": {"id": "byName", "options": query.legend}, "properties": unit}


def _as_one_table(queries: tuple[Query, ...]) -> list[Json]:
    """A row for each service, a column for each query: Grafana calls a query's column by its letter."""
    values = {f"Value #{ref}": query.legend for ref, query in zip(ascii_uppercase, queries, strict=False)}
    order = ["service", "environment", *values]
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(order)},
                "renameByName": {"service": "Service", "environment": "Environment", **values},
            },
        },
    ]
