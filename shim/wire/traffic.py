"""What a relay tells the registrar of its traffic, on the lease pipe: a line of COUNTED and a number a field.

Each is what has come since it last told, but for ``clients``, which is how many there are.  A registrar of
another version that does not know the line passes over it.
"""

COUNTED = "counted"
FIELDS = (
    "requests",  # datagrams from clients, and their bytes
    "request_bytes",
    "replies",
    "reply_bytes",
    "evicted",  # clients that made room for others
    "refused",  # datagrams of clients for whom there was no room
    "dropped_requests",  # datagrams that the kernel would not send to the container
    "dropped_replies",  # ... to the client
    "errors",  # ICMP errors: nothing listens in the container
    "clients",
)
# A number above this is none that a relay counts in its life.
LARGEST = 1 << 62


def traffic_line(numbers: "dict[str, int]") -> str:
    """The line for these numbers."""
    return " ".join([COUNTED, *(str(numbers[field]) for field in FIELDS)])


def traffic_in(line: str) -> "dict[str, int] | None":
    """The numbers of such a line; None where it is none."""
    word, *numbers = line.split(" ")
    if word != COUNTED or len(numbers) != len(FIELDS):
        return None
    if not all(number.isascii() and number.isdecimal() and len(number) < 20 for number in numbers):
        return None
    found = dict(zip(FIELDS, map(int, numbers), strict=True))
    return found if max(found.values()) <= LARGEST else None
