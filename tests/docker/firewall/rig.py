"""What these tests share: Docker's defaults, containers that say who asks, and waiting for the table."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.harness.docker import Dockerd
from tests.harness.engines import Engine
from tests.harness.host import Host
from tests.harness.netns import Namespace, Place
from tests.harness.stack import Stack
from tests.harness.wait import eventually

TABLE = ("inet", "envoy_docker_shim")
SECOND, SECOND6 = "10.203.0.3", "fd00:203::3"  # the host's other addresses
# The IPv6 network of containers: those of Docker's default network have no IPv6.
SIX, SIX_SUBNET = "six", "fd00:45::/64"

# Writes a script that says who asks: the connection's other end, and whom that one names.
WHO = (
    "mkdir -p /www/cgi-bin && cd /www/cgi-bin &&"
    " printf '#!/bin/sh\\necho; echo %s $REMOTE_ADDR $HTTP_X_FORWARDED_FOR\\n' \"$0\" >who &&"
    " chmod +x who && exec httpd -f -h /www"
)


def docker_defaults(engine: Engine) -> list[str]:
    """dockerd's flags for the firewall as Docker has it unless told otherwise."""
    # 20.10 has rules for IPv6 as an experiment only.
    return ["--iptables=true", *(["--ip6tables=true"] if engine.name == "28" else [])]


def stack_with(artifact: Path, engine: Engine, *args: str) -> Stack:
    """Docker's defaults, a neighbour, and a second address of either family; not entered yet."""
    stack = Stack(artifact, engine, *docker_defaults(engine), *args, neighbour=True)
    add_addresses(stack.host)
    return stack


def add_addresses(host: Host) -> None:
    host.run("ip", "address", "add", f"{SECOND}/24", "dev", "eth0")
    host.run("ip", "address", "add", f"{SECOND6}/64", "dev", "eth0", "nodad")


def add_six(dockerd: Dockerd) -> None:
    """A network whose containers have IPv6."""
    dockerd.docker("network", "create", "--ipv6", "--subnet", SIX_SUBNET, SIX)


def run_who(
    dockerd: Dockerd, word: str, *options: str, labels: Mapping[str, str] | None = None, **kw: Any
) -> str:
    """A container that answers /cgi-bin/who with its word, its peer, and X-Forwarded-For."""
    return dockerd.run(*options, cmd=["sh", "-c", WHO, word], labels=labels, **kw)


def url(ip: str, port: int, path: str = "/cgi-bin/who") -> str:
    return f"http://[{ip}]:{port}{path}" if ":" in ip else f"http://{ip}:{port}{path}"


class Inside(Namespace):
    """A container's network, to ask from."""

    def __init__(self, dockerd: Dockerd, container: str) -> None:
        Place.__init__(self)
        self.name = container
        pid = dockerd.api(f"/containers/{container}/json")["State"]["Pid"]
        self.path = Path(f"/proc/{pid}/ns/net")


class Who(tuple[str, str, str]):
    """(word, peer, X-Forwarded-For); the last is empty where nobody said it."""

    @classmethod
    def parse(cls, text: str) -> "Who":
        word, peer, *named = text.split()
        # How httpd names the peer of a socket that is for both families.
        return cls((word, peer.strip("[]").removeprefix("::ffff:"), " ".join(named)))


def ask(source: Namespace, ip: str, port: int, *, timeout: float = 5.0) -> Who:
    reply = source.http_get(url(ip, port), timeout=timeout)
    assert reply.status == 200, reply
    return Who.parse(reply.text)


def ways(stack: Stack, port: int, proto: str = "tcp") -> dict[str, tuple[str, str]]:
    """Published IP -> (who serves clients on the network, why not Envoy), for one port."""
    return {
        b["address"]: (b["network"]["by"], b["network"]["why"])
        for b in stack.registrar.bindings()
        if (b["port"], b["protocol"]) == (port, proto)
    }


def led_to_envoy(stack: Stack, *ports: int) -> None:
    """Return once network clients of these TCP ports are led to Envoy, whatever address they ask."""

    def led() -> bool:
        bindings = [b for b in stack.registrar.bindings() if b["protocol"] == "tcp"]
        found = {(b["port"], b["network"]["by"], b["state"]) for b in bindings if b["port"] in ports}
        return found == {(port, "envoy", "serving") for port in ports}

    eventually(led, 10, f"{ports} are led to Envoy")


def requests(stack: Stack, service: str) -> int:
    """How many requests Envoy has had for a service in http mode."""
    return sum(stack.envoy.stats(rf"^http\.{service}-.*\.downstream_rq_total$").values())


def elements(host: Namespace) -> set[str]:
    """The addresses in the kernel's table, as "0.0.0.0 8080"; empty where there is no table."""
    wildcards = {"any4": "0.0.0.0", "any6": "::"}
    text = host.run("nft", "-j", "list", "ruleset")
    sets = [thing["set"] for thing in json.loads(text)["nftables"] if "set" in thing]
    return {
        f"{wildcards.get(found['name'], first)} {port}"
        for found in sets
        if found["table"] == TABLE[1]
        for first, port in (element["concat"] for element in found.get("elem", ()))
    }


def others(stack: Stack) -> str:
    """Everybody else's rules, as nft prints them."""
    text = re.sub(
        r"table inet envoy_docker_shim \{.*?\n\}\n", "", stack.host.run("nft", "list", "ruleset"), flags=re.S
    )
    return re.sub(r"packets \d+ bytes \d+", "", text)


def configure(stack: Stack, **settings: Any) -> None:
    """Other settings, for the next registrar."""
    config = yaml.safe_load(stack.registrar.config.read_text())
    stack.registrar.config.write_text(yaml.safe_dump({**config, **settings}))


def status(stack: Stack) -> tuple[int, str, dict[str, Any]]:
    """`status`: its exit code and its text, and what --json says."""
    text = stack.registrar.command("status", check=False)
    report = json.loads(stack.registrar.command("status", "--json", check=False).stdout)
    return text.returncode, text.stdout, report


def remove_all(dockerd: Dockerd, but: Sequence[str] = ()) -> None:
    """Every container that has none of these names."""
    names = dockerd.docker("ps", "--all", "--format", "{{.Names}}").split()
    if left := [name for name in names if name not in but]:
        dockerd.docker("rm", "--force", *left)
