"""The page as a person has it: in a real Chromium, over a real registrar, Envoy and dockerd."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.browser import Browser, Page
from tests.harness.stack import Stack
from tests.harness.wait import eventually
from tests.page.conftest import HERE, HTTP, Load

pytestmark = [pytest.mark.docker, pytest.mark.envoy]

# Texts whose contrast with what is behind them is below AA.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()

ROW = (
    "[...document.querySelectorAll('.services tbody tr')].find(r => r.querySelector('a').textContent === {})"
)


def cell(page: Page, service: str, column: str) -> str:
    """What the list says of a service in a column, on one line."""
    row = ROW.format(json.dumps(service))
    return " ".join(str(page.evaluate(f"{row}.querySelector('.{column}').innerText")).split())


def facts(page: Page) -> dict[str, str]:
    """What stands in a service's lists of pairs."""
    pairs = "[...document.querySelectorAll('.pairs > div')].map(e => [...e.children].map(c => c.innerText))"
    return dict(page.evaluate(pairs))


def open_service(page: Page, service: str) -> None:
    page.evaluate(f"{ROW.format(json.dumps(service))}.querySelector('a').click()")
    page.wait("document.querySelectorAll('.plot .line[d]').length && !!document.querySelector('.ports td')")


def test_the_list_shows_every_service_with_what_passes_it(page: Page, stack: Stack, load: Load) -> None:
    page.wait(f"parseFloat({ROW.format('`web`')}.querySelector('.rate').innerText) > 1", 20)
    assert cell(page, "web", "service") == "webshop :8080 · shop-web-1"
    assert (cell(page, "web", "state"), cell(page, "web", "mode")) == ("serving", "auto by default")
    assert re.fullmatch(r"[\d.]+ req/s", cell(page, "web", "rate"))
    assert cell(page, "web", "success") == "100 %"
    for percentile in ("p50", "p95", "p99"):  # Envoy has none in its first 5 s
        shown = f"{ROW.format('`web`')}.querySelector('.{percentile}').innerText"
        page.wait(f"/^[\\d.]+\\s+ms$/.test({shown})", 15)
    assert cell(page, "cache", "mode") == "tcp by label"
    assert re.fullmatch(r"[\d.]+ conn/s", cell(page, "cache", "rate"))
    assert (cell(page, "cache", "success"), cell(page, "resolver", "mode")) == ("–", "udp")
    assert re.fullmatch(r"[\d.]+ pkt/s", cell(page, "resolver", "rate"))
    # What needs a look is on top, and is said above the table in the words of `status`.
    assert page.texts(".services tbody a")[0] == "admin"
    (problem,) = page.texts(".problems li")
    assert "ProxyMode='htpp'" in problem and problem in stack.registrar.command("status", check=False).stdout
    assert page.evaluate("document.title") == "(1) envoy-docker-shim"
    assert "has acknowledged everything" in " ".join(page.texts(".part"))


def test_its_numbers_are_envoys_and_the_clients_own(page: Page, stack: Stack, load: Load) -> None:
    open_service(page, "web")
    asked = load.asked["web"]
    page.wait(f"Number({_fact('Requests')}.replace(',', '')) >= {asked}")
    shown = int(facts(page)["Requests"].replace(",", ""))
    assert asked <= shown <= load.asked["web"] + 2  # one is under way, one was made before the load
    counted = stack.envoy.stats("^http.web-shop-8080.downstream_rq_total$")
    assert shown <= sum(counted.values())


def _fact(name: str) -> str:
    pair = f"[...document.querySelectorAll('.pairs > div')].find(e => e.firstChild.textContent === {name!r})"
    return f"{pair}.lastChild.textContent"


