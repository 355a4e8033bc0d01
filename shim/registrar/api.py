"""What the API's URLs answer: discovery for Envoy, and the state for people and programs."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import trio

from shim.core.discovery.request import RequestReader
from shim.core.discovery.sessions import HoldLimits, Session
from shim.core.discovery.subscription import HOLD, Hold, Subscription
from shim.core.discovery.versions import VersionedSet
from shim.core.envoy.tracing import SPANS_PATH
from shim.core.envoy.upstreams import cluster_load_assignment
from shim.core.metrics.text import as_text, content_type_for
from shim.registrar.answers import json_answer as _json
from shim.registrar.answers import refusal as _error
from shim.registrar.answers import service_asked_for
from shim.registrar.browsers import for_a_browser, is_from_a_browser, page_file, why_not
from shim.registrar.http_connection import Request, Response
from shim.registrar.log_page import log_page
from shim.registrar.metrics import families
from shim.registrar.services import groups, history, services
from shim.registrar.state import State
from shim.registrar.trace_pages import take_spans, trace_page, traces_page
from shim.registrar.view import bindings, status

log = logging.getLogger("envoy-docker-shim")

DISCOVERY = "/v3/discovery:"
TRACE = "/traces/ID"
PAGE, PAGE_FILE = "/", "/page/FILE"
KINDS = ("listeners", "clusters", "endpoints")
# How long an Envoy without any configuration waits for the registrar to know one (seconds).
FRESH_TIMEOUT = 10.0
# The shortest pause (seconds) between warnings that an Envoy does not count: a user poses as one, or
# `envoy_user` is wrong.
COMPLAINT_PAUSE = 60.0


class Page(NamedTuple):
    """What GET of one path answers: a row, for the documentation too."""

    meaning: str
    content: Callable[[State, Request], Response]


def _metrics(state: State, request: Request) -> Response:
    content_type = content_type_for(request.headers.get("accept", ""))
    return Response(200, as_text(families(state), content_type), content_type)


def _bindings(state: State, request: Request) -> Response:
    wanted = service_asked_for(request)
    return _json(bindings(state, groups(state).get(wanted, []) if wanted else None))


PAGES = {
    PAGE: Page("[the page](page.md), for browsers", lambda state, request: page_file(request.target)),
    PAGE_FILE: Page("the page's style, scripts and icon", lambda state, request: page_file(request.target)),
    "/healthz": Page(
        "`ok`, once shims have been found and the registrar listens",
        lambda state, request: Response(200, b"ok\n", "text/plain"),
    ),
    "/bindings": Page("a list of [bindings](#a-binding), or with `?id=` of one service's", _bindings),
    "/status": Page("an object with the [status](#the-status)", lambda state, request: _json(status(state))),
    "/metrics": Page(
        "[metrics of the registrar's own](metrics-and-tracing.md#the-registrars-own), for Prometheus",
        _metrics,
    ),
    "/services": Page(
        "an object with [every service and what passes it](#a-service)",
        lambda state, request: Response(200, services(state)),
    ),
    "/services/history": Page(
        "the [last ten minutes](#a-service) of all services, or with `?id=` all of one's",
        lambda state, request: Response(200, history(state, request.target)),
    ),
    "/services/log": Page(
        "with `?id=` a service's last `lines` of the [access log](page.md#access-log), or `why` none",
        log_page,
    ),
    "/traces": Page(
        "the last [traces](#a-trace), where"
        " [they are kept](metrics-and-tracing.md#traces-without-a-collector):"
        " `?service=NAME`, `?limit=N` and `?errors=1` choose among them",
        traces_page,
    ),
    TRACE: Page("one of them, with its spans", trace_page),
}


class Api:
    """The answers to every request; ``handle`` is the HTTP server's handler.

    ``trusts`` says whether a user's Envoys count; ``page`` whether there is anything for browsers.
    """

    def __init__(
        self, state: State, trusts: Callable[[int], bool] = lambda user: user == 0, page: bool = True
    ) -> None:
        self._state = state
        self._trusts = trusts
        self._page = page
        self._complain_at = state.now()  # when the next such warning may be logged
        self._hold_limits = HoldLimits()
        # Apart, so that others' requests do not push out what is known of Envoy's.
        self._readers = {True: RequestReader(), False: RequestReader()}
        self._nacks: trio.MemorySendChannel[Session] | None = None

    def report_nacks_to(self, channel: "trio.MemorySendChannel[Session]") -> None:
        """Send the session of every Envoy that refuses a listener to this channel."""
        self._nacks = channel

    async def handle(self, request: Request) -> Response:
        """200; 304 for a poll with nothing new; 400, 403, 404, 405 with a reason."""
        path = request.target.partition("?")[0]
        if reason := why_not(request.headers, path):
            return _error(403, reason)
        if path.startswith(DISCOVERY):
            if request.method != "POST":
                return _error(405, "discovery is asked for with POST")
            return await self._discover(path.removeprefix(DISCOVERY), request)
        if path == SPANS_PATH:
            return await take_spans(self._state, request, self._trusts)
        if path.startswith("/traces/"):
            path = TRACE
        if path.startswith("/page/"):
            path = PAGE_FILE
        if not self._page and (path in (PAGE, PAGE_FILE) or is_from_a_browser(request.headers)):
            return _error(404, "there is nothing for browsers here: page is off in the configuration")
        if path not in PAGES:
            return _error(
                404, f"no such path; there are {', '.join(PAGES)} and {DISCOVERY}{', '.join(KINDS)}"
            )
        if request.method not in ("GET", "HEAD"):
            return _error(405, f"{path} is read with GET")
        return for_a_browser(request.headers, PAGES[path].content(self._state, request))

    # -- discovery -------------------------------------------------------------------------------

    async def _discover(self, kind: str, request: Request) -> Response:
        if kind not in KINDS:
            return _error(
                404, f"no such resource type {kind!r}: listeners, clusters and endpoints are served"
            )
        trusted = self._trusts(request.user)
        try:
            asked = self._readers[trusted].read(bytes(request.body))
        except ValueError as error:
            return _error(400, f"not a discovery request: {error}")
        if kind == "endpoints":
            return self._endpoints(asked.names)
        # A poll is held for long: without the parts of the request that are not used any more.
        asked = asked._replace(names=frozenset())
        if isinstance(request.body, bytearray):
            request.body.clear()
        session = self._state.poll(
            asked.node, asked.admin, request.connection, request.user, trusted, asked.build
        )
        if not trusted:
            self._complain_of(session)
        return await self._poll(kind, asked.version, session)

    def _complain_of(self, session: Session) -> None:
        if self._state.now() >= self._complain_at:
            self._complain_at = self._state.now() + COMPLAINT_PAUSE
            log.warning(
                "user %d asks for Envoy's configuration, as %s: no port waits for that user's Envoy"
                " (envoy_user says whose counts)",
                session.user,
                session.node,
            )

    async def _poll(self, kind: str, version: str, session: Session) -> Response:
        state = self._state
        subscription: Subscription = getattr(session, kind)
        resources: VersionedSet = getattr(state.registry, kind)
        await self._settle(version)
        if version and not state.settling.settled:
            return Response(304)
        processed = subscription.processed_sequence
        self._take_in(kind, version, session)
        began = state.now()
        envoy = session.user, session.node
        end = began + self._hold_limits.of(envoy, began)
        while True:
            decision = subscription.decide(resources.version, resources.sequence, state.now())
            if subscription.processed_sequence != processed:
                # Releases and clusters may wait for just that.
                processed = subscription.processed_sequence
                if session.trusted:
                    state.touch()
                continue
            if not isinstance(decision, Hold) and kind == "listeners" and state.network.withdrawing:
                # The firewall leads network clients away from a port before its Envoy closes it.
                await state.network.wait_for_withdrawal()
                continue
            if not isinstance(decision, Hold):
                subscription.served(decision.version, resources.sequence, state.now())
                state.pushes[kind].sent += session.trusted
                log.debug(
                    "%s: %d resources as %s to Envoy %s", kind, len(resources), decision.version, session.node
                )
                return Response(200, resources.body(decision.version))
            until = min(decision.until, end)
            try:
                with trio.move_on_after(max(0.0, until - state.now())) as wait:
                    await state.pushed[kind].wait()
            except trio.Cancelled:
                if session.trusted:
                    self._hold_limits.gave_up(envoy, state.now() - began, state.now())
                raise
            if wait.cancelled_caught and until >= end:
                return Response(304)

    def _take_in(self, kind: str, version: str, session: Session) -> None:
        """What the poll says of the answer before."""
        state = self._state
        subscription: Subscription = getattr(session, kind)
        resources: VersionedSet = getattr(state.registry, kind)
        was_judged, was_nacked = subscription.judged, subscription.nacked
        subscription.request(version, resources.version, resources.sequence, state.now())
        if not session.trusted:
            return
        if not was_judged:
            state.pushes[kind].judged(subscription, state.now())
        if kind == "listeners":
            self._judge(session, was_nacked)

    async def _settle(self, version: str) -> None:
        """Wait until the registrar knows as much as the one before it: a restart must cost no listener."""
        state = self._state
        deadline = state.started_at + FRESH_TIMEOUT if not version else state.now() + HOLD
        with trio.move_on_after(max(0.0, deadline - state.now())):
            while not state.settling.settled:
                await state.changed.wait()

    def _judge(self, session: Session, was_nacked: bool) -> None:
        if not session.listeners.nacked:
            if was_nacked:
                log.info("Envoy %s accepts all listeners again", session.node)
            session.rejected.clear()
        elif self._nacks is not None:
            try:
                self._nacks.send_nowait(session)
            except trio.WouldBlock:
                # The queue is full: the next refusal is reported again.
                pass

    def _endpoints(self, wanted: frozenset[str]) -> Response:
        """The endpoints of these clusters, of all if none is named, for an Envoy set up for EDS."""
        registry = self._state.registry
        # No more of what was asked for is kept than there is: the answer may be long in being read.
        names = tuple(name for name in registry.clusters if not wanted or name in wanted)
        found = ((name, registry.backend_of(name)) for name in names)
        resources = (
            cluster_load_assignment(name, backend.ip, backend.port)
            for name, backend in found
            if backend is not None
        )
        return _json({"version_info": registry.clusters.version, "resources": resources})
