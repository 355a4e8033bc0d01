"""Reads the configuration: a YAML file, overridden by the environment, checked as a whole before use."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import yaml

from shim.config.keys import KEYS, Config, ConfigError, checked, section

DEFAULT_FILE = "/etc/envoy-docker-shim.yaml"


def load_what_can_be(file: str | None, environ: Mapping[str, str]) -> Config:
    """What ``load`` returns, or where that fails every key that can be used, and the others' defaults."""
    try:
        return load(file, environ)
    except ConfigError:
        pass
    try:
        document = yaml.safe_load(Path(file or DEFAULT_FILE).read_text(encoding="utf-8"))
    except Exception:
        document = None
    settings = {}
    for key in KEYS.values():
        given = document.get(key.name) if isinstance(document, Mapping) else None
        for value in (environ.get(key.environment), given):
            if value and key.name not in settings:
                with suppress(ConfigError):
                    settings[key.name] = checked(key.parse, value, key.name)
    return Config(**settings)


def load(file: str | None, environ: Mapping[str, str]) -> Config:
    """The configuration from ``file`` (None: the default file, which may be absent) and ``environ``.

    Raises ConfigError.
    """
    path = Path(file or DEFAULT_FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if file is not None:
            raise ConfigError(f"{path}: no such file") from None
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        document = yaml.safe_load(text)
    except Exception as error:
        # Not only YAMLError: its constructors let out whatever they trip over (`!!int ''`: IndexError).
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    try:
        settings = section(document, {key.name: key.parse for key in KEYS.values()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for key in KEYS.values():
        if given := environ.get(key.environment):
            try:
                settings[key.name] = checked(key.parse, given, key.environment)
            except ConfigError as error:
                raise ConfigError(f"environment: {error}") from None
    return Config(**settings)
