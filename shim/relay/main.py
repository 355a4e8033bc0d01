"""What a UDP shim runs once a datagram came: the relay, until no client is left or it is told to end."""

import resource
import signal
import socket
import sys
import syslog

from shim.core.binding import Binding, binding_from_flags
from shim.proxy.park import park_udp, stop_datagram_signal
from shim.relay.control_pipes import ControlPipes
from shim.relay.flows import IDLE, Counters
from shim.wire.traffic import FIELDS
from shim.wire.words import NAME, PORT_FD

LIMIT = 10_000  # clients, if the process may have that many files
SPARE_FILES = 64  # what the process needs besides its clients' sockets
TELL_PAUSE = 5.0  # seconds between two lines to the registrar about the traffic
QUIET = 30.0  # seconds without a flow until the shim parks, if it has a registrar


def main(args: list[str], fd: int = PORT_FD, *, idle: float = IDLE, quiet: float = QUIET) -> int:
    """Relay what docker-proxy's flags in ``args`` say on the bound UDP socket ``fd``: the exit status.

    0 after SIGINT, after SIGTERM where no registrar is, or when the registrar says so; 1 when the socket
    cannot be used, said in syslog.  Does not return where it becomes a parked shell again, after ``quiet``
    seconds without a flow, each of which ends ``idle`` seconds after its last datagram.
    Raises FlagError: ``args`` are not docker-proxy's.
    """
    binding = binding_from_flags(args)
    syslog.openlog(NAME, syslog.LOG_PID, syslog.LOG_DAEMON)
    pipes, counters = ControlPipes(), Counters()
    try:
        with socket.socket(fileno=fd) as sock:
            while True:
                stop_datagram_signal(fd)
                if not _run(sock, binding, pipes, counters, idle, quiet):
                    return 0
                if pipes.can_park():
                    park_udp(sys.argv[0], args)
    except KeyboardInterrupt:  # before trio had taken over the signal
        return 0
    except OSError as error:
        syslog.syslog(syslog.LOG_ERR, f"{binding}: the relay has stopped: {error}")
        return 1


def _run(
    sock: socket.socket, binding: Binding, pipes: ControlPipes, counters: Counters, idle: float, quiet: float
) -> bool:
    """Relay.  True after ``quiet`` seconds without a client, False when it is to end.  Raises OSError."""
    import trio  # the port is bound and reported by now: this is what takes long

    from shim.relay.relay import relay

    lost, told = counters.lost, False

    async def serve() -> OSError | None:
        nonlocal told
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    async for number in signals:
                        # SIGTERM: dockerd has died; the container may not have (see shim.proxy.park).
                        if number == signal.SIGINT or not pipes.orphaned():
                            break
                    end()

                async def obey() -> None:
                    await pipes.told_to_exit()
                    end()

                def end() -> None:
                    nonlocal told
                    told = True
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop)

                async def tell() -> None:
                    while True:
                        await trio.sleep(TELL_PAUSE)
                        pipes.tell(_numbers(counters))

                nursery.start_soon(obey)
                nursery.start_soon(tell)
                quiet_timeout = quiet if pipes.there else None
                try:
                    await relay(
                        sock,
                        binding.backend,
                        idle=idle,
                        limit=client_limit(),
                        quiet=quiet_timeout,
                        counters=counters,
                    )
                except OSError as error:  # raised out of the nursery, it would come as a group
                    return error
                finally:
                    nursery.cancel_scope.cancel()
        return None

    failure = trio.run(serve)
    pipes.tell(_numbers(counters))
    if counters.lost > lost:
        syslog.syslog(syslog.LOG_WARNING, f"{binding}: {counters}")
    if failure:
        raise failure
    return not told


def _numbers(counters: Counters) -> dict[str, int]:
    return {field: getattr(counters, field) for field in FIELDS}


def client_limit() -> int:
    """How many clients there may be; the limit of open files is raised as far as allowed for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LIMIT + SPARE_FILES
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return LIMIT if soft == resource.RLIM_INFINITY else max(1, min(LIMIT, soft - SPARE_FILES))
