"""Which user may share a published TCP port with the shim that holds it: Envoy's, and no other.

With SO_REUSEADDR on both sides the kernel lets any user's socket be bound beside another that does not
listen, and listen there.  With SO_REUSEPORT in its place both sockets need the same owner: the user that
made it, until ``fchown``.  So the shim gives its port to Envoy's user, whose id the registrar knows.

On the start-up path of every port: nothing is imported that a bare interpreter has not loaded already.
"""

import _socket
import posix
import sys

from shim.wire.words import OWNER_SUFFIX

# Linux's; the errno module is not loaded in a bare interpreter.
EADDRINUSE, ENOTCONN = 98, 107
FIRST_PERSON = 1000  # lower user ids are root's and services', by login.defs(5)
# What an IPv6 socket that is bound to an IPv4 address has before it.
_MAPPED = "0" * 20 + "ffff"
# <linux/netlink.h>, <linux/sock_diag.h>
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP = 4, 20, 0x301
_ERROR, _DONE = 2, 3


def keep_from_others(sock: "_socket.socket") -> None:
    """Let no other socket be bound to this port, but those of its owner, which is root so far.

    Two sockets with SO_REUSEPORT may share a port if they have the same owner.
    """
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)


def hold_given(sock: "_socket.socket") -> None:
    """Make the socket that dockerd has bound one that only holds its port.  Raises OSError.

    It acts on the open file, of which dockerd, shim and registrar may all have a descriptor.
    """
    # dockerd's has SO_REUSEADDR: another socket bound with it too could listen as soon as this one does not.
    keep_from_others(sock)
    if sock.type == _socket.SOCK_DGRAM:
        check_that_nobody_is_there(sock)  # a TCP socket of dockerd's has listened: no other can have
        return
    try:
        sock.shutdown(_socket.SHUT_RDWR)  # stops listening, but stays bound
    except OSError as error:
        if error.errno != ENOTCONN:  # it was not listening
            raise


def check_that_nobody_is_there(sock: "_socket.socket") -> None:
    """Raise OSError if another socket takes what comes to this one, which was bound with SO_REUSEADDR.

    After ``keep_from_others`` none can begin to.
    """
    if sock.type == _socket.SOCK_DGRAM:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 0)  # root's other sockets neither
        _check_datagrams(sock)
        return
    # A probe that may share the port with any socket that does not listen can be bound only if none does.
    probe = _socket.socket(sock.family, sock.type)
    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    probe.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if sock.family == _socket.AF_INET6:
        probe.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    probe.bind(sock.getsockname())
    probe.close()


def _check_datagrams(sock: "_socket.socket") -> None:
    """Raise OSError if another UDP socket on the port would get datagrams for this one.

    The kernel prefers the one with the more specific address, then the one bound last.

    Root's sockets and those of services (avahi's on 5353, say) may: docker-proxy shares with them too.
    """
    port, inode = sock.getsockname()[1], posix.fstat(sock.fileno()).st_ino
    try:
        found = told_sockets(port)
    except OSError:  # a kernel without udp_diag, or a sandbox
        found = listed_sockets(port)
    own = "".join(address for address, _, its in found if its == inode)
    for other, user, its in found:
        if its == inode or user < FIRST_PERSON:
            continue
        if own and len(other) > len(own) and other.startswith(_MAPPED):
            other = other[len(_MAPPED) :]
        if len(other) == len(own) and (other == own or not own.strip("0")):
            raise OSError(EADDRINUSE, "shared")


def told_sockets(port: int, protocol: int = _socket.IPPROTO_UDP) -> "list[tuple[str, int, int]]":
    """The UDP sockets on a port: address in hexadecimal digits, user, inode.  Raises OSError.

    Socket diagnosis (sock_diag(7)), with the layouts of <linux/inet_diag.h>: the kernel looks at all sockets,
    and tells of those on the port only.  With 1,000 of them that takes 0.1 ms, and /proc takes 7.
    """
    found = []
    for family, size in (_socket.AF_INET, 4), (_socket.AF_INET6, 16):
        kernel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        try:
            wanted = bytes((family, protocol, 0, 0)) + b"\xff" * 4  # in any state
            wanted += port.to_bytes(2, "big") + bytes(46)
            head = (16 + len(wanted), 4), (_SOCK_DIAG_BY_FAMILY, 2), (_REQUEST_DUMP, 2), (0, 8)
            kernel.send(b"".join(number.to_bytes(width, sys.byteorder) for number, width in head) + wanted)
            kind = 0
            while kind != _DONE:
                answer = kernel.recv(1 << 16)
                while answer and kind != _DONE:
                    length, kind = _number(answer[:4]), _number(answer[4:6])
                    message, answer = answer[16:length], answer[(length + 3) & ~3 :]
                    # For a protocol that it tells nothing of the kernel says "done", with an error in it.
                    if kind == _ERROR or (kind == _DONE and _number(message[:4])):
                        raise OSError("it is not told")
                    if kind != _DONE:
                        address, user, inode = message[8 : 8 + size], message[64:68], message[68:72]
                        found.append((address.hex(), _number(user), _number(inode)))
        finally:
            kernel.close()
    return found


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, sys.byteorder)


def listed_sockets(port: int) -> "list[tuple[str, int, int]]":
    """The same by /proc.

    It has sockets as lines: the second word is address and port in hexadecimal digits, each 32 bits as the
    processor has them, the eighth the user, the tenth the inode.
    """
    found = []
    for table in ("udp", "udp6"):
        try:
            with open("/proc/self/net/" + table, "rb") as file:
                lines = [line.decode().split() for line in file if b":%04X" % port in line]
        except OSError:  # no IPv6 here
            continue
        for words in lines:
            address, _, its_port = words[1].partition(":")
            if int(its_port, 16) == port:
                parts = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
                octets = b"".join(part[::-1] if sys.byteorder == "little" else part for part in parts)
                found.append((octets.hex(), int(words[7]), int(words[9])))
    return found


def give_to_envoy(sock: "_socket.socket", registrar: bytes) -> bool:
    """Make Envoy's user the port's owner; returns whether a registrar that knows of owners has run here.

    Where that registrar does not know Envoy's user yet, it tells the parked shim later.
    """
    try:
        owner = posix.readlink(registrar + OWNER_SUFFIX.encode())
    except OSError:
        return False
    try:
        posix.fchown(sock.fileno(), int(owner), -1)
    except (OSError, ValueError, OverflowError):
        pass
    return True


def share_with_all(fd: int) -> None:
    """Share the port with every user, for a registrar of an older version, which tells no shim its owner."""
    port = _socket.socket(fileno=posix.dup(fd))
    port.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    port.close()