def test_a_services_own_view_says_what_it_is(page: Page, stack: Stack) -> None:
    open_service(page, "web")
    assert page.texts(".one h1, .heading .env, .heading .badge") == ["web", "shop", "serving"]
    assert page.texts(".ports tbody th") == ["0.0.0.0:8080", "[::]:8080"]
    shown = facts(page)
    (binding, _) = [b for b in stack.registrar.bindings() if b["port"] == HTTP["web"]]
    assert shown["Id"] == binding["container_id"] and shown["Cluster"] == binding["cluster"]
    assert {name: shown[name] for name in binding["labels"]} == binding["labels"]
    assert page.evaluate("document.querySelector('.traces a').href") == (
        "http://jaeger.example:16686/search?service=web&env=shop"
    )
    assert page.texts(".plot .title") == [
        "Requests per second",
        "Latency time to the end of the answer",
        "Connections open",
        "Traffic bytes per second",
    ]
    # From moment to moment with the keyboard, in all charts at once, and said to who listens.
    page.evaluate("document.querySelector('.plot').focus()")
    page.press("ArrowLeft", "ArrowLeft")
    moments = page.texts(".plot .moment")
    assert len(set(moments)) == 1 and re.fullmatch(r"\d\d:\d\d:\d\d", moments[0])
    assert page.wait("document.getElementById('told').textContent").startswith(moments[0])


def test_its_last_traces_and_the_lines_of_its_log_lead_to_a_waterfall(page: Page) -> None:
    open_service(page, "web")
    page.wait("document.querySelectorAll('.tracelist tbody tr').length > 3", 15)
    # The oldest one is whole.
    first = page.texts(".tracelist tbody tr")[-1]
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET 127\.0\.0\.1:8080/ [\d.]+ ms 3 spans", first)
    page.wait("document.querySelectorAll('.lines tbody tr').length > 3", 15)
    line = page.texts(".lines tbody tr")[0]
    assert re.fullmatch(r"\d\d:\d\d:\d\d 127\.0\.0\.1 200 [\d.]+ ms [\d.]+ B GET /", line)
    page.evaluate("document.querySelector('.tracelist tr:last-child a').click()")
    page.wait("document.querySelectorAll('.waterfall .span').length > 0")
    spans = page.texts(".waterfall .span")
    assert [text.split()[0] for text in spans] == ["web", "checkout", "catalog"]
    assert all(re.fullmatch(r"\w+ GET \S+ [\d.]+ ms", text) for text in spans)
    shown = facts(page)
    assert (shown["Service"], shown["http.status_code"]) == ("web", "200")
    assert page.texts(".back a") == ["All services", "web"]
    # A line's trace comes some seconds after it.
    page.press("Escape")
    same = "[...document.querySelectorAll('.tracelist a')].find(a => a.href === line.href)"
    page.wait(f"[...document.querySelectorAll('.lines a')].find(line => {same})?.click() === undefined", 15)


@pytest.mark.parametrize(
    ("service", "titles"),
    [
        ("cache", ["New connections per second", "Connections open", "Traffic bytes per second"]),
        ("resolver", ["Datagrams from clients, per second", "Clients lately", "Traffic bytes per second"]),
    ],
)
def test_what_is_not_http_has_charts_of_its_own(
    page: Page, load: Load, service: str, titles: list[str]
) -> None:
    open_service(page, service)
    assert page.texts(".plot .title") == titles
    assert load.asked[service] > 0


