"""What the API answers to browsers: the page's files, and nothing to pages of others."""

import ipaddress
from collections.abc import Mapping

from shim.page.files import BELOW, HEADERS, file_at
from shim.registrar.answers import refusal
from shim.registrar.http_connection import Response

# Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/): a browser says it to loopback addresses, and over
# TLS.  "none" is a person who opened the address; whoever follows another site's link is "cross-site".
OURS = ("none", "same-origin")


def why_not(headers: Mapping[str, str], path: str) -> str:
    """Why such a request is refused: it may be another page's; empty: it is not."""
    host = headers.get("host", "")
    if not _local_name(host):
        # DNS rebinding: a page in a browser that has its own name resolved to this API's address.
        return f"host {host[:80]!r} is not a name of this API"
    if "origin" in headers and not (path.startswith(BELOW) and headers["origin"] in _origins(host)):
        # A browser says it of other pages' requests.  Of our own page's it says it of modules (Chromium 156),
        # which are no secret: what the page reads, it reads without.
        return "this API is not for web pages"
    if headers.get("sec-fetch-site", "none") not in OURS:
        return "this API is not for other web pages: open its address itself"
    return ""


def _origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def is_from_a_browser(headers: Mapping[str, str]) -> bool:
    """Whether it says so; to other addresses than loopback, browsers do not."""
    return "sec-fetch-site" in headers


def for_a_browser(headers: Mapping[str, str], response: Response) -> Response:
    """The answer, which is taken for nothing else and kept nowhere: names in it come from strangers."""
    return response._replace(headers=HEADERS) if is_from_a_browser(headers) else response


def page_file(target: str) -> Response:
    """The page's file at this target; 404: none is there, 503: the program's own files are gone."""
    path = target.partition("?")[0]
    try:
        found = file_at(path)
    except OSError as error:
        return refusal(503, f"the page's files cannot be read, restart the registrar: {error}")
    if found is None:
        return refusal(404, "the page has no such file")
    return Response(200, found.body, found.content_type, HEADERS)


def _local_name(host: str) -> bool:
    """Whether a Host header names this API: an IP address, or a name without a dot, such as a cluster's."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name
    return True
