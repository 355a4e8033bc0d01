"""What a UDP shim runs: the relay on a socket that is bound already, until dockerd's signal."""

import resource
import signal
import socket
import syslog

from shim.core.binding import Binding, binding_from_flags
from shim.core.flows import Counters
from shim.proxy.start import PORT_FD

LIMIT = 10_000  # clients, if the process may have that many files
SPARE_FILES = 64  # what the process needs besides its clients' sockets


def main(args: list[str], fd: int = PORT_FD) -> int:
    """Relay what docker-proxy's flags in ``args`` say on the bound UDP socket ``fd``: the exit status.

    0 after SIGINT, after SIGTERM where no registrar is, or when the registrar says so; 1 when the socket
    cannot be used, said in syslog.
    Raises FlagError: ``args`` are not docker-proxy's.
    """
    binding = binding_from_flags(args)
    syslog.openlog("envoy-docker-shim", syslog.LOG_PID, syslog.LOG_DAEMON)
    try:
        with socket.socket(fileno=fd) as sock:
            return _run(sock, binding)
    except KeyboardInterrupt:  # before trio had taken over the signal
        return 0
    except OSError as error:
        syslog.syslog(syslog.LOG_ERR, f"{binding}: the relay has stopped: {error}")
        return 1


def _run(sock: socket.socket, binding: Binding) -> int:
    import trio  # the port is bound and reported by now: this is what takes long

    from shim.relay.line import Line
    from shim.relay.relay import relay

    line = Line()
    counters = Counters()

    async def serve() -> OSError | None:
        failure = None
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    async for number in signals:
                        # SIGTERM: dockerd has died; the container may not have (see shim.proxy.start).
                        if number == signal.SIGINT or not line.orphaned():
                            break
                    nursery.cancel_scope.cancel()

                async def obey() -> None:
                    await line.told_to_exit()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(stop)
                nursery.start_soon(obey)
                try:
                    await relay(sock, binding.backend, limit=client_limit(), counters=counters)
                except OSError as error:  # raised out of the nursery, it would come as a group
                    failure = error
                nursery.cancel_scope.cancel()
        return failure

    failure = trio.run(serve)
    if counters.lossy:
        syslog.syslog(syslog.LOG_WARNING, f"{binding}: {counters}")
    if failure:
        raise failure
    return 0


def client_limit() -> int:
    """How many clients there may be; the limit of open files is raised as far as allowed for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LIMIT + SPARE_FILES
    if soft < wanted and soft != resource.RLIM_INFINITY:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return LIMIT if soft == resource.RLIM_INFINITY else max(1, min(LIMIT, soft - SPARE_FILES))
