"""UDP datagrams from a great many sources, none of which is the sender's: a raw socket writes what it likes.

Run as a program, as root, in the namespace of a neighbour:  spoofer.py TARGET PORT[,PORT...] SOURCES RATE
Each source sends to one of the ports, RATE datagrams a second in all, over and over until the program is
killed; it prints "flooding" as it begins, and "round" whenever all have been through once.  From then on it
is LATER times as slow, which is enough to keep what the sources have taken.  A sender that was held up does
not make up for it: on a busy machine fewer datagrams come, never a burst of them.
"""

import ipaddress
import itertools
import socket
import struct
import sys
import time

SOURCES = ipaddress.ip_network("10.204.0.0/16")
PAYLOAD = b"spoofed"
BATCH = 50  # datagrams between two looks at the clock
LATER = 3


def packet(source: int, target: bytes, port: int) -> bytes:
    """An IPv4 packet without its checksum, which the kernel fills in; UDP's own is optional."""
    udp = struct.pack("!4H", 1024 + source % 60_000, port, 8 + len(PAYLOAD), 0) + PAYLOAD
    address = (int(SOURCES.network_address) + 1 + source).to_bytes(4, "big")
    return struct.pack("!2B3H2BH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, address, target) + udp


def main(target: str, ports: list[int], sources: int, rate: int) -> None:
    there = socket.inet_aton(target)
    packets = [packet(source, there, ports[source % len(ports)]) for source in range(sources)]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        print("flooding", flush=True)
        due, pause = time.monotonic(), BATCH / rate
        for number, data in enumerate(itertools.cycle(packets), 1):
            sock.sendto(data, (target, 0))
            if number % BATCH == 0:
                now = time.monotonic()
                due = max(due + pause, now)
                time.sleep(due - now)
            if number % len(packets) == 0:
                print("round", flush=True)
                pause = LATER * BATCH / rate


if __name__ == "__main__":
    main(sys.argv[1], [int(port) for port in sys.argv[2].split(",")], int(sys.argv[3]), int(sys.argv[4]))
