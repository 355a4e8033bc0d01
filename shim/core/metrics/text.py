"""Metrics as text: Prometheus' format 0.0.4, or OpenMetrics 1.0, which is stricter about names."""

from collections.abc import Iterable, Iterator

from shim.core.metrics.families import COUNTER, INFO, Family, Labels

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# Bytes that are made at a time.
PART_SIZE = 1 << 13


def content_type_for(accept: str) -> str:
    """The format that a request's ``Accept`` asks for: OpenMetrics where it is named, as Prometheus does."""
    for asked in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in asked.split(";"))
        if kind == "application/openmetrics-text" and "q=0" not in parameters:
            return OPENMETRICS
    return PROMETHEUS


def as_text(families: Iterable[Family], content_type: str) -> Iterator[bytes]:
    """The families in parts of about PART_SIZE bytes, each sample made when it is asked for."""
    text = bytearray()
    for line in _lines(families, content_type == OPENMETRICS):
        text += line.encode()
        text += b"\n"
        if len(text) >= PART_SIZE:
            yield bytes(text)
            text.clear()
    yield bytes(text)


def _lines(families: Iterable[Family], openmetrics: bool) -> Iterator[str]:
    for name, kind, meaning, samples in families:
        shown, shown_kind = name, kind
        if not openmetrics and kind == COUNTER:
            shown = f"{name}_total"
        elif not openmetrics and kind == INFO:
            shown, shown_kind = f"{name}_info", "gauge"
        yield f"# HELP {shown} {_escaped(meaning, openmetrics)}"
        yield f"# TYPE {shown} {shown_kind}"
        for value, labels, suffix in samples:
            yield f"{name}{suffix}{_labels(labels)} {_number(value)}"
    if openmetrics:
        yield "# EOF"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text, True)}"' for name, text in labels) + "}" if labels else ""


def _escaped(text: str, quotes: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(value)
