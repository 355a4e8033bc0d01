"""What the commands share: their `--config`, and the registrar's API seen from outside."""

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from shim.config.keys import Config, ConfigError
from shim.config.load import load
from shim.config.usage import add_config, command_parser
from shim.core.endpoint import Endpoint
from shim.core.text import printable

TIMEOUT = 5.0  # seconds for each answer of the registrar


class CommandError(Exception):
    """The command cannot go on; the text is for the user."""


def parser(name: str, description: str, *examples: str, config: bool = True) -> ArgumentParser:
    """As ``command_parser`` makes it, with `--config` if it takes one."""
    made = command_parser(name, description, *examples)
    if config:
        add_config(made)
    return made


def configuration(file: str | None) -> Config:
    """The configuration; ends the process with 2 and a line that says why where it is wrong."""
    try:
        return load(file, os.environ)
    except ConfigError as error:
        complain(str(error))
        sys.exit(2)


def complain(text: str) -> None:
    """One line to standard error."""
    print(f"envoy-docker-shim: {text}", file=sys.stderr)


def _reason(answer: str) -> str:
    """Why the registrar refuses, by its own word; empty where it does not say."""
    try:
        found = json.loads(answer)["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return printable(found, 300) if isinstance(found, str) else ""


def read_api(address: Endpoint, path: str) -> Any:
    """The JSON at one of the registrar's pages.  Raises CommandError."""
    import httpx  # here: Envoy waits for `bootstrap` at its every start, and that asks nobody

    transport = httpx.HTTPTransport(uds=address.path) if address.path else None
    base = "http://localhost" if address.path else f"http://{address}"
    try:
        with httpx.Client(transport=transport, timeout=TIMEOUT, trust_env=False) as client:
            response = client.get(base + path)
            if response.is_error and (reason := _reason(response.text)):
                raise CommandError(f"the registrar: {reason}")
            response.raise_for_status()
            return response.json()
    except (httpx.HTTPError, ValueError, OSError) as error:
        if "Permission denied" in str(error):
            raise CommandError(
                f"the registrar's API on {address} is for root and Envoy's group: run this as root"
            ) from None
        raise CommandError(
            f"the registrar does not answer on {address} ({error}): is `envoy-docker-shim server` running?"
        ) from None
