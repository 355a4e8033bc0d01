"""The registrar's composition: one nursery owns every task, and a signal ends it."""

import logging
import os
import resource
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import trio

from shim.config.keys import Config, ConfigError
from shim.config.load import load
from shim.config.usage import add_config, command_parser
from shim.core.docker.words import KEEP
from shim.core.endpoint import Endpoint
from shim.core.envoy.access_log import OFF, ON
from shim.core.envoy.filters import HttpOptions
from shim.core.envoy.templates import Templates
from shim.core.envoy.tracing import LOCAL
from shim.core.leases.second_listeners import SecondListeners
from shim.host.bridges import interface_to
from shim.host.peer_credentials import user_of
from shim.host.ports import is_free
from shim.host.start_code import keep_start_code
from shim.registrar import registration
from shim.registrar.api import Api
from shim.registrar.docker import Docker, client_for
from shim.registrar.envoy_figures import watch as watch_figures
from shim.registrar.firewall.by_hand import clear
from shim.registrar.firewall.keeper import Firewall
from shim.registrar.firewall.programs import ProgramError, Programs
from shim.registrar.http_server import HttpServer
from shim.registrar.nack_reasons import inspect_nacks
from shim.registrar.notify import notify
from shim.registrar.spoke_first import FILE_SUFFIX, remember, watch
from shim.registrar.state import State
from shim.registrar.trust import EnvoyUsers, share_with_group

log = logging.getLogger("envoy-docker-shim")

API_BACKLOG = 4096
TABLE_SUFFIX = ".table"  # of a file beside the registration socket: its registrar keeps a firewall table
FIRST_FREE_PORT = 1024  # net.ipv4.ip_unprivileged_port_start


def arguments() -> ArgumentParser:
    """The parser of ``envoy-docker-shim server``."""
    made = command_parser(
        "server",
        "Keep the bindings, and serve them to Envoy, until SIGTERM.",
        "server",
        "server --config /etc/envoy-docker-shim.yaml",
    )
    add_config(made)
    return made


def main(args: list[str]) -> int:
    """``envoy-docker-shim server``.  0 after SIGTERM or SIGINT, 1 when it cannot run, 2 for bad usage."""
    options = arguments().parse_args(args)
    try:
        config = load(options.config, os.environ)
    except ConfigError as error:
        print(f"envoy-docker-shim: {error}", file=sys.stderr)
        return 2
    set_up_log(config.log_level)
    try:
        trio.run(serve, config)
    except (registration.SocketTaken, OSError) as error:
        log.error("cannot serve: %s", error)
        return 1
    return 0


def set_up_log(level: str) -> None:
    """One line an event to standard error; the journal adds the time itself."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    form = "%(levelname)s %(message)s" if under_systemd else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=level.upper(), format=form, stream=sys.stderr)
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _keep_start_code() -> None:
    """Compile the start-up path for this host's Python.  Without that, ports start too, only slower."""
    try:
        keep_start_code(sys.argv[0])
    except OSError as error:
        log.warning("ports start slower than they could: their code cannot be kept compiled: %s", error)


