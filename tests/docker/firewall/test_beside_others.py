"""Rules of others beside the table, others who take it away, and hosts that cannot have it."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.docker.firewall.rig import (
    SECOND,
    ask,
    configure,
    elements,
    led_to_envoy,
    others,
    requests,
    run_who,
    status,
    ways,
)
from tests.harness.engines import which
from tests.harness.host import Host
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]


def test_redirects_and_mappings_of_others_work_beside_it_and_are_untouched(stack: Stack) -> None:
    run_who(stack.dockerd, "web", "-p", "8300:80", labels={"ServiceName": "web"}, name="web")
    run_who(stack.dockerd, "inner", name="inner")
    led_to_envoy(stack, 8300)
    inner = stack.dockerd.ip("inner")
    nat = ("iptables", "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport")
    stack.host.run(*nat, "80", "-j", "REDIRECT", "--to-ports", "8300")
    stack.host.run(*nat, "8301", "-j", "DNAT", "--to-destination", f"{inner}:80")
    stack.host.run("iptables", "-I", "FORWARD", "-d", inner, "-j", "ACCEPT")
    swarm = ingress(stack.host, 8310, f"{inner}:80")
    stack.host.run(
        "nft",
        "-f",
        "-",
        stdin=b"""
        table inet own {
          set blocked { type ipv4_addr; elements = { 192.0.2.1 } }
          chain in { type filter hook input priority 0; policy accept; ip saddr @blocked drop; }
          chain pre { type nat hook prerouting priority dstnat - 5; tcp dport 8302 redirect to :8300; }
        }
    """,
    )
    before = others(stack)
    neighbour = stack.host.neighbour

    def works(served: int) -> None:
        counted = requests(stack, "web")
        # A redirect ends at Envoy, as it ended at docker-proxy; so it does where a rule is of nft's.
        assert {ask(neighbour, Host.ip, port)[0] for port in (80, 8302, 8300)} == {"web"}
        assert requests(stack, "web") == counted + served
        assert ask(neighbour, Host.ip, 8301) == ("inner", Host.neighbour_ip, "")
        assert ask(neighbour, Host.ip, 8310) == ("inner", Host.neighbour_ip, "")

    works(3)
    run_who(stack.dockerd, "more", "-p", "8303:80", name="more")
    led_to_envoy(stack, 8303)
    stack.dockerd.docker("rm", "--force", "more")
    eventually(lambda: len(elements(stack.host)) == 2, 5, "it is out")
    assert others(stack) == before
    works(3)
    stack.registrar.end()
    try:
        stack.registrar.command("firewall", "clear")
        assert stack.host.run("nft", "list", "tables").count("envoy_docker_shim") == 0
        assert others(stack) == before
        works(2)
    finally:
        stack.registrar.start()
    led_to_envoy(stack, 8300)
    works(3)
    swarm.close()


def ingress(host: Host, port: int, target: str) -> socket.socket:
    """What a dockerd in a swarm does for an ingress port (moby's libnetwork/service_linux.go): its rules, and
    a socket that listens and accepts nothing.

    A real one needs the kernel's IPVS, which not every kernel has.
    """
    for rule in (
        "-N DOCKER-INGRESS",
        "-A DOCKER-INGRESS -j RETURN",
        "-I PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS",
        "-I OUTPUT -m addrtype --dst-type LOCAL -j DOCKER-INGRESS",
        f"-I DOCKER-INGRESS -p tcp --dport {port} -j DNAT --to-destination {target}",
    ):
        host.run("iptables", "-t", "nat", *rule.split())
    listener = host.socket(socket.AF_INET6)
    listener.bind(("::", port))
    listener.listen()
    return listener


@pytest.mark.parametrize("how", ["delete table inet envoy_docker_shim", "flush table inet envoy_docker_shim"])
def test_a_table_that_is_taken_away_is_back_within_a_second(stack: Stack, how: str) -> None:
    run_who(stack.dockerd, "web", "-p", "8304:80", "-p", f"{SECOND}:8305:80", labels={"ServiceName": "web"})
    led_to_envoy(stack, 8304, 8305)
    table = ("list", "table", "inet", "envoy_docker_shim")
    before = stack.host.run("nft", *table)
    stack.host.run("nft", how)
    eventually(lambda: stack.host.run("nft", *table) == before, 1, "the table is back")
    eventually(lambda: status(stack)[2]["firewall"]["whole"], 1, "it is known to be whole")
    assert status(stack)[2]["firewall"]["restored"] > 0
    assert "another program changed the firewall table: restored" in stack.registrar.log.read_text()
    assert ask(stack.host.neighbour, Host.ip, 8304)[2] == Host.neighbour_ip


@contextmanager
def registrar_within(stack: Stack, prefix: Sequence[str]) -> Iterator[None]:
    """A registrar whose process is less than others'."""
    stack.registrar.end()
    # What an earlier registrar had made is not what this one could make.
    stack.registrar.command("firewall", "clear")
    stack.registrar.launch(prefix=prefix)
    stack.registrar.wait_until_healthy()
    try:
        yield
    finally:
        stack.registrar.end()
        stack.registrar.start()


def without_nft() -> list[str]:
    """A host that has no such program, as far as this process can see."""
    hidden = " && ".join(f"mount --bind /dev/null {path}" for path in {str(which("nft")), "/usr/sbin/nft"})
    return ["unshare", "--mount", "sh", "-c", f'{hidden} && exec "$0" "$@"']


WITHOUT_RIGHT = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]


