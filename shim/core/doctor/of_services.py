"""Checks of the registrar and of Envoy: up, of one configuration, and of one mind."""

from collections.abc import Iterator

from shim.core.binding import WILDCARDS
from shim.core.doctor.facts import CannotTell, Facts, Process, Unit, Unknown, known
from shim.core.doctor.finding import Finding, listed
from shim.core.envoy_versions import OLDEST, is_too_old

REGISTRAR, ENVOY = "envoy-docker-shim.service", "envoy.service"
# A process that started this long (seconds) before a file was written has read the one before it.
SAME_TIME = 2.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
AT_BOOT = ("enabled", "enabled-runtime", "linked", "static", "alias", "generated", "indirect")
# Of a cluster's statistics: how often it could not be reached, and whether it is.
FAILS, ACTIVE = "upstream_cx_connect_fail", "upstream_cx_active"


def configuration(facts: Facts) -> Iterator[Finding]:
    """The configuration can be read, and is the one that the registrar runs with."""
    settings = facts.settings
    if settings.error:
        yield Finding(
            f"the configuration cannot be used: {settings.error}", "correct it, then restart the registrar"
        )
        return
    process = facts.registrar.listener
    if process is not None and settings.changed > process.started + SAME_TIME and _is_ours(process):
        yield Finding(
            f"{settings.file} was changed after the registrar (process {process.pid}) had started",
            "restart the registrar",
        )


def registrar(facts: Facts) -> Iterator[Finding]:
    """The registrar answers."""
    status, process = facts.registrar.status, facts.registrar.listener
    if not isinstance(status, Unknown):
        return
    where = facts.settings.api_address
    if process is not None and not _is_ours(process):
        yield _taken("api_address", str(where), process)
    elif process is not None:
        yield Finding(
            f"the registrar (process {process.pid}) does not answer on {where}: {status.why}",
            "look at journalctl -u envoy-docker-shim, restart it",
        )
    else:
        yield Finding(
            f"no registrar answers on {where}: {status.why}", "systemctl enable --now envoy-docker-shim"
        )


def envoy(facts: Facts) -> Iterator[Finding]:
    """An Envoy is connected and answers, and its addresses are its own."""
    at = facts.envoy
    if at.process is None and at.admin_listener is not None:
        yield _taken("envoy_admin", str(at.admin), at.admin_listener)
    scrape, own = at.scrape_listener, at.process
    if scrape is not None and own is not None and scrape.pid != own.pid:
        yield _taken("scrape_address", str(facts.settings.scrape_address), scrape)
    connected = facts.envoys
    strangers = [e for e in known(facts.registrar.status)["envoys"] if not e["trusted"]]
    if not connected and not strangers:
        yield Finding(
            "no Envoy is connected: clients on this host are refused, and others go past Envoy",
            "systemctl enable --now envoy; where it runs, look at its log: journalctl -u envoy",
        )
    elif not connected:
        users = listed(envoy["user"] for envoy in strangers)
        yield Finding(
            f"the Envoy that is connected is user {users}'s, and does not count",
            f"set envoy_user: {users} if it is yours, and restart the registrar",
        )
    elif own is not None and isinstance(at.stats, Unknown):
        yield Finding(
            f"Envoy (process {own.pid}) does not answer on its admin {at.admin}: {at.stats.why}",
            "look at its log, restart it",
        )


def acknowledged(facts: Facts) -> Iterator[Finding]:
    """Each Envoy has the registrar's configuration, takes it, and is new enough for it."""
    for envoy in facts.envoys:
        if is_too_old(envoy.get("version", "")):
            yield Finding(
                f"Envoy {envoy['node']} is version {envoy['version']}", f"install Envoy {OLDEST} or newer"
            )
        behind = [kind for kind in ("listeners", "clusters") if not envoy[kind]["current"]]
        if envoy["refuses"] and not envoy["rejected"]:
            yield Finding(f"Envoy {envoy['node']} refuses its configuration", "look at its log")
        elif behind and not envoy["rejected"]:
            yield Finding(
                f"Envoy {envoy['node']} has not acknowledged the current {' and '.join(behind)}",
                "look at its log; restart it if it hangs",
            )


def bootstrap(facts: Facts) -> Iterator[Finding]:
    """Envoy runs with the file that `bootstrap` prints now."""
    if facts.settings.error:
        raise CannotTell("the configuration cannot be used")
    file, process = facts.envoy.bootstrap, facts.envoy.process
    if process is None:
        raise CannotTell("Envoy's process is not known")
    file = known(file)
    if not file.current:
        yield Finding(
            f"{file.path} is not what this version's bootstrap prints for the configuration",
            "restart Envoy, whose unit writes the file; without the unit, first"
            f" envoy-docker-shim bootstrap --output {file.path}",
        )
    elif file.changed > process.started + SAME_TIME:
        yield Finding(
            f"{file.path} was changed after Envoy (process {process.pid}) had started", "restart Envoy"
        )


def units(facts: Facts) -> Iterator[Finding]:
    """The units run, and will at the next boot."""
    found = known(facts.units)
    status = facts.registrar.status
    # Without the unit's help: by `up`, or in a container.
    served = {REGISTRAR: not isinstance(status, Unknown)}
    served[ENVOY] = not isinstance(status, Unknown) and bool(facts.envoys)
    for name in (REGISTRAR, ENVOY):
        unit = found.get(name)
        if unit is not None and unit.loaded:
            yield from _unit(unit, served[name])


def _unit(unit: Unit, served: bool) -> Iterator[Finding]:
    if unit.active in ("failed", "activating") or unit.sub == "auto-restart":
        yield Finding(
            f"{unit.name} does not stay up ({unit.sub}, {unit.result})", f"look at journalctl -u {unit.name}"
        )
    elif unit.active != "active" and not served:
        yield Finding(f"{unit.name} is {unit.active}", f"systemctl enable --now {unit.name}")
    elif unit.active == "active" and unit.enabled not in AT_BOOT:
        yield Finding(
            f"{unit.name} is {unit.enabled or 'not enabled'}: after the next boot it is not there",
            f"systemctl enable {unit.name}",
        )


def collectors(facts: Facts) -> Iterator[Finding]:
    """Where traces and metrics go is there: by Envoy's word, and on this host by the kernel's."""
    for key, where, cluster in facts.settings.collectors:
        if where.host in LOOPBACK:
            there = any(
                port == where.port and ip in (*LOOPBACK, *WILDCARDS)
                for ip, port in known(facts.host.listening)
            )
            if not there:
                yield Finding(f"nothing listens on {where}, where {key} leads", f"start it, or correct {key}")
            continue
        stats = known(facts.envoy.stats)
        fails = stats.get(f"cluster.{cluster}.{FAILS}", 0)
        if fails and not stats.get(f"cluster.{cluster}.{ACTIVE}", 0):
            yield Finding(
                f"Envoy cannot connect to {where}, where {key} leads: {fails} attempts failed",
                f"start it, or correct {key} and restart Envoy",
            )


def _is_ours(process: Process) -> bool:
    """Whether it is a registrar: `server` or `up` of this program."""
    return bool({"server", "up"} & set(process.argv[1:4]))


def _taken(key: str, address: str, process: Process) -> Finding:
    return Finding(
        f"{key} {address} is taken by process {process.pid} ({process.name})",
        f"stop it, or give {key} another address",
    )
