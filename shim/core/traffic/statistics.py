"""What Envoy's admin is asked about the traffic of services, and how its answer is read.

The answer is Envoy's text format of `/stats` (source/server/admin/stats_render.cc): a line for a counter or a
gauge; and for a histogram its name, and below it its bins as "lower bound,width:count", since Envoy's start.
Text, because JSON of the same is three times as long, and has to be in memory whole to be read.
"""

import re
from collections.abc import Container, Iterator

# The numbers of a cluster, in the order in which each list of them has them.
FIELDS = ("requests", "answered", "failed", "connects", "received", "sent", "unreachable", "open")
REQUESTS, ANSWERED, FAILED, CONNECTS, RECEIVED, SENT, UNREACHABLE, OPEN = range(len(FIELDS))
# All but the last only grow.
GROWING = OPEN

# Stands for the name of a histogram of latencies, whose bins follow.
_LATENCY = -1
# Which statistic is what, by the first and the last part of its name; between them is the cluster's.  All of
# them are in the bootstrap's list of statistics.
_STATISTICS = {
    (b"http", b"downstream_rq_total"): REQUESTS,
    (b"http", b"downstream_rq_completed"): ANSWERED,
    (b"http", b"downstream_rq_5xx"): FAILED,
    (b"http", b"downstream_cx_rx_bytes_total"): RECEIVED,
    (b"http", b"downstream_cx_tx_bytes_total"): SENT,
    (b"http", b"downstream_rq_time"): _LATENCY,
    (b"tcp", b"downstream_cx_rx_bytes_total"): RECEIVED,
    (b"tcp", b"downstream_cx_tx_bytes_total"): SENT,
    (b"listener", b"downstream_cx_total"): CONNECTS,
    (b"listener", b"downstream_cx_active"): OPEN,
    (b"cluster", b"upstream_cx_connect_fail"): UNREACHABLE,
}
_NAMES = (rf"{root.decode()}\.[^.]+\.{leaf.decode()}" for root, leaf in _STATISTICS)
# Which of its statistics an Envoy is asked for (RE2), and how: `/stats` with these.
FILTER = f"^({'|'.join(_NAMES)})$"
QUERY = "usedonly&histogram_buckets=detailed"

# So many lines are read in one go: a fraction of a millisecond.
PIECE = 256
# A number with more digits is none of Envoy's.
_DIGITS = 20


class Statistics:
    """One Envoy's answer.  ``counts``: cluster to a number for each of FIELDS.

    ``latencies``: cluster to its bins as they stand in the answer; what has had no request has none.
    """

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.latencies: dict[str, bytes] = {}

    def reading(self, answer: bytes, clusters: Container[str]) -> Iterator[None]:
        """Take in what ``answer`` says of these clusters, PIECE lines at each step."""
        latency_of = ""
        for number, line in enumerate(_lines(answer)):
            if number % PIECE == PIECE - 1:
                yield
            if line[:9] == b"  totals=":
                if latency_of in clusters:
                    self.latencies[latency_of] = line[9:]
                continue
            name, _, value = line.rpartition(b":")
            parts = name.split(b".")
            if len(parts) != 3:
                continue
            field = _STATISTICS.get((parts[0], parts[2]))
            if field is None:
                continue
            cluster = parts[1].decode("ascii", "replace")
            if field == _LATENCY:
                latency_of = cluster
            elif value[1:].isdigit() and len(value) <= _DIGITS:
                self._count(cluster, field, int(value), clusters)

    def _count(self, cluster: str, field: int, value: int, clusters: Container[str]) -> None:
        counts = self.counts.get(cluster)
        if counts is None:
            if cluster not in clusters:
                return
            counts = self.counts[cluster] = [0] * len(FIELDS)
        counts[field] += value


_LINE = re.compile(rb"[^\n]+")


def _lines(answer: bytes) -> Iterator[bytes]:
    return (found[0] for found in _LINE.finditer(answer))
