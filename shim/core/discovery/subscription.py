"""What an Envoy knows, and what to answer its next poll.

Rules (each seen on Envoy 1.40, REST transport):

* A request carries the version of the last answer that Envoy accepted *whole*, or none.  There is no
  nonce and no error detail.
* So an answer is judged by the next request only: it carries the version served (ACK), or not (NACK).
* After a NACK Envoy has applied what was good in the answer.  What it runs is then no version the
  registrar served, and the version it names proves nothing, until it accepts another answer.  Hence a
  retry goes out under a version of its own (``<hash>~<n>``), even when the content is the same.
* Answering a NACK at once makes Envoy ask again at once: retries are spaced, 1 s to 30 s.
"""

from typing import NamedTuple

# An unanswered poll is ended with 304 after this long (seconds): well before request_timeout: 60s.
HOLD = 45.0
RETRY_FIRST = 1.0
RETRY_LAST = 30.0


class Reply(NamedTuple):
    """Answer the poll now, under this version."""

    version: str


class Hold(NamedTuple):
    """Hold the poll until ``until`` (seconds), unless something changes."""

    until: float


class Subscription:
    """One Envoy's state for one resource type."""

    def __init__(self) -> None:
        self.version = ""  # what the last request named
        self.acked = ""  # the last version served and accepted, without the retry's suffix
        self.acked_sequence = -1
        self.processed_sequence = -1  # ... that Envoy has worked through, in whole or in part
        self.nacked = False
        self.retry_at = 0.0
        self._attempts = 0
        self._retry = 0
        self._served = ""
        self._served_sequence = -1
        self._judged = True
        self.served_at = 0.0  # when the last answer went out (seconds)

    @property
    def judged(self) -> bool:
        """Whether Envoy has said what it did with the last answer."""
        return self._judged

    def request(self, version: str, current: str, sequence: int, now: float) -> None:
        """Take in a poll that names ``version``, while the registrar's resources are ``current``.

        ``current`` is their version, ``sequence`` their number of changes; ``now``: seconds.
        """
        self.version = version
        self._retry = max(self._retry, _retry_of(version))
        if not self._judged:
            self._judged = True
            self.processed_sequence = self._served_sequence
            if version == self._served:
                self._accept(self._served_sequence)
            else:
                self.nacked = True
                self._attempts += 1
                self.retry_at = now + min(RETRY_FIRST * 2 ** min(self._attempts - 1, 8), RETRY_LAST)
        if not self.nacked and _base(version) == current:
            self._accept(sequence)

    def _accept(self, sequence: int) -> None:
        self.nacked = False
        self._attempts = 0
        self.acked = _base(self.version)
        self.acked_sequence = self.processed_sequence = max(sequence, self.processed_sequence)

    def decide(self, current: str, sequence: int, now: float) -> Reply | Hold:
        """What to do with the open poll, given the registrar's current resources; ``now``: seconds.

        Where Envoy turns out to have these resources, they count as accepted.
        """
        if self.nacked:
            if self._served_sequence == sequence and now < self.retry_at:
                return Hold(self.retry_at)
            # Never used before by this registrar or an earlier one on this boot: ``now`` counts from boot.
            self._retry = max(self._retry + 1, int(now * 1000))
            return Reply(f"{current}~{self._retry:x}")
        if _base(self.version) == current:
            # Also where the content went and came back while the poll was held.
            self._accept(sequence)
            return Hold(now + HOLD)
        return Reply(current)

    def served(self, version: str, sequence: int, now: float = 0.0) -> None:
        """The answer with ``version`` is about to be written."""
        self.served_at = now
        self._served, self._served_sequence, self._judged = version, sequence, False


def _base(version: str) -> str:
    return version.partition("~")[0]


def _retry_of(version: str) -> int:
    try:
        return int(version.partition("~")[2][:16], 16)
    except ValueError:
        return 0
