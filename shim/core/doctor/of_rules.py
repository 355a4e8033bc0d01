"""Checks of the kernel's firewall: who is led where, and who is dropped.

``dropped`` and ``past_envoy`` are for `status` too.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from shim.core.binding import Address
from shim.core.doctor.facts import CannotTell, Facts, Network, Rules, known
from shim.core.doctor.finding import Finding, listed
from shim.core.doctor.of_ports import name_of
from shim.core.firewall.names import TABLE
from shim.core.firewall.table import served
from shim.core.ruleset.chains import MASQUERADE, Dropping, Packet, Table, dropping, possible
from shim.core.ruleset.iptables_rules import Mapped

EGRESS_TABLE = "inet docker_egress"  # as docs/networking.md names it
# Engines from here on keep internal networks in without iptables' rules too.
INTERNAL_KEPT = (28, 0)


def dropped(
    tables: Iterable[Table], interfaces: Iterable[str], bindings: Iterable[Mapping[str, Any]]
) -> dict[Dropping, list[str]]:
    """The ports whose network clients the host's firewall drops, whoever they are, by the chain that does."""
    found: dict[Dropping, list[str]] = {}
    tables, interfaces = list(tables), list(interfaces)
    for binding in bindings:
        if binding["network"]["by"] not in ("envoy", "shim") or not interfaces:
            continue
        version = 6 if ":" in binding["address"] else 4
        packets = [
            Packet(version, iif=name, proto=binding["protocol"], port=binding["port"]) for name in interfaces
        ]
        chains = [dropping(tables, "input", packet) for packet in packets]
        # Dropped on one interface and not on another is what somebody wanted.
        if chains[0] is not None and None not in chains:
            found.setdefault(chains[0], []).append(name_of(binding))
    return found


def input_chains(facts: Facts) -> Iterator[Finding]:
    """The host's firewall lets network clients in."""
    for at, ports in dropped(known(facts.rules.tables), facts.host.interfaces, facts.bindings).items():
        yield Finding(
            f"chain {at.chain} of table {at.table} drops clients on the network: {listed(ports)}",
            "open the ports: ufw allow PORT/tcp, or firewall-cmd, or accept them in that chain",
        )


