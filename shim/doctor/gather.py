"""Everything that the checks look at, asked at the same time."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from shim.config.keys import Config
from shim.config.load import DEFAULT_FILE
from shim.core.doctor.facts import (
    Collector,
    Docker,
    Dockerd,
    Facts,
    Process,
    Registrar,
    Settings,
    Shim,
    Unknown,
)
from shim.core.doctor.of_docker import without_shim
from shim.core.envoy.sinks import METRICS_CLUSTER
from shim.core.envoy.tracing import COLLECTOR_CLUSTER, LOCAL
from shim.doctor import docker, dockerd, envoy, kernel, processes, units
from shim.doctor.asking import BOUND, asked, looked, page
from shim.host.procfs import PROC, find_shims
from shim.proxy.park import tcp_script, udp_script
from shim.registrar.firewall.programs import Programs
from shim.wire.words import MARK

# How often the registrar is asked again while it is in the middle of something, and the pauses (seconds).
TRIES, PAUSE = 8, 0.15


async def gather(config: Config, error: str, config_file: str | None, file: Path, cache: str) -> Facts:
    """All facts.  ``error``: why the configuration cannot be used, and then ``config`` is the default.

    ``config_file``: the one named by the caller; ``file``: this program's own; ``cache``: where it unpacks.
    """
    found: dict[str, Any] = {}
    programs = Programs()
    told = trio.Event()  # the registrar has: what the kernel holds is looked at after that, for it follows

    async def ask_registrar() -> None:
        status = await _status(config)
        told.set()
        listener = await looked(lambda: processes.listener(config.api_address))
        found["registrar"] = Registrar(status, None if isinstance(listener, Unknown) else listener)
        found["envoy"] = await envoy.look(config, _admin_told(status), bool(error))

    async def ask_dockerd() -> None:
        seen = await looked(lambda: dockerd.look(config.docker_host, file))
        found["dockerd"] = seen if isinstance(seen, Dockerd) else Dockerd(None, {}, seen, None)
        process: Process | None = found["dockerd"].process
        await told.wait()
        found["host"] = await kernel.host(file, cache, process)

    async def ask_docker() -> None:
        """First Docker, then the shims, and once more where they differ: a container may start or stop."""
        for pause in (0.0, PAUSE):
            await trio.sleep(pause)
            found["docker"] = await docker.look(config.docker_host)
            seen = await looked(lambda: tuple(_shims(config.socket)))
            found["shims"] = () if isinstance(seen, Unknown) else seen
            if not _differ(found["docker"], found["shims"]):
                break

    async def ask_rules() -> None:
        await told.wait()
        found["rules"] = await kernel.rules(programs, BOUND)

    async def ask_units() -> None:
        found["units"] = await units.look(programs)

    async with trio.open_nursery() as nursery:
        for question in (ask_registrar, ask_dockerd, ask_docker, ask_rules, ask_units):
            nursery.start_soon(question)
    if _is_newer(found["shims"], found["registrar"].status):
        found["registrar"] = replace(found["registrar"], status=await _status(config))
    return Facts(settings=_settings(config, error, config_file), **found)


async def _status(config: Config) -> Mapping[str, Any] | Unknown:
    """The registrar's /status, once nothing is about to change, or the last one."""
    status: Mapping[str, Any] | Unknown = await asked(lambda: page(config.api_address, "/status"))
    for _ in range(TRIES):
        if isinstance(status, Unknown) or _settled(status):
            break
        await trio.sleep(PAUSE)
        again: Mapping[str, Any] | Unknown = await asked(lambda: page(config.api_address, "/status"))
        if isinstance(again, Unknown):
            break
        status = again
    return status


def _settled(status: Mapping[str, Any]) -> bool:
    envoys = [e for e in status["envoys"] if e["trusted"]]
    firewall = status["firewall"]
    waiting = any(binding["state"] in ("pending", "published") for binding in status["bindings"])
    current = all(e["listeners"]["current"] and e["clusters"]["current"] for e in envoys)
    written = not firewall["wanted"] or not firewall["active"] or firewall["whole"]
    return bool(envoys and current and written and not waiting)


def _is_newer(shims: tuple[Shim, ...], status: Mapping[str, Any] | Unknown) -> bool:
    """Whether a shim is there that the registrar has not told of: it may have come since."""
    if isinstance(status, Unknown):
        return False
    return not {shim.pid for shim in shims} <= {binding["pid"] for binding in status["bindings"]}


def _differ(seen: Docker | Unknown, shims: tuple[Shim, ...]) -> bool:
    if isinstance(seen, Unknown):
        return False
    published = [port for container in seen.containers for port in container.published]
    return bool(without_shim(published, (shim.address for shim in shims)))


def _admin_told(status: "Mapping[str, Any] | Unknown") -> str:
    if isinstance(status, Unknown):
        return ""
    return next(
        (str(envoy["admin"]) for envoy in status["envoys"] if envoy["trusted"] and envoy["admin"]), ""
    )


def _shims(registrar_socket: str) -> list[Shim]:
    current = tcp_script(os.fsencode(registrar_socket))
    return [Shim(shim.pid, shim.binding.address, _is_current(shim.pid, current)) for shim in find_shims()]


def _is_current(pid: int, tcp: str) -> bool:
    """Whether a parked shell runs this version's script; one that is not parked has none."""
    try:
        argv = (PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return True
    if len(argv) < 4 or argv[1] != "-c" or not argv[2].startswith(MARK):
        return True
    return _without_places(argv[2]) in (_without_places(tcp), _without_places(udp_script("")))


def _without_places(script: str) -> str:
    """A script without its second line, which has paths of this host."""
    lines = script.split("\n")
    return "\n".join([lines[0], *lines[2:]])


def _collectors(config: Config) -> Iterator[Collector]:
    if config.tracing is not None and config.tracing.kind != LOCAL:
        yield Collector("tracing", config.tracing.endpoint, COLLECTOR_CLUSTER)
    if config.metrics.otlp is not None:
        yield Collector("metrics", config.metrics.otlp, METRICS_CLUSTER)


def _settings(config: Config, error: str, config_file: str | None) -> Settings:
    file = config_file or str(DEFAULT_FILE)
    try:
        changed = os.stat(file).st_mtime
    except OSError:
        changed = 0.0
    return Settings(
        error,
        file,
        changed,
        config.api_address,
        config.envoy_admin,
        config.scrape_address,
        tuple(_collectors(config)),
        config.docker_host,
        config.firewall,
    )