def test_all_of_it_can_be_done_with_the_keyboard(page: Page) -> None:
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"
    page.press(*"shop 80")
    assert sorted(page.texts(".services tbody a")) == ["admin", "catalog", "checkout", "search", "web"]
    assert page.texts(".found") == ["5 of 7"]
    assert page.evaluate("location.hash") == "#/?q=shop+80"
    page.press("Escape", "Escape")
    assert page.texts(".found") == ["7"] and page.evaluate("document.activeElement === document.body")
    page.evaluate("document.querySelector('thead .service button').focus()")
    page.press("Enter")
    sorting = "[...document.querySelectorAll('th[aria-sort]')].filter(e => e.ariaSort !== 'none')"
    heads = f"{sorting}.map(e => [e.innerText, e.ariaSort])"
    assert page.evaluate(heads) == [["Service", "ascending"]]
    names = page.texts(".services tbody a")
    assert names == sorted(names)
    page.press("Enter")
    assert page.evaluate(heads) == [["Service", "descending"]]
    page.evaluate("document.activeElement.blur()")
    page.press("j", "ArrowDown", "k", "ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == names[::-1][1]
    page.press("Enter")
    page.wait(f"document.querySelector('h1').textContent === {names[::-1][1]!r}")
    page.press("Escape")
    page.wait("document.querySelector('.services')")
    assert page.texts(".services tbody a") == names[::-1], "in the order in which it was left"
    assert page.wait("document.activeElement.textContent") == names[::-1][1]


def test_an_update_leaves_focus_and_order_to_who_goes_through_the_list(page: Page) -> None:
    page.click("thead .rate button")
    page.press("j", "j")
    focused = page.evaluate("document.activeElement.href")
    order = page.texts(".services tbody a")
    page.evaluate("window.seen = document.querySelector('[data-sum=connections] .more').textContent; 0")
    cells = "[...document.querySelectorAll('.services .value')].map(e => e.textContent).join()"
    before = page.evaluate(cells)
    page.wait(f"{cells} !== {before!r}", 20)
    assert page.evaluate("document.activeElement.href") == focused
    assert page.texts(".services tbody a") == order


def test_what_strangers_call_their_containers_is_only_ever_text(page: Page, stack: Stack) -> None:
    names = {
        "ServiceName": "<img src=x onerror=\"window.ran='name'\">",
        "EnvironmentName": "\u202e\"'><script>window.ran='environment'</script>{{7*7}}${7*7}",
        "ProxyMode": "<svg onload=window.ran=1>",
    }
    container = stack.dockerd.run_http("x", "-p", "127.0.0.1:8091:80", labels=names)
    try:
        page.wait("document.querySelectorAll('.services tbody tr').length === 8")
        assert cell(page, names["ServiceName"], "state") == "serving"
        page.wait("document.querySelectorAll('.problems li').length === 2")
        assert "<svg onload=window.ran=1>" in " ".join(page.texts(".problems li"))
        open_service(page, names["ServiceName"])
        assert page.texts("h1") == [names["ServiceName"]]
        assert "<script>window.ran='environment'</script>" in page.texts(".heading .env")[0]
        link = page.evaluate("document.querySelector('.traces a').href")
        assert link.startswith("http://jaeger.example:16686/search?service=%3Cimg%20src%3Dx")
        assert page.evaluate("document.querySelectorAll('main script, main img, main [onerror]').length") == 0
        assert page.evaluate("typeof window.ran") == "undefined"
    finally:
        stack.dockerd.docker("rm", "--force", container)
    page.wait("document.querySelector('.one').dataset.gone === 'now'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(page: Page, scheme: str) -> None:
    page.prefer(prefers_color_scheme=scheme)
    assert page.evaluate(CONTRAST) == []
    open_service(page, "web")
    assert page.evaluate(CONTRAST) == []


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Page) -> None:
    page.resize(360, 740, 2)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    for service in ("admin", "web", "resolver"):
        open_service(page, service)
        assert page.evaluate(width) == 360
        page.evaluate("location.hash = '#/'")
        page.wait("document.querySelectorAll('.services tbody tr').length >= 7")


def test_it_is_a_table_for_who_listens_too(page: Page) -> None:
    for width in (1280, 360):
        page.resize(width, 740)
        page.call("Accessibility.enable")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        assert roles.count("table") == 1 and roles.count("row") == 8
        assert roles.count("rowheader") == 7 and roles.count("columnheader") >= 7
        names = {node["name"]["value"] for node in nodes if node["role"]["value"] == "table"}
        assert names == {"Services"}


def test_a_hidden_tab_asks_nothing_and_goes_on_when_it_is_seen(page: Page) -> None:
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true})")
    page.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    assert page.texts("#live-text") == ["paused"]
    asked = "performance.getEntriesByType('resource').length"
    before = page.evaluate(asked)
    page.evaluate("new Promise(done => setTimeout(done, 2500))")
    assert page.evaluate(asked) == before
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait("document.getElementById('live-text').textContent === 'live'")
    assert page.evaluate(asked) > before


