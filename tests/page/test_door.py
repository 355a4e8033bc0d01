"""Who passes the port that `page` opens: a link works once, and its cookie for one user only."""

import itertools
from typing import Any

import pytest

from shim.commands.page_door import BROWSERS, Door
from shim.registrar.http_connection import Request, Response

PORT, ALICE, MALLORY = 8000, 1000, 1001


class Opened:
    """A Door whose secrets are s1, s2, ..., and the links that it has given out anew."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.links: list[str] = []
        self.door = Door(PORT, self.links.append, lambda: f"s{next(numbers)}")

    def ask(self, target: str, user: int = ALICE, method: str = "GET", **headers: Any) -> Response | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.door.refusal(
            Request(method, target, {"host": f"127.0.0.1:{PORT}", **named}, b"", 1, user)
        )

    def let_in(self, user: int = ALICE) -> str:
        """Take the link; returns the cookie as a browser sends it."""
        answer = self.ask(self.door.link.partition(str(PORT))[2], user)
        assert answer is not None and answer.status == 303
        return dict(answer.headers)["set-cookie"].partition(";")[0]


def test_without_the_link_nothing_is_shown() -> None:
    opened = Opened()
    for target in ("/", "/status", "/page/main.js", "/?token=", "/?token=s2", "/status?token=s1", "*"):
        answer = opened.ask(target)
        assert answer is not None and answer.status == 403, target


def test_the_link_works_once_and_leads_to_a_clean_address() -> None:
    opened = Opened()
    answer = opened.ask("/?token=s1")
    assert answer is not None and answer.status == 303
    headers = dict(answer.headers)
    assert headers["location"] == "/"
    assert set(headers["set-cookie"].split("; ")[1:]) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    again = opened.ask("/?token=s1")
    assert again is not None and again.status == 403
    assert opened.links == [opened.door.link] != ["http://127.0.0.1:8000/?token=s1"]


def test_who_has_the_cookie_is_in_and_nobody_elses_user() -> None:
    opened = Opened()
    cookie = opened.let_in()
    assert opened.ask("/services", cookie=cookie) is None
    assert opened.ask("/page/main.js", cookie=cookie, origin="http://127.0.0.1:8000") is None
    assert opened.ask("/services", cookie=f"other=1; {cookie}; more=2") is None
    for wrong in (
        cookie[:-1],
        cookie + "x",
        cookie.replace("=", "=x"),
        cookie.partition("=")[2],
        "\xff" + cookie,
    ):
        assert opened.ask("/services", cookie=wrong) is not None
    # A browser sends its cookies to all ports of 127.0.0.1: another user's server may have got it.
    assert opened.ask("/services", MALLORY, cookie=cookie) is not None


def test_who_is_in_and_opens_an_old_link_again_is_led_to_the_page() -> None:
    opened = Opened()
    cookie = opened.let_in()
    answer = opened.ask("/?token=s1", cookie=cookie)
    assert answer is not None and answer.status == 303 and "set-cookie" not in dict(answer.headers)


@pytest.mark.parametrize(
    "headers",
    [
        *[{"host": host} for host in ("127.0.0.1", "127.0.0.1:8001", "evil.example:8000", "", "[::1]:8000")],
        *[{"origin": origin} for origin in ("http://127.0.0.1:8001", "https://127.0.0.1:8000", "null", "")],
        *[{"sec_fetch_site": site} for site in ("cross-site", "same-site", "")],
    ],
)
def test_what_another_page_may_have_asked_is_refused_with_the_cookie_too(headers: dict[str, Any]) -> None:
    opened = Opened()
    before = opened.door.link
    answer = opened.ask("/?token=s1", **headers)
    assert answer is not None and answer.status == 403
    assert opened.door.link == before, "the link is still good"
    answer = opened.ask("/services", cookie=opened.let_in(), **headers)
    assert answer is not None and answer.status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_is_only_read(method: str) -> None:
    opened = Opened()
    answer = opened.ask("/v3/discovery:listeners", method=method, cookie=opened.let_in())
    assert answer is not None and answer.status == 403


def test_browsers_are_bounded_and_the_first_one_goes() -> None:
    opened = Opened()
    cookies = [opened.let_in() for _ in range(BROWSERS + 1)]
    assert opened.ask("/", cookie=cookies[0]) is not None
    assert all(opened.ask("/", cookie=cookie) is None for cookie in cookies[1:])
