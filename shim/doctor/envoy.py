"""Envoy as a process: its configuration file, and what its admin says."""

import dataclasses
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio
import yaml

from shim.config.envoy_file import envoy_file
from shim.config.keys import Config
from shim.config.values import socket_or_address
from shim.core.doctor.facts import Bootstrap, Envoy, Process, Unknown
from shim.core.doctor.of_services import ACTIVE, FAILS
from shim.core.endpoint import Endpoint
from shim.core.envoy.bootstrap import METADATA_KEY
from shim.core.envoy.sinks import METRICS_CLUSTER
from shim.core.envoy.tracing import COLLECTOR_CLUSTER
from shim.doctor import processes
from shim.doctor.asking import asked, looked, page

# Of the statistics of a thousand services those that say whether clients speak HTTP.
WANTED = (
    r"^http\.[^.]+\.downstream_(cx_protocol_error|cx_total|rq_total|rq_[123]xx)$"
    r"|^cluster\.[^.]+\.upstream_cx_protocol_error$"
    rf"|^cluster\.({COLLECTOR_CLUSTER}|{METRICS_CLUSTER})\.({FAILS}|{ACTIVE})$"
)
STATS = "/stats?format=json&filter=" + quote(WANTED)
FLAGS = ("-c", "--config-path")


async def look(config: Config, told: str, broken: bool) -> Envoy:
    """All of it.  ``told``: the admin's address, by Envoy's own word; ``broken``: the configuration is."""
    admin = _admin(told) or config.envoy_admin
    found: dict[str, Any] = {}

    async def listener(name: str, endpoint: Endpoint | None) -> None:
        process = await looked(lambda: processes.listener(endpoint)) if endpoint else None
        found[name] = None if isinstance(process, Unknown) else process

    async def statistics() -> None:
        found["stats"] = await asked(lambda: _stats(admin))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener, "admin", admin)
        nursery.start_soon(listener, "scrape", config.scrape_address if admin.path else None)
        nursery.start_soon(statistics)
    at_admin: Process | None = found["admin"]
    # In a container of Envoy's own image it is "envoy" too.
    process = at_admin if at_admin is not None and at_admin.name.startswith("envoy") else None
    file: Bootstrap | Unknown = Unknown("Envoy's process is not known")
    threads = 1
    if process is not None:
        known = process
        file = await looked(lambda: _bootstrap(known, config, broken))
        threads = await trio.to_thread.run_sync(_workers, known)
    return Envoy(process, admin, at_admin, found["scrape"], found["stats"], file, threads)


def _admin(text: str) -> Endpoint | None:
    try:
        return socket_or_address(text)
    except ValueError:
        return None


async def _stats(admin: Endpoint) -> dict[str, int]:
    answer = await page(admin, STATS)
    return {str(s["name"]): int(s["value"]) for s in answer["stats"] if isinstance(s.get("value"), int)}


def _workers(process: Process) -> int:
    """How many of its threads accept connections; each has a name (proc(5), comm) of ``wrk:worker_N``."""
    count = 0
    for file in Path(f"/proc/{process.pid}/task").glob("*/comm"):
        try:
            count += file.read_text().startswith("wrk:worker_")
        except OSError:
            continue
    return max(1, count)


def _bootstrap(process: Process, config: Config, broken: bool) -> Bootstrap:
    """Raises OSError, ValueError, LookupError: it cannot be found or read."""
    path = _file(process)
    # As that process sees it: it may be in a container.
    at = Path("/proc", str(process.pid), "root", path.lstrip("/"))
    document = yaml.safe_load(at.read_text())
    node = document["node"]
    mine = Path(path).parent
    if str(node.get("metadata", {}).get(METADATA_KEY, {}).get("admin", "")) == f"unix:{mine}/admin.sock":
        # As `up` runs it.
        config = dataclasses.replace(config, envoy_admin=Endpoint(path=f"{mine}/admin.sock"))
    wanted = envoy_file(config, str(node["id"]), str(node["cluster"]))
    return Bootstrap(path, broken or document == wanted, at.stat().st_mtime)


def _file(process: Process) -> str:
    argv = process.argv
    for at, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in FLAGS:
            path = value if equals else argv[at + 1]
            if not path.startswith("/"):
                raise ValueError(f"Envoy runs with {path}, which is no absolute path")
            return path
    raise ValueError("Envoy's command line names no file")