def past_envoy(rules: Rules, bindings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ports that Envoy serves and Docker's rules have, and that are not in the kernel's table."""
    there = known(rules.served) or frozenset()
    led = _led(known(rules.mapped))
    found = []
    for binding in bindings:
        address = Address(binding["protocol"], binding["address"], binding["port"])
        element = served(address)
        # Of direct ports, Envoy serves clients that Docker has no rule for.
        should = binding["state"] == "serving" and binding["network"]["by"] == "envoy"
        should = should and binding["mode"] != "direct"
        if should and element is not None and _way(address) in led and element not in there:
            found.append(name_of(binding))
    return found


def _led(mapped: Iterable[Mapped]) -> set[tuple[str, str, int]]:
    """The ports that Docker's rules lead to containers, as ``_way`` names them."""
    return {(rule.program, rule.proto, rule.port) for rule in mapped}


def _way(address: Address) -> tuple[str, str, int]:
    return ("ip6tables" if ":" in address.ip else "iptables", address.proto, address.port)


def table(facts: Facts) -> Iterator[Finding]:
    """The kernel has the table, with every served port in it."""
    settings, rules = facts.settings, facts.rules
    if not settings.firewall:
        return
    led = _led(known(rules.mapped))
    there = known(rules.served)
    if there is None:
        docker = facts.docker
        published = [
            p.address
            for container in known(docker).containers
            for p in container.published
            if served(p.address) is not None and _way(p.address) in led
        ]
        if published:
            yield Finding(
                f"the kernel has no table inet {TABLE}, and Docker's rules lead clients on the network past"
                f" Envoy: {listed(published)}",
                "start the registrar; where it runs, it says why in envoy-docker-shim status",
            )
        return
    firewall = known(facts.registrar.status)["firewall"]
    if firewall["wanted"] and not (firewall["active"] and firewall["whole"]) and led:
        yield Finding(
            f"the registrar cannot keep its firewall table: {firewall['reason'] or 'it is not whole'}",
            "install nftables, and use the unit as it is (CAP_NET_ADMIN); then restart the registrar",
        )
    elif firewall["wanted"] and (past := past_envoy(rules, facts.bindings)):
        yield Finding(
            f"Docker's rules lead clients past Envoy: not in table inet {TABLE} are {listed(past)}",
            "restart the registrar; look at its log",
        )


def stale(facts: Facts) -> Iterator[Finding]:
    """No rule of Docker's leads to a container that is gone."""
    docker = known(facts.docker)
    alive = {
        (p.address.proto, p.address.port, _backend(ip, p.port))
        for container in docker.containers
        for p in container.published
        for ip in container.ips
    }
    # On an overlay network Docker's list leaves out the address that its rules lead to; a shim knows it.
    alive |= {(b["protocol"], b["port"], b["backend"]) for b in facts.bindings}
    for rule in known(facts.rules.mapped):
        if rule.chain == "DOCKER" and (rule.proto, rule.port, rule.to) not in alive:
            yield Finding(
                f"a rule of Docker's leads {rule.proto} port {rule.port} to {rule.to}, where no container"
                " publishes it",
                f"{rule.program} -t nat {rule.line.replace('-A', '-D', 1)}",
            )


def _backend(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def egress(facts: Facts) -> Iterator[Finding]:
    """Containers reach the outside world."""
    networks = [n for n in known(facts.docker).networks if n.used and n.subnets and not n.internal]
    if not networks:
        return
    if not known(facts.host.forwarding):
        yield Finding(
            "net.ipv4.ip_forward is 0: containers reach nothing but this host",
            "sysctl -w net.ipv4.ip_forward=1, and keep it in /etc/sysctl.d",
        )
        return
    tables = known(facts.rules.tables)
    for network in networks:
        for out in facts.host.interfaces[:1]:
            packet = _outgoing(network, out)
            if at := dropping(tables, "forward", packet):
                yield Finding(
                    f"chain {at.chain} of table {at.table} drops what containers on {network.name} send out",
                    f"accept there what comes in by {network.bridge}, and its answers",
                )
            elif _to_be_masqueraded(facts, network) and MASQUERADE not in possible(
                tables, "postrouting", packet
            ):
                yield Finding(
                    f"containers on {network.name} ({network.subnets[0]}) cannot reach the outside world, nor"
                    " DNS there: no rule masquerades them",
                    "with iptables: false, load the rules of docs/networking.md with this subnet in them;"
                    " else restart Docker",
                )


def _to_be_masqueraded(facts: Facts, network: Network) -> bool:
    """Whether it is wanted.  Without iptables, Docker calls its default network one that is not."""
    if network.bridge != "docker0" or facts.dockerd.setting("iptables", True) is not False:
        return network.masqueraded
    return facts.dockerd.setting("ip-masq", True) is not False


def internal(facts: Facts) -> Iterator[Finding]:
    """Internal networks stay in."""
    docker = known(facts.docker)
    networks = [network for network in docker.networks if network.internal and network.subnets]
    if (
        not networks
        or facts.dockerd.setting("iptables", True) is not False
        or docker.version >= INTERNAL_KEPT
    ):
        return
    tables = known(facts.rules.tables)
    for network in networks:
        for out in facts.host.interfaces[:1]:
            packet = _outgoing(network, out)
            if dropping(tables, "forward", packet) is None and MASQUERADE in possible(
                tables, "postrouting", packet
            ):
                yield Finding(
                    f"{network.name} ({network.subnets[0]}) is internal, and reaches the outside world"
                    " all the same: this Engine relies on its own rules for that",
                    f'nft add rule {EGRESS_TABLE} forward iifname "{network.bridge}" drop, or Engine 28',
                )


def _outgoing(network: Network, interface: str) -> Packet:
    subnet = ip_network(network.subnets[0], strict=False)
    source = str(subnet[min(9, subnet.num_addresses - 1)])
    return Packet(4, iif=network.bridge, oif=interface, source=source, port=443)


def egress_table(facts: Facts) -> Iterator[Finding]:
    """The strict way's rules are not beside Docker's own."""
    names = {table.name for table in known(facts.rules.tables)}
    if EGRESS_TABLE not in names:
        return
    if facts.dockerd.process is None:
        raise CannotTell("no dockerd runs: its settings are not known")
    if facts.dockerd.setting("iptables", True) is not False:
        yield Finding(
            f"table {EGRESS_TABLE} is loaded beside Docker's own rules: it drops what they let in",
            f"nft delete table {EGRESS_TABLE}, and do not load it at boot",
        )
