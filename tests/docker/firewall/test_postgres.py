"""ClientAddress=keep with a program that judges by the peer's address: PostgreSQL and its pg_hba.conf."""

import pytest

from tests.conftest import or_cannot
from tests.docker.firewall.rig import led_to_envoy
from tests.harness import postgres
from tests.harness.host import Host
from tests.harness.netns import CommandError, Namespace
from tests.harness.stack import Stack
from tests.harness.wait import eventually

pytestmark = [pytest.mark.docker, pytest.mark.envoy, pytest.mark.usefixtures("clean")]

PORT, PLAIN = 5432, 5433
OTHER = "10.203.0.9"  # of the neighbour, too
WHO = "select inet_client_addr()"


def test_a_database_admits_the_one_client_that_its_rules_name(stack: Stack) -> None:
    or_cannot(postgres.tree)
    rules = f"host all all {Host.neighbour_ip}/32 trust"
    labels = {"ProxyMode": "tcp"}
    keep = {**labels, "ClientAddress": "keep"}
    postgres.run(stack.dockerd, f"-p{PORT}:5432", rules=rules, name="kept", labels=keep)
    postgres.run(stack.dockerd, f"-p{PLAIN}:5432", rules=rules, name="plain", labels=labels)
    led_to_envoy(stack, PORT, PLAIN)
    neighbour = stack.host.neighbour
    assert eventually(lambda: postgres.ask(neighbour, Host.ip, PORT, WHO), 20, "psql") == Host.neighbour_ip
    # Anybody else is turned away by name: another client, this host, and all clients without the label.
    gateway = stack.dockerd.ip("kept").rpartition(".")[0] + ".1"
    assert refused(stack.host, "127.0.0.1", PORT) == gateway
    assert refused(neighbour, Host.ip, PLAIN) == gateway
    neighbour.run("ip", "address", "replace", f"{OTHER}/24", "dev", "eth0")
    neighbour.run("ip", "route", "replace", Host.ip, "dev", "eth0", "src", OTHER)
    try:
        assert refused(neighbour, Host.ip, PORT) == OTHER
    finally:
        neighbour.run("ip", "route", "delete", Host.ip)
    assert postgres.ask(neighbour, Host.ip, PORT, WHO) == Host.neighbour_ip


def refused(source: Namespace, ip: str, port: int) -> str:
    """For whom the server says that it has no rule."""

    def ask() -> str:
        try:
            postgres.ask(source, ip, port, WHO)
        except CommandError as error:
            assert "no pg_hba.conf entry for host" in str(error)  # it may still be starting
            return str(error).partition('entry for host "')[2].partition('"')[0]
        return "nobody"

    return eventually(ask, 20, "psql is turned away")
