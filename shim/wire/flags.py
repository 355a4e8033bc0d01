"""docker-proxy's command line, in the grammar of Go's ``flag`` package.

dockerd's call (moby, daemon/libnetwork/portmapper/proxy_linux.go)::

    PATH -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 8080
         [-use-listen-fd]

This file is on the start-up path of every published port: it imports nothing that a bare
interpreter has not loaded already, and is copied, without its comments, into the head of the
shipped file (``shim.artifact.assemble``).  The registrar reads the same flags from registrations
and from /proc with the same function, so there is one grammar.
"""

import _socket

# Flag name -> whether it is boolean.  As in Go, `-x`, `--x`, `-x=v` and `-x v` all work, and a
# boolean takes a value only as `-x=v`.
_FLAGS = {
    "proto": False,
    "host-ip": False,
    "host-port": False,
    "container-ip": False,
    "container-port": False,
    "use-listen-fd": True,
    "v": True,
    "version": True,
}
# The texts that Go's strconv.ParseBool takes.
_BOOLEANS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


class FlagError(ValueError):
    """The command line cannot be followed; the text says which flag, which value, and why."""


def parse_flags(args: list[str]) -> "tuple[str, str, int, str, int, bool]":
    """(proto, host_ip, host_port, container_ip, container_port, use_listen_fd) from argv[1:].

    The protocol is returned as given (``tcp``, ``udp``, ``sctp`` or any other text): the caller
    decides which it serves.  Raises FlagError.
    """
    values = {"proto": "tcp", "host-ip": "0.0.0.0", "container-ip": "0.0.0.0"}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name = word[2:] if word.startswith("--") else word[1:]
        if not word.startswith("-") or not name:
            raise FlagError(f"unexpected argument {word!r}: docker-proxy takes flags only")
        name, equals, value = name.partition("=")
        if name not in _FLAGS:
            raise FlagError(f"flag provided but not defined: -{name if name.isprintable() else repr(name)}")
        if _FLAGS[name]:
            value = value if equals else "true"
            if value not in _BOOLEANS:
                raise FlagError(f"invalid boolean value {value!r} for -{name}")
        elif not equals:
            if not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        values[name] = value
    return (
        values["proto"],
        _address("host-ip", values),
        _port("host-port", values),
        _address("container-ip", values),
        _port("container-port", values),
        _BOOLEANS[values.get("use-listen-fd", "false")],
    )


def _address(name: str, values: "dict[str, str]") -> str:
    text = values[name]
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            return _socket.inet_ntop(family, _socket.inet_pton(family, text))
        except (OSError, ValueError):  # ValueError: a NUL, or what is no text
            pass
    raise FlagError(f"invalid value {text!r} for flag -{name}: not an IP address")


def _port(name: str, values: "dict[str, str]") -> int:
    text = values.get(name, "")
    if not text:
        raise FlagError(f"flag is missing: -{name}")
    # isdecimal alone would let other scripts' digits through.
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536):
        raise FlagError(f"invalid value {text!r} for flag -{name}: not a port (1 to 65535)")
    return int(text)


def format_address(ip: str, port: int) -> str:
    """``0.0.0.0:80`` or ``[::]:80``, as Go's net.JoinHostPort writes it."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
