"""The API's answers in JSON: what is asked for, or one line that says why not."""

import json

from shim.registrar.http_connection import Response
from shim.registrar.view import as_json


def json_answer(document: object) -> Response:
    """200, made while it is sent."""
    return Response(200, as_json(document))


def refusal(status: int, text: str) -> Response:
    """HTTP's ``status`` from 400 on, and the reason."""
    return Response(status, json.dumps({"error": text}).encode() + b"\n")
