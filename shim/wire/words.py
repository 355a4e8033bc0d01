"""Every word of the two protocols a shim speaks: with dockerd that started it, and with the registrar.

With dockerd (moby, daemon/libnetwork/portmapper/proxy_linux.go): flags on the command line (shim.wire.flags),
one report on descriptor 3, and from Engine 28 on the bound socket on descriptor 4.

With the registrar, thrice:

* **Start**, where dockerd gives the port: a shell writes its process id to a FIFO, and waits in ``read``; the
  registrar takes the rest from its command line and its descriptors, which stand as they will for its life
  (shim.registrar.starts).  Where no registrar does so in time the shell goes on as the start-up path.
* **Registration**, over a Unix socket, once: a line of words separated by NUL, with the registrar's ends of
  two pipes as SCM_RIGHTS.  The shim does not wait for the answer; ``resync`` does.
* **Control pipes**, for the shim's life, a line a word.  ``lease``: the shim holds the only write end, so end
  of file tells the registrar that the shim has ended, however it went; a write that fails tells the shim that
  no registrar is there.  ``wake``: the shim holds both ends and waits in ``read``; the registrar writes.  A
  registrar that comes later (a restart) opens its ends through /proc/PID/fd.

This file is on the start-up path: it is copied into the head of the shipped file (shim.artifact.assemble),
and its names must be unlike those of the other files there.
"""

NAME = "envoy-docker-shim"
# How a shim's shell begins, and the role that a relaying shim's command line names: by these and its flags
# a shim is recognised in /proc (shim.host.procfs).
MARK = "# envoy-docker-shim, parked"
RELAY_ROLE = "relay"

# -- a shim's descriptors -----------------------------------------------------------------------------------

REPORT_FD = 3  # to dockerd: REPORT_OK, or REPORT_FAILED and a text that `docker run` shows
LISTEN_FD = 4  # from dockerd, with GIVEN: the bound socket
LEASE_FD = 6
WAKE_FD = 7
PORT_FD = 8  # the published port itself

GIVEN = "-use-listen-fd"  # the flag, as dockerd writes it: the last one

REPORT_OK = "0\n"
REPORT_FAILED = "1\n"

# -- control pipes: what a shim says ------------------------------------------------------------------------

RELEASE = "release"  # told to end by dockerd: it waits for EXIT, so that its port is off Envoy by then
ORPHAN = "orphan"  # it was sent SIGTERM, as the kernel does when dockerd has died
PARKED = "parked"  # a UDP shim sleeps from here on, and may have missed a datagram while it parked
PARKING = "parking"  # a relay is about to park; only to learn whether a registrar reads the pipe

# -- control pipes: what a shim is told ---------------------------------------------------------------------

EXIT = "exit"  # end now; the wake pipe has a sticky bit as well, for who looks before he reads
RELAY = "relay"  # a datagram is waiting
NUDGE = ""  # an empty line: the shell acts on signals it has missed
OWNER = "owner"  # and a user id, behind a space: whose sockets may share the port from now on
OVER = "over"  # and what for: not from the registrar, but the shim's own timer

# How long a shim waits for EXIT (seconds).  The registrar's RELEASE_TIMEOUT is a little shorter.
RELEASE_WAIT = 2
# How often it looks for EXIT before it makes a timer for that: some 10 us each.
RELEASE_LOOKS = 100
# How long it waits for a registrar that is away (seconds): for one that is started again within 3 s, and a
# second more for its start.
RETURN_WAIT = 4

# -- start: what a shell is told, on its wake pipe ----------------------------------------------------------

READY = "ready"  # the port is held: it parks
ALONE = "alone"  # it is to start as where no registrar is, and say what is wrong if anything is
LATE = "late"  # not from the registrar, but from the shell's own timer

# Four files beside the registration socket: the FIFO; a link to the descriptor that the registrar has of it,
# which is broken once that process ends; one to what it waits in, by the kernel; and a file that a shell
# leaves which waited in vain, so that no other waits until the registrar takes a registration.
START_SUFFIX = ".start"
STARTER_SUFFIX = ".starter"
WCHAN_SUFFIX = ".wchan"
LATE_SUFFIX = ".late"
# How long a shell waits for READY or ALONE (seconds), and how often it looks before: some 10 us each.
START_WAIT = 1
START_LOOKS = 200

# -- registration: what the registrar is told ----------------------------------------------------------------

DEFAULT_SOCKET = "/run/envoy-docker-shim/registrar.sock"
SOCKET_VARIABLE = "SHIM_SOCKET"  # in the environment: another path

# A symbolic link beside that socket; its target is Envoy's user id, or no number while the registrar does not
# know it.
OWNER_SUFFIX = ".owner"
# A file beside it: a shim has waited RETURN_WAIT in vain.  No other waits until a registrar removes the file.
AWAY_SUFFIX = ".away"

REGISTER = "register"  # and the shim's flags, with its pipes
ADOPT = "adopt"  # and a process id and its flags, with its pipes: from `resync`, for another process
CLAIM = "claim"  # and the flags of a shim whose port cannot be bound: which program has it?

# -- registration: what the registrar answers ---------------------------------------------------------------

OK = "ok"  # registered
KNOWN = "known"  # it was registered already
REFUSED = "refused"  # and a reason
HELD = "held"  # another container's shim has the port
TAKEN = "taken"  # no connected Envoy has it: another program listens there
FREE = "free"  # an Envoy had it, and listens there no more

# How long a shim waits for an Envoy that is letting go of its port (seconds).
PORT_TIMEOUT = 3.0
# How long it waits for the registrar to take its registration (seconds).
REGISTRATION_TIMEOUT = 1.0
