"""Who may come in by the port that `page` opens: any user of the host can connect to it, and few may read.

A link with a token, which works once, gives one browser a cookie.  The cookie counts for the user only whose
browser took the link: a browser sends it to every port of 127.0.0.1, and another's server there may get it.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from shim.registrar.http_connection import Request, Response

TOKEN = "token"
# Browsers that are in at a time; another one takes the place of the first.
BROWSERS = 16
QUIET = (
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)


class Door:
    """``port`` is where it is; ``used`` is called with the next link each time that one has been taken."""

    def __init__(
        self, port: int, used: Callable[[str], None], secret: Callable[[], str] = secrets.token_urlsafe
    ) -> None:
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._cookie = f"envoy-docker-shim-{port}"
        self._port = port
        self._used = used
        self._secret = secret
        self._token = secret()
        self._users: dict[str, int] = {}  # by the cookie's value

    @property
    def link(self) -> str:
        """What lets one browser in."""
        return f"http://127.0.0.1:{self._port}/?{TOKEN}={self._token}"

    def refusal(self, request: Request) -> Response | None:
        """What is answered to who is not in, the one who takes the link among them; None: he is in."""
        headers = request.headers
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return _no("this page is at 127.0.0.1, under the port that it was opened with")
        # Of modules a browser says the origin of our own page too.
        foreign = headers.get("origin", f"http://{host}") != f"http://{host}"
        if foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _no("no other page leads here: open the link itself")
        if request.method not in ("GET", "HEAD"):
            return _no("this page is only read")
        path, _, query = request.target.partition("?")
        token = parse_qs(query).get(TOKEN, [""])[0] if path == "/" else ""
        if token and request.method == "GET" and _same(token, self._token):
            return self._let_in(request.user)
        if self._is_in(headers, request.user):
            return _to_the_page() if token else None
        return _no("open the link that `envoy-docker-shim page` has printed last: each works once")

    def _let_in(self, user: int) -> Response:
        self._token = self._secret()
        key = self._secret()
        while len(self._users) >= BROWSERS:
            del self._users[next(iter(self._users))]
        self._users[key] = user
        self._used(self.link)
        return _to_the_page(("set-cookie", f"{self._cookie}={key}; HttpOnly; SameSite=Strict; Path=/"))

    def _is_in(self, headers: Mapping[str, str], user: int) -> bool:
        given = [
            value
            for name, _, value in (
                part.strip().partition("=") for part in headers.get("cookie", "").split(";")
            )
            if name == self._cookie
        ]
        # Each is compared, in a time that says nothing of any.
        found = [
            _same(value, key) and user == owner for value in given[:4] for key, owner in self._users.items()
        ]
        return any(found)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def _to_the_page(*more: tuple[str, str]) -> Response:
    return Response(303, b"", "text/plain", (("location", "/"), *more, *QUIET))


def _no(reason: str) -> Response:
    return Response(403, f"envoy-docker-shim: {reason}\n".encode(), "text/plain; charset=utf-8", QUIET)