@pytest.mark.parametrize(
    ("prefix", "reason"),
    [
        (without_nft(), "no nft program (Debian's package: nftables)"),
        (WITHOUT_RIGHT, "the registrar lacks CAP_NET_ADMIN"),
    ],
    ids=["no nft", "no CAP_NET_ADMIN"],
)
def test_a_host_that_cannot_have_the_table_serves_as_docker_would_and_says_so(
    stack: Stack, prefix: list[str], reason: str
) -> None:
    with registrar_within(stack, prefix):
        run_who(stack.dockerd, "web", "-p", "8306:80", labels={"ServiceName": "web"})
        stack.binding(8306)
        assert ask(stack.host.neighbour, Host.ip, 8306) == ("web", Host.neighbour_ip, "")
        before = requests(stack, "web")
        assert ask(stack.host, "127.0.0.1", 8306)[0] == "web"
        assert requests(stack, "web") == before + 1
        assert ways(stack, 8306)["0.0.0.0"] == ("docker", reason)
        code, text, report = status(stack)
        assert code == 1
        assert reason in text and "past Envoy" in text
        assert (report["firewall"]["active"], report["firewall"]["reason"]) == (False, reason)
        assert (
            f"no firewall table, Docker's rules lead past Envoy: {reason}" in stack.registrar.log.read_text()
        )
        assert elements(stack.host) == set()
    led_to_envoy(stack, 8306)
    assert ask(stack.host.neighbour, Host.ip, 8306)[2] == Host.neighbour_ip


def test_a_registrar_that_is_to_keep_no_table_takes_its_predecessors_away(stack: Stack) -> None:
    run_who(stack.dockerd, "web", "-p", "8307:80", labels={"ServiceName": "web"})
    led_to_envoy(stack, 8307)
    stack.registrar.end()
    configure(stack, firewall=False)
    stack.registrar.start()
    try:
        stack.binding(8307)
        assert ways(stack, 8307)["0.0.0.0"] == ("docker", "firewall: off")
        assert ask(stack.host.neighbour, Host.ip, 8307) == ("web", Host.neighbour_ip, "")
        assert stack.host.run("nft", "list", "tables").count("envoy_docker_shim") == 0
        code, text, report = status(stack)
        assert (code, report["firewall"]["wanted"]) == (0, False), text
    finally:
        stack.registrar.end()
        configure(stack, firewall=True)
        stack.registrar.start()
    led_to_envoy(stack, 8307)
