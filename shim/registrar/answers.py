"""The API's answers in JSON: what is asked for, or one line that says why not; and what a query asks for."""

import json
from urllib.parse import parse_qs

from shim.registrar.http_connection import Request, Response
from shim.registrar.view import as_json


def json_answer(document: object) -> Response:
    """200, made while it is sent."""
    return Response(200, as_json(document))


def refusal(status: int, text: str) -> Response:
    """HTTP's ``status`` from 400 on, and the reason."""
    return Response(status, json.dumps({"error": text}).encode() + b"\n")


def service_asked_for(request: Request) -> str:
    """Which service's ``id`` the query names; empty: none."""
    return parse_qs(request.target.partition("?")[2]).get("id", [""])[0]
