"""How a shim waits: as a shell in ``read``, which takes a fortieth of Python's memory.

The scripts run in dash, bash and busybox sh.  All of these run a trap in the middle of ``read``; not all of
them let a second signal interrupt a read inside a trap, and in dash a trap that runs inside another
spoils the status of the command it comes after.

A UDP shim parks while it has no clients, and the kernel wakes it: O_ASYNC makes it send a signal for each
datagram, and to whom and which one (F_SETOWN and F_SETSIG in fcntl(2)) stays with the socket over ``exec``.
The signal is SIGURG because it is ignored until the shell has its trap.  One that comes before that, or in
the few instructions before a ``read``, rings unheard; so the registrar looks whether something is waiting
when it hears that a shim has parked (shim.registrar.naps), and without a registrar none parks.
"""

import _signal
import posix
import sys

# The descriptors of a shim (see shim.proxy.start).
LEASE_FD = 6
WAKE_FD = 7
PORT_FD = 8

NAME = "envoy-docker-shim"
MARK = "# envoy-docker-shim, parked"

# SIGTERM is what the kernel sends when dockerd itself has died (its parent-death signal).  The container
# may well live on (live-restore), so the port goes on being served until the registrar says `exit`:
# it knows when dockerd is back and wants the port.  Without a registrar there is nothing to stay for.
# The signal comes twice: hence it is ignored meanwhile, and a failure has to be seen twice.
_ORPHANED = """
trap '' PIPE
orphaned() {
  trap '' TERM
  again=1
  echo orphan >&6 || echo orphan >&6 || exit 0
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
PARKED = (
    MARK
    + _ORPHANED
    + r"""
release() {
  trap '' INT TERM
  if echo release >&6; then
    { sleep 2; echo over >&7; } 6>&- 8>&- &
    command=
    until [ "$command" ]; do read -r command <&7 || break; done
    kill -s KILL $!
    wait
  fi
  exit 0
} 2>/dev/null
trap release INT
while again=; read -r command <&7 || [ "$again" ]; do
  case $command in
  exit) exit 0 ;;
  owner\ *) chown "${command#owner }" /proc/self/fd/8 6>&- ;;
  esac
done
"""
)

# A Python that was upgraded away since then is looked for anew, by the file itself.
_NAPPING = (
    _ORPHANED
    + """
relay() {
  [ ! -x "$python" ] || exec "$python" -IS "$file" relay "$@"
  exec "$file" relay "$@"
}
trap 'exit 0' INT
trap 'relay "$@"' URG
echo parked >&6 2>/dev/null
while again=; read -r command <&7 || [ "$again" ]; do
  case $command in
  exit) exit 0 ;;
  relay) relay "$@" ;;
  esac
done
"""
)


def park(args: "list[str]") -> None:
    """Become the shell of a TCP shim.  Does not return."""
    posix.execv("/bin/sh", ["/bin/sh", "-c", PARKED, NAME, *args])


def nap(file: str, args: "list[str]", awake: float = 0.0) -> None:
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
        posix.execv("/bin/sh", ["/bin/sh", "-c", napping(file), NAME, *args])
    except OSError:
        pass  # for the relay to see
    port.close()


def napping(file: str) -> str:
    """The script of a UDP shim's shell, which goes on as ``file relay``."""
    python, program = ("'" + path.replace("'", "'\\''") + "'" for path in (sys.executable, file))
    return f"{MARK}\npython={python} file={program}{_NAPPING}"


def wake(port: int) -> None:
    """The relay is there: no more signals."""
    import fcntl

    fcntl.fcntl(port, fcntl.F_SETFL, fcntl.fcntl(port, fcntl.F_GETFL) & ~posix.O_ASYNC)
