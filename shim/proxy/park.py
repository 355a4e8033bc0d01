"""How a shim waits: as a shell in ``read``, which takes a fortieth of Python's memory.

The scripts run in dash, bash and busybox sh.  All of these run a trap in the middle of ``read``; not all of
them let a second signal interrupt a read inside a trap, and in dash a trap that runs inside another
spoils the status of the command it comes after.

A UDP shim parks while it has no clients, and the kernel wakes it: O_ASYNC makes it send a signal for each
datagram, and to which process and which one (F_SETOWN, F_SETSIG in fcntl(2)) stays set over ``exec``.
The signal is SIGURG because it is ignored until the shell has its trap.  One that comes before that, or in
the few instructions before a ``read``, is lost; so the registrar checks whether datagrams wait when a shim
has parked (shim.registrar.wakeups), and without a registrar no UDP shim parks.
"""

import _signal
import posix
import sys

from shim.wire.words import (
    AWAY_SUFFIX,
    EXIT,
    LEASE_FD,
    MARK,
    NAME,
    ORPHAN,
    OVER,
    OWNER,
    OWNER_SUFFIX,
    PARKED,
    PORT_FD,
    RELAY,
    RELAY_ROLE,
    RELEASE,
    RELEASE_LOOKS,
    RELEASE_WAIT,
    RETURN_WAIT,
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
    "looks": RELEASE_LOOKS,
    "return": RETURN_WAIT,
    "owner_suffix": OWNER_SUFFIX,
    "away_suffix": AWAY_SUFFIX,
}

# SIGTERM is what the kernel sends when dockerd itself has died (its parent-death signal).  The container
# may well live on (live-restore), so the port goes on being served until the registrar says `exit`:
# it knows when a new dockerd wants the port.  Without a registrar the shim ends.
# The signal comes twice: hence it is ignored meanwhile, and a write has to fail twice.
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

# What a TCP shim's shell does when it is told to end.  Text until then: parsed, it would take a page more.
# It has no single quotes, because it stands between two itself.
#
# On SIGINT the port must be off Envoy before this process ends, because dockerd takes its end to
# mean "free".  A timer bounds the wait for a registrar that runs but does not answer, and for one that
# is away.  A line on the pipe, not a signal, ends the wait; after an empty one (a nudge) the shell repeats
# its word, because a registrar that has just started does not know what the last one was told.
#
# The shell waits for a registrar that is away only where one has been: it leaves the link to Envoy's user.
# And the wait is one for the whole host: a shell that has waited in vain leaves a file, with which the others
# end at once.  The registrar removes the file.
#
# Where a container has many ports the registrar answers all but the first at once.  EXIT shows by the pipe's
# mode, so a shell looks some times before it makes a timer, which costs more than all the rest.
#
# The timer may not have closed its copies of lease and port yet when it is killed: hence the last `wait`.
# The braces are there because shells keep copies of what a function's redirections close, to undo them.
# On SIGTERM while the registrar is away the shell stays: its parent will show the registrar an orphan.
_ENDING = r"""
expected() {
  [ -L "$at%(owner_suffix)s" ] && [ -w "${at%%/*}" ] && [ ! -e "$at%(away_suffix)s" ]
}
away() {
  echo >"$at%(away_suffix)s"
}
timer() {
  sleep "$1"
  echo "%(OVER)s $2" >&%(wake)d
}
tell() {
  echo %(RELEASE)s >&%(lease)d
}
hear() {
  command= looks=0
  until [ -k /proc/self/fd/%(wake)d ] || [ "$((looks += 1))" -gt %(looks)d ]; do :; done
  [ ! -k /proc/self/fd/%(wake)d ] || exit 0
  { timer "$1" "$1"; } %(lease)d>&- %(port)d>&- &
  until [ "$command" = %(EXIT)s ] || [ "$command" = "%(OVER)s $1" ]; do
    read -r command <&%(wake)d || break
    [ "$command" ] || tell
  done
  kill -s KILL $!
  wait $!
  [ "$command" != %(EXIT)s ] || exit 0
}
back() {
  expected || return
  hear %(return)d
  tell || { away; return 1; }
}
release() {
  trap "" INT TERM
  if tell; then
    hear %(wait)d
    tell || back
  elif back; then
    hear %(wait)d
  fi
  exit 0
} 2>/dev/null
orphaned() {
  trap "" TERM
  again=1
  if ! echo %(ORPHAN)s >&%(lease)d && ! echo %(ORPHAN)s >&%(lease)d; then
    expected || exit 0
    { timer %(return)d %(ORPHAN)s; } %(lease)d>&- %(port)d>&- &
  fi
  trap "$term" TERM
} 2>/dev/null
forsaken() {
  echo %(ORPHAN)s >&%(lease)d || { away; exit 0; }
} 2>/dev/null
"""

