"""The strict way: Docker's rules out of a real listing, and ours as the documentation shows them."""

import pytest

from shim.core.setup import egress, places
from shim.core.setup.docker_rules import without_docker
from shim.core.setup.egress import Network
from shim.core.setup.settings import Refused
from shim.core.setup.steps import ClearDockerRules, CompleteDockerRules, StartUnits, StopUnits, SwitchDocker
from shim.core.setup.unplan import uninstall
from tests.core.setup.hosts import SHIPPED, after, docker, host, planned

BRIDGE = Network("bridge", "docker0", ("172.17.0.0/16",))
MINE = Network("mine", "mine0", ("10.9.0.0/24", "fd00:9::/64"), internal=True)

# What Engine 28.5 and a user have made together, `iptables-save` of nf_tables 1.8.9.
SAVED = """\
*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 5432 -j DROP
COMMIT
*mangle
:FORWARD DROP [0:0]
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [5:300]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-USER -s 192.0.2.9/32 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A POSTROUTING -s 192.168.7.0/24 -o eth0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
"""


def test_dockers_rules_go_and_no_others() -> None:
    left = without_docker(SAVED, [BRIDGE])
    assert (left.policy, left.users, left.others) == ("DROP", ["-s 192.0.2.9/32 -j DROP"], False)
    assert [line for line in left.text.splitlines() if line.startswith("-A")] == [
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        "-A POSTROUTING -s 192.168.7.0/24 -o eth0 -j MASQUERADE",
    ]
    # The policy that Docker has set, in the table where it sets it.
    assert ":FORWARD DROP [0:0]" in left.text and ":FORWARD ACCEPT [5:300]" in left.text
    assert "DOCKER" not in left.text
    assert without_docker(left.text, [BRIDGE]).text == left.text


def test_where_others_forward_too_the_policy_is_theirs() -> None:
    left = without_docker(SAVED.replace("-A INPUT", "-A FORWARD -j ufw-forward\n-A INPUT"), [BRIDGE])
    assert left.others and ":FORWARD DROP [5:300]" in left.text


def test_our_rules_know_networks_of_other_names_and_addresses() -> None:
    text = egress.rules([BRIDGE, MINE])
    assert "define containers4 = { 172.16.0.0/12, 10.9.0.0/24 } " in text
    assert "define containers6 = { fd00:d0c::/64, fd00:9::/64 } " in text
    assert 'oifname != "mine0" masquerade' in text and 'oifname "mine0" goto into_containers' in text
    assert 'iifname "mine0" oifname != "mine0" drop   # mine is internal' in text


STRICT = {**SHIPPED, f"{places.UNITS}/{places.EGRESS}": b"[Service]\n"}


def test_ours_come_when_dockers_have_gone_and_go_before_dockers_come_back() -> None:
    stock = host(docker=docker(networks=(BRIDGE,)))
    plan = planned(stock, strict=True, shipped=STRICT)
    kinds = [type(step) for step in plan.steps]
    own = next(i for i, s in enumerate(plan.steps) if isinstance(s, StartUnits) and places.EGRESS in s.units)
    assert kinds.index(SwitchDocker) < kinds.index(ClearDockerRules) < own
    there, known = after(stock, plan)
    assert planned(there, known, strict=True, shipped=STRICT).steps == []
    known.forward = {"4": "DROP"}
    kinds = [type(s) for s in uninstall(there, known, restart_docker=True, purge=True).steps]
    assert kinds.index(StopUnits) < kinds.index(SwitchDocker) < kinds.index(CompleteDockerRules)


def test_without_dockers_restart_they_do_not_come() -> None:
    with pytest.raises(Refused, match="--restart-docker"):
        planned(host(), strict=True, restart_docker=False, shipped=STRICT)


def test_rules_of_the_users_own_stay() -> None:
    plan = planned(host(present={places.RULES: "mine"}), strict=True, shipped=STRICT)
    assert not any("write /etc/docker-egress.nft" in str(step) for step in plan.steps)
    assert places.RULES not in plan.record.files
