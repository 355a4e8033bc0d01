"""Whether a TCP port of this host can be listened on."""

import socket


def is_free(ip: str, port: int) -> bool:
    """Whether no program has this port at this address."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((ip, port))
        except OSError:
            return False
    return True