async def serve(config: Config, before_end: Callable[[], Awaitable[None]] | None = None) -> None:
    """Run the registrar until a signal.  Raises SocketTaken, OSError.

    ``before_end`` is done after the signal, while all is still served.
    """
    _raise_file_limit()
    tracing = config.tracing and config.tracing._replace(host_name=os.uname().nodename)
    state = State(
        Templates(HttpOptions(tracing, config.trusted_hops), log_path=config.access_log_file),
        config.default_mode,
        time.monotonic,
        fail_open=config.fail_open,
        keeps_client=config.client_address == KEEP,
        access_log=OFF if config.access_log == OFF else ON,
        second=SecondListeners(config.keep_ports, is_free, interface_to),
        keeping=config.keeping,
    )
    if tracing is not None and tracing.kind == LOCAL:
        state.keep_traces(tracing.kept, config.api_address)
    state.page.update(traces_url=config.traces_url, local_traces=state.traces is not None)
    state.access_log_file = config.access_log_file
    _keep_start_code()
    with ExitStack() as clean:
        # Listening first, then searching: every shim is found in /proc, or registers.
        state.shims.port_owner.prepare(config.socket)
        registration_socket = registration.listen(config.socket)
        state.shims.return_wait.begin(config.socket)
        state.shims.port_owner.begin(config.envoy_user if isinstance(config.envoy_user, int) else None)
        clean.callback(_unlink, config.socket)
        api_socket = listen_api(config.api_address)
        warn_of_ports_that_anybody_can_take(config)
        if config.api_address.path:
            clean.callback(_unlink, config.api_address.path)
        clean.callback(state.shims.control_pipes.close)
        if config.firewall:
            firewall = Firewall(keeping=config.keeping)
            state.network.use(firewall, await firewall.present())
        await _note_table(Path(config.socket + TABLE_SUFFIX), config.firewall)
        learnt = Path(config.socket + FILE_SUFFIX)
        remember(learnt, state.labelling.server_first)
        admitted, failed = state.recover()
        state.network.take_over([lease.binding.address for lease in state.registry])
        log.info("found %d running shims%s", admitted, f", {failed} could not be taken up" if failed else "")
        if not admitted and not failed:
            state.settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, nursery.cancel_scope, before_end)
            nursery.start_soon(state.shims.control_pipes.run)
            nursery.start_soon(state.keep_time)
            nursery.start_soon(state.network.run)
            nursery.start_soon(state.shims.wakeups.run)
            nursery.start_soon(registration.keep_serving, registration_socket, config.socket, state)
            nursery.start_soon(_serve_api, api_socket, state, config)
            nursery.start_soon(_follow_docker, config.docker_host, state)
            nursery.start_soon(watch, state, str(config.envoy_admin), learnt)
            nursery.start_soon(watch_figures, state, str(config.envoy_admin))
            log.info("serving: registrations on %s, xDS on %s", config.socket, config.api_address)
            notify("READY=1")
        notify("STOPPING=1")


async def _note_table(note: Path, kept: bool) -> None:
    """Where no table is to be kept, take away the one that an earlier registrar of this socket kept.

    It would lead network clients as nobody wants it any more; any other registrar's is left alone.
    """
    try:
        if kept:
            note.touch()
        elif note.exists():
            await clear(Programs())
            note.unlink()
    except (ProgramError, OSError) as error:
        log.warning("the firewall table of an earlier registrar: %s", error)


def _raise_file_limit() -> None:
    """Raise the limit of open files as far as allowed: each shim takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("cannot have more than the usual number of open files: %s", error)


async def _end_on_signal(scope: trio.CancelScope, before: Callable[[], Awaitable[None]] | None) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("ending on %s", signal.Signals(number).name)
            if before is not None:
                await before()
            scope.cancel()
            return


def _unlink(path: str) -> None:
    """Remove a socket's file.  No other registrar can have one there while this one listens."""
    try:
        os.unlink(path)
    except OSError:
        pass


def listen_api(endpoint: Endpoint) -> socket.socket:
    """The API's listening socket.  Raises OSError, with the address in its text."""
    if endpoint.path:
        return registration.listen(endpoint.path, mode=0o660)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind | socket.SOCK_CLOEXEC, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        raise OSError(f"api_address {endpoint}: {error.strerror or error}") from None
    sock.listen(API_BACKLOG)
    return sock


def warn_of_ports_that_anybody_can_take(config: Config) -> None:
    """Warn of ports that any user of this host can take while their program restarts: those from 1024 on."""
    for key, endpoint in (("api_address", config.api_address), ("envoy_admin", config.envoy_admin)):
        if endpoint.port >= FIRST_FREE_PORT:
            log.warning(
                "%s: any user of this host can take %s while its program restarts, and be taken for it:"
                " better a unix: path, or a port below %d",
                key,
                endpoint,
                FIRST_FREE_PORT,
            )


async def _serve_api(sock: socket.socket, state: State, config: Config) -> None:
    envoys = EnvoyUsers(config.envoy_user, config.envoy_admin)
    api = Api(state, envoys.trusts, config.page)
    server = HttpServer(api.handle, state.connection_closed, user_of, envoys.trusts)
    send, receive = trio.open_memory_channel(16)
    api.report_nacks_to(send)
    with sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(envoys.run)
            if config.api_address.path:
                nursery.start_soon(share_with_group, config.api_address.path, config.envoy_user)
            nursery.start_soon(inspect_nacks, receive, state, str(config.envoy_admin))
            nursery.start_soon(server.serve, sock)


async def _follow_docker(docker_host: str, state: State) -> None:
    async with client_for(docker_host) as client:
        await Docker(client, state, docker_host).run()
