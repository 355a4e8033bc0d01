"""How a shim waits: as a shell in ``read``, which takes a fortieth of Python's memory.

The scripts run in dash, bash and busybox sh.  All of these run a trap in the middle of ``read``; not all of
them let a second signal interrupt a read inside a trap, and in dash a trap that runs inside another
spoils the status of the command it comes after.

A UDP shim parks while it has no clients, and the kernel wakes it: O_ASYNC makes it send a signal for each
datagram, and to whom and which one (F_SETOWN and F_SETSIG in fcntl(2)) stays with the socket over ``exec``.
The signal is SIGURG because it is ignored until the shell has its trap.  One that comes before that, or in
the few instructions before a ``read``, rings unheard; so the registrar looks whether something is waiting
when it hears that a shim has parked (shim.registrar.wakeups), and without a registrar none parks.
"""

import _signal
import posix
import sys

from shim.wire.words import (
    EXIT,
    LEASE_FD,
    MARK,
    NAME,
    ORPHAN,
    OVER,
    OWNER,
    PARKED,
    PORT_FD,
    RELAY,
    RELAY_ROLE,
    RELEASE,
    RELEASE_WAIT,
    WAKE_FD,
)

_WORDS = {
    "lease": LEASE_FD,
    "wake": WAKE_FD,
    "port": PORT_FD,
    "RELEASE": RELEASE,
    "ORPHAN": ORPHAN,
    "PARKED": PARKED,
    "EXIT": EXIT,
    "RELAY": RELAY,
    "OVER": OVER,
    "OWNER": OWNER,
    "role": RELAY_ROLE,
    "wait": RELEASE_WAIT,
}

# SIGTERM is what the kernel sends when dockerd itself has died (its parent-death signal).  The container
# may well live on (live-restore), so the port goes on being served until the registrar says `exit`:
# it knows when dockerd is back and wants the port.  Without a registrar there is nothing to stay for.
# The signal comes twice: hence it is ignored meanwhile, and a failure has to be seen twice.
_ORPHANED = """
trap '' PIPE
orphaned() {
  trap '' TERM
  again=1
  echo %(ORPHAN)s >&%(lease)d || echo %(ORPHAN)s >&%(lease)d || exit 0
  trap 'orphaned "$@"' TERM
} 2>/dev/null
trap 'orphaned "$@"' TERM
"""

# On SIGINT the port must be off Envoy before this process ends, because dockerd takes its end to
# mean "free".  `sleep` bounds the wait for a registrar that is there but does not answer; where
# there is none, the write fails and nothing is waited for.  A line on the pipe, not a signal, ends the wait;
# an empty one is a nudge that came late.
# `owner` and a user id: whose sockets may share the port from now on (see shim.registrar.port_owner).
# The timer may not have come to closing its copies of lease and port by then: hence the second wait.
_TCP = (
    MARK
    + _ORPHANED
    + r"""
release() {
  trap '' INT TERM
  if echo %(RELEASE)s >&%(lease)d; then
    { sleep %(wait)d; echo %(OVER)s >&%(wake)d; } %(lease)d>&- %(port)d>&- &
    command=
    until [ "$command" ]; do read -r command <&%(wake)d || break; done
    kill -s KILL $!
    wait
  fi
  exit 0
} 2>/dev/null
trap release INT
while again=; read -r command <&%(wake)d || [ "$again" ]; do
  case $command in
  %(EXIT)s) exit 0 ;;
  %(OWNER)s\ *) chown "${command#%(OWNER)s }" /proc/self/fd/%(port)d %(lease)d>&- ;;
  esac
done
"""
)

# A Python that was upgraded away since then is looked for anew, by the file itself.
_UDP = (
    _ORPHANED
    + """
relay() {
  [ ! -x "$python" ] || exec "$python" -IS "$file" %(role)s "$@"
  exec "$file" %(role)s "$@"
}
trap 'exit 0' INT
trap 'relay "$@"' URG
echo %(PARKED)s >&%(lease)d 2>/dev/null
while again=; read -r command <&%(wake)d || [ "$again" ]; do
  case $command in
  %(EXIT)s) exit 0 ;;
  %(RELAY)s) relay "$@" ;;
  esac
done
"""
)


def park_tcp(args: "list[str]") -> None:
    """Become the shell of a TCP shim.  Does not return."""
    posix.execv("/bin/sh", ["/bin/sh", "-c", tcp_script(), NAME, *args])


def park_udp(file: str, args: "list[str]", awake: float = 0.0) -> None:
    """Become the shell of a UDP shim, or return if a datagram comes within ``awake`` seconds."""
    import _socket
    import fcntl

    fcntl.fcntl(PORT_FD, fcntl.F_SETOWN, posix.getpid())
    fcntl.fcntl(PORT_FD, fcntl.F_SETSIG, _signal.SIGURG)
    fcntl.fcntl(PORT_FD, fcntl.F_SETFL, fcntl.fcntl(PORT_FD, fcntl.F_GETFL) | posix.O_ASYNC)
    port = _socket.socket(fileno=posix.dup(PORT_FD))
    port.settimeout(awake)
    try:
        port.recv(1, _socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        posix.execv("/bin/sh", ["/bin/sh", "-c", udp_script(file), NAME, *args])
    except OSError:
        pass  # for the relay to see
    port.close()


def tcp_script() -> str:
    """The script of a TCP shim's shell."""
    return _TCP % _WORDS


def udp_script(file: str) -> str:
    """The script of a UDP shim's shell, which goes on as ``file relay``."""
    python, program = ("'" + path.replace("'", "'\\''") + "'" for path in (sys.executable, file))
    return f"{MARK}\npython={python} file={program}{_UDP % _WORDS}"


def wake(port: int) -> None:
    """The relay is there: no more signals."""
    import fcntl

    fcntl.fcntl(port, fcntl.F_SETFL, fcntl.fcntl(port, fcntl.F_GETFL) & ~posix.O_ASYNC)
