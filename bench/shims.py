"""Single proxies, ours and docker-proxy, started as dockerd of their engine starts them, by turns."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from bench.plan import PATH, Plan
from tests.harness.engines import find_engine
from tests.harness.host import Host
from tests.harness.proxy import Proxy, bound_socket, flags, start_proxy
from tests.harness.registrar import SHIV_ROOT, HostRegistrar

OURS, PEER = "ours", "docker-proxy"
BOTH = (PEER, OURS)
FIRST_PORT = 20000


class Starter(NamedTuple):
    """Starts proxies of both kinds; ``given``: with their port bound and on descriptor 4 (engine >= 28)."""

    paths: dict[str, str]
    env: dict[str, str]
    given: bool

    def start(self, kind: str, proto: str, port: int, backend: tuple[str, int]) -> Proxy:
        """Call it in the machine's namespace."""
        argv = flags(proto, ("127.0.0.1", port), backend)
        if not self.given:
            return start_proxy(self.paths[kind], argv, env=self.env)
        with bound_socket(proto, ("127.0.0.1", port)) as listen:
            return start_proxy(self.paths[kind], argv, listen, env=self.env)


@contextlib.contextmanager
def starter(plan: Plan, engine: str = "28") -> Iterator[tuple[Host, Starter]]:
    """A machine with a registrar for our shims to register with."""
    found = find_engine(engine)
    with Host() as host:
        no_docker = f"unix://{host.dir}/no-docker.sock"
        registrar = HostRegistrar(host, plan.artifact, no_docker, {"log_level": "info"})
        registrar.start()
        env = {"PATH": PATH, "SHIM_SOCKET": str(registrar.socket), "SHIV_ROOT": str(SHIV_ROOT)}
        paths = {OURS: str(plan.artifact), PEER: str(found.proxy)}
        yield host, Starter(paths, env, given=engine == "28")