_TCP = r"""%(mark)s
at=%(at)s
ending='%(ending)s'
term='eval "$ending"; orphaned'
trap '' PIPE
trap "$term" TERM
trap 'eval "$ending"; release' INT
while again=; read -r command <&%(wake)d || [ "$again" ]; do
  case $command in
  %(EXIT)s) exit 0 ;;
  %(OWNER)s\ *) chown "${command#%(OWNER)s }" /proc/self/fd/%(port)d %(lease)d>&- ;;
  "%(OVER)s %(ORPHAN)s") eval "$ending"; forsaken ;;
  esac
done
"""

# If that Python was removed by an upgrade, the file itself looks for another one.
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


def park_tcp(args: "list[str]", registrar: bytes) -> None:
    """Become the shell of a TCP shim of the registrar with this socket.  Does not return."""
    posix.execv("/bin/sh", ["/bin/sh", "-c", tcp_script(registrar), NAME, *args])


def park_udp(file: str, args: "list[str]", awake: float = 0.0) -> None:
    """Become the shell of a UDP shim, or return if a datagram comes within ``awake`` seconds."""
    import _socket

    signal_datagrams(PORT_FD, posix.getpid())
    port = _socket.socket(fileno=posix.dup(PORT_FD))
    port.settimeout(awake)
    try:
        port.recv(1, _socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        posix.execv("/bin/sh", ["/bin/sh", "-c", udp_script(file), NAME, *args])
    except OSError:
        pass  # an error on the port: the relay reads and reports it
    port.close()


def tcp_script(registrar: bytes) -> str:
    """The script of a TCP shim's shell; ``registrar`` is the path of the registrar's socket."""
    path = registrar.decode("utf-8", "surrogateescape")
    at = _quoted(path if "/" in path else "./" + path)
    return _TCP % {**_WORDS, "mark": MARK, "at": at, "ending": _ENDING % _WORDS}


def udp_script(file: str, python: str = sys.executable) -> str:
    """The script of a UDP shim's shell, which goes on as ``python file relay``."""
    python, program = _quoted(python), _quoted(file)
    return f"{MARK}\npython={python} file={program}{_UDP % _WORDS}"


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def signal_datagrams(port: int, pid: int) -> None:
    """Have the kernel send this process SIGURG for each datagram on the port, whoever sets it."""
    import fcntl

    fcntl.fcntl(port, fcntl.F_SETOWN, pid)
    fcntl.fcntl(port, fcntl.F_SETSIG, _signal.SIGURG)
    fcntl.fcntl(port, fcntl.F_SETFL, fcntl.fcntl(port, fcntl.F_GETFL) | posix.O_ASYNC)


def stop_datagram_signal(port: int) -> None:
    """Stop the kernel's signal for each datagram: the relay reads the port by itself."""
    import fcntl

    fcntl.fcntl(port, fcntl.F_SETFL, fcntl.fcntl(port, fcntl.F_GETFL) & ~posix.O_ASYNC)