def test_pictures(page: Page, pictures: Path) -> None:
    """For the docs; with $EDS_SCREENSHOTS after ten minutes, so that the charts are full."""
    if os.environ.get("EDS_SCREENSHOTS"):
        page.evaluate("document.body.dataset.began = Date.now()")
        page.wait("Date.now() - document.body.dataset.began > 610e3", 700)
    page.wait("parseFloat(document.querySelector('[data-sum=requests] b').innerText) > 5", 20)
    page.resize(1280, 760)
    page.screenshot(pictures / "page-list.png")
    page.prefer(prefers_color_scheme="dark")
    page.screenshot(pictures / "page-dark.png")
    page.prefer(prefers_color_scheme="light")
    page.resize(360, 740, 2)
    page.evaluate("document.querySelector('.tools').scrollIntoView()")
    page.evaluate("window.scrollBy(0, -56)")
    page.screenshot(pictures / "page-phone.png")
    page.resize(1280, 860)
    open_service(page, "web")
    page.wait("document.querySelectorAll('.tracelist tbody tr').length > 3", 15)
    page.screenshot(pictures / "page-service.png")
    page.resize(1280, 640)
    page.evaluate("document.querySelector('.tracelist tr:last-child a').click()")
    page.wait("document.querySelectorAll('.waterfall .span').length > 0")
    page.screenshot(pictures / "page-trace.png")
    for picture in pictures.glob("*.png"):
        assert picture.stat().st_size < 150_000, picture.name


@contextmanager
def registrar_away(stack: Stack) -> Iterator[None]:
    stack.registrar.end()
    try:
        yield
    finally:
        stack.registrar.start()


def test_while_the_registrar_is_away_it_says_so_and_then_goes_on(browser: Browser, stack: Stack) -> None:
    page = browser.open(f"{HERE}/")
    page.wait("document.querySelectorAll('.services tbody tr').length >= 7")
    with registrar_away(stack):
        page.wait("!document.getElementById('away').hidden")
        (said,) = page.texts("#away")
        assert said.startswith("The registrar does not answer. This is what was known at ")
        assert len(page.texts(".services tbody a")) == 7
        page.wait("document.getElementById('told').textContent === 'The registrar does not answer.'")
    page.wait(
        "document.getElementById('away').hidden && document.querySelectorAll('tbody tr').length >= 7", 20
    )
    # Without the page's key it is gone, for browsers only.
    settings = stack.registrar.config.read_text()
    stack.registrar.config.write_text(settings + "page: off\n")
    with registrar_away(stack):
        pass
    try:
        page.wait("document.getElementById('away').textContent.includes('page is off')", 20)
        assert stack.registrar.read("/").status == 404
        assert stack.registrar.read("/services").status == 200
    finally:
        stack.registrar.config.write_text(settings)
        with registrar_away(stack):
            pass
        page.close()


def test_the_command_lets_one_browser_in_by_its_link(browser: Browser, stack: Stack) -> None:
    registrar = stack.registrar
    log = registrar.directory / "page.log"
    argv: list[str | os.PathLike[str]] = [registrar.artifact, "page", "--config", registrar.config]
    process = registrar.place.popen(argv, log=log, env=registrar.env)
    try:
        link = eventually(lambda: re.findall(r"http://\S+", log.read_text()), 20, "a link")[0]
        page = browser.open(link)
        page.wait("document.querySelectorAll('.services tbody tr').length >= 7")
        assert page.evaluate("location.pathname + location.search") == "/"
        assert page.evaluate("document.cookie") == "", "no script reads it"
        assert page.complaints() == []
        stranger = browser.open(link)
        stranger.wait("document.body.innerText.includes('each works once')")
        assert "services" not in stranger.evaluate("document.body.innerText")
    finally:
        process.terminate()
        assert process.wait(10) == 0
