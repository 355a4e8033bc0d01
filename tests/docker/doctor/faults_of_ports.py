"""Faults of containers, and of the host's firewall."""

from collections.abc import Iterator
from contextlib import ExitStack

from tests.docker.doctor.making import container, fault, rules
from tests.docker.doctor.rig import Rig

# -- containers -------------------------------------------------------------------------------------------


@fault("ports", "ProxyMode='htpt'", "correct the label")
def label_with_a_typo(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:80", cmd=("httpd", "-f", "-p", "80"), ProxyMode="htpt"):
        rig.stack.binding(8090)
        yield


@fault("container", "only", "0.0.0.0")
def container_that_listens_on_its_loopback(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:80", cmd=("httpd", "-f", "-p", "127.0.0.1:80")):
        yield


@fault("container", "nothing listens on port 81 of patient, published as tcp/0.0.0.0:8090", "docker logs")
def container_that_listens_elsewhere(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:81", cmd=("httpd", "-f", "-p", "80")):
        yield


@fault("http", "did not begin with a request, and got a 400", "ProxyMode=tcp")
def service_that_is_not_http(rig: Rig) -> Iterator[None]:
    with container(rig, "-p", "8090:6379", cmd=("nc", "-ll", "-p", "6379", "-e", "cat"), ProxyMode="http"):
        rig.stack.binding(8090)
        with rig.host.connect("127.0.0.1", 8090) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        yield


@fault("http", "a database is usual", "ProxyMode=tcp")
def service_that_speaks_first(rig: Rig) -> Iterator[None]:
    with (
        container(
            rig,
            *("-p", "8091:3306"),
            cmd=("nc", "-ll", "-p", "3306", "-e", "echo", "5.5"),
            ProxyMode="http",
        ),
        ExitStack() as clients,
    ):
        rig.stack.binding(8091)
        client = clients.enter_context(rig.host.connect("127.0.0.1", 8091, timeout=0.3))
        try:
            client.recv(100)
        except TimeoutError:
            pass
        yield


# -- the firewall -----------------------------------------------------------------------------------------


@fault(
    "input", "chain input of table inet ward drops clients on the network: tcp/0.0.0.0:5432", "open the ports"
)
def input_chain_that_drops_by_default(rig: Rig) -> Iterator[None]:
    rules_ = """
    table inet ward {
      chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport { 22, 8080 } accept
      }
    }"""
    with rules(rig, f"nft -f - <<'.'\n{rules_}\n.", undo="nft delete table inet ward"):
        yield


@fault(
    "input",
    "chain INPUT of table ip filter drops clients on the network: tcp/0.0.0.0:8080 (shop)",
    "ufw allow",
)
def iptables_rule_that_drops(rig: Rig) -> Iterator[None]:
    rule = "INPUT -p tcp -m conntrack --ctstate NEW -m multiport --dports 8080,9000:9010 -j DROP"
    with rules(rig, f"iptables -I {rule}", undo=f"iptables -D {rule}"):
        yield


@fault("stale-rules", "leads tcp port 9999 to 172.17.0.99:80", "iptables -t nat -D DOCKER")
def rule_to_a_container_that_is_gone(rig: Rig) -> Iterator[None]:
    rule = "DOCKER -p tcp --dport 9999 -j DNAT --to-destination 172.17.0.99:80"
    with rules(rig, f"iptables -t nat -A {rule}", undo=f"iptables -t nat -D {rule}"):
        yield


@fault("egress", "no rule masquerades them", "restart Docker")
def masquerading_taken_away(rig: Rig) -> Iterator[None]:
    rule = "POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
    with rules(rig, f"iptables -t nat -D {rule}", undo=f"iptables -t nat -I {rule}"):
        yield


@fault("egress", "net.ipv4.ip_forward is 0", "sysctl")
def forwarding_off(rig: Rig) -> Iterator[None]:
    switch = "echo {} >/proc/sys/net/ipv4/ip_forward"
    with rules(rig, switch.format(0), undo=switch.format(1)):
        yield


@fault("egress", "chain forward of table inet ward drops what containers on bridge send out", "docker0")
def forward_chain_that_drops(rig: Rig) -> Iterator[None]:
    chain = "{ type filter hook forward priority 10; policy drop; }"
    commands = "nft add table inet ward", f"nft 'add chain inet ward forward {chain}'"
    with rules(rig, *commands, undo="nft delete table inet ward"):
        yield


@fault("egress-table", "is loaded beside Docker's own rules", "nft delete table inet docker_egress")
def rules_of_the_strict_way(rig: Rig) -> Iterator[None]:
    with rules(rig, "nft add table inet docker_egress", undo="nft delete table inet docker_egress"):
        yield
