"""What the API answers to browsers: its own page, and nothing to pages of others."""

import pytest

from shim.registrar.api import Api
from shim.registrar.http_connection import Request
from tests.builders import in_trio
from tests.registrar.test_api import Registrar


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(name, 200) for name in ("localhost", "localhost:7776", "envoy_docker_shim_registrar", "")],
        *[(ip, 200) for ip in ("127.0.0.1", "127.0.0.1:7776", "10.1.2.3", "[::1]", "[::1]:7776", "::1")],
        *[
            (name, 403)
            for name in ("evil.example", "evil.example:7776", "localhost.evil.example", "localhost.")
        ],
        *[
            (name, 403)
            for name in ("127.0.0.1.evil.example", "evil.example:80:80", "[evil.example]", "1.2.3.4.5")
        ],
        *[
            (name, 403)
            for name in ("127.0.0.1@evil.example", "a.b:", ".", "0x7f.1", "\u00e9.com", "x" * 9999 + ".y")
        ],
    ],
)
@pytest.mark.parametrize("target", ["/bindings", "/healthz"])
@in_trio
async def test_a_name_that_could_be_anybodys_is_not_ours(host: str, status: int, target: str) -> None:
    """DNS rebinding: a page in a browser has its own name resolved to our address."""
    assert (await Registrar().get(target, host=host)).status == status


PATHS = ["/", "/page/main.js", "/bindings", "/healthz", "/nothing"]


@pytest.mark.parametrize("target", PATHS)
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        *[({"sec-fetch-site": site}, False) for site in ("none", "same-origin")],
        *[({"sec-fetch-site": site}, True) for site in ("cross-site", "same-site", "", "None", "new-word")],
        ({"origin": "http://localhost:1"}, True),
        ({"origin": "null", "sec-fetch-site": "none"}, True),
    ],
)
@in_trio
async def test_what_another_page_in_a_browser_asks_is_refused(
    target: str, headers: dict[str, str], refused: bool
) -> None:
    request = Request("GET", target, {"host": "localhost", **headers}, b"", 1)
    assert ((await Registrar().api.handle(request)).status == 403) == refused


@pytest.mark.parametrize(
    ("target", "origin", "status"),
    [
        ("/page/main.js", "http://localhost", 200),
        ("/page/main.js", "https://localhost", 200),
        *[
            ("/page/main.js", origin, 403)
            for origin in ("http://localhost:81", "http://evil.example", "null", "")
        ],
        *[
            (target, "http://localhost", 403)
            for target in ("/", "/bindings", "/status", "/page", "/services")
        ],
    ],
)
@in_trio
async def test_only_the_pages_own_modules_may_be_asked_for_by_an_origin(
    target: str, origin: str, status: int
) -> None:
    request = Request("GET", target, {"host": "localhost", "origin": origin}, b"", 1)
    assert (await Registrar().api.handle(request)).status == status


@pytest.mark.parametrize("target", PATHS[:2])
@in_trio
async def test_the_page_is_bound_to_its_own_origin_and_kept_by_nobody(target: str) -> None:
    headers = dict((await Registrar().get(target)).headers)
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@in_trio
async def test_a_browser_takes_data_for_nothing_but_data_and_a_program_is_told_less() -> None:
    registrar = Registrar()
    registrar.publish()
    seen = {"host": "localhost", "sec-fetch-site": "same-origin"}
    headers = dict((await registrar.api.handle(Request("GET", "/bindings", seen, b"", 1))).headers)
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert (await registrar.get("/bindings")).headers == ()


@in_trio
async def test_with_page_off_browsers_get_nothing_and_programs_what_they_got() -> None:
    api = Api(Registrar().state, page=False)

    async def status(target: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await api.handle(Request("GET", target, {"host": "localhost", **named}, b"", 1))).status

    for target in PATHS:
        assert await status(target, sec_fetch_site="same-origin") == 404
    assert [await status(target) for target in PATHS] == [404, 404, 200, 200, 404]
