"""The words of labels about how ports are served: what each makes of a port, what is said of a wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.docker.labels import LABELS, serving_of
from shim.core.envoy.filters import Extras, HttpOptions
from shim.core.envoy.modes import MODES, Serving
from shim.core.envoy.tracing import Collector
from tests.harness.fake_dockerd import make_container

DEFAULT = Serving(MODES["http"])
APPLIED = {label.name: label.applied for label in LABELS}


def served(name: str, text: str, default: Serving = DEFAULT) -> tuple[Serving, str]:
    """How a port with this label is served, and the word that `status` shows for it."""
    container = make_container(labels={name: text})
    serving = serving_of(container, default)
    return serving, APPLIED[name](None, serving)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "wanted", "shown"),
    [
        ("ClientAddress", "keep", DEFAULT._replace(keeps_client=True), "keep"),
        ("ClientAddress", "proxy-protocol", DEFAULT._replace(proxy_protocol=1), "proxy-protocol"),
        ("ClientAddress", " PROXY-protocol-V2 ", DEFAULT._replace(proxy_protocol=2), "proxy-protocol-v2"),
        ("ClientAddress", "off", DEFAULT, "off"),
        ("Tracing", "off", DEFAULT._replace(extras=Extras(tracing=False)), "off"),
        ("Tracing", "on", DEFAULT, "on"),
        ("Sampling", "1", DEFAULT._replace(extras=Extras(sampling=1.0)), "1"),
        ("Sampling", "0", DEFAULT._replace(extras=Extras(sampling=0.0)), "0"),
        ("Sampling", "12.5", DEFAULT._replace(extras=Extras(sampling=12.5)), "12.5"),
        ("Sampling", "100", DEFAULT._replace(extras=Extras(sampling=100.0)), "100"),
        *(
            (name, text, DEFAULT._replace(extras=Extras(**{field: duration})), "off" if off else duration)  # type: ignore[arg-type]
            for name, field in (("IdleTimeout", "idle_timeout"), ("RequestTimeout", "request_timeout"))
            for text, duration, off in (
                ("500ms", "0.5s", False),
                ("30s", "30s", False),
                ("1.5S", "1.5s", False),
                ("5m", "300s", False),
                ("1.1m", "66s", False),
                ("1h", "3600s", False),
                ("8760h", "31536000s", False),
                ("0.1ms", "0.001s", False),  # never less than what a timer can tell from never
                ("off", "0s", True),
                ("0s", "0s", True),
            )
        ),
    ],
)
def test_a_word_says_how_a_port_is_served(name: str, text: str, wanted: Serving, shown: str) -> None:
    assert served(name, text) == (wanted, shown)


@pytest.mark.parametrize(
    ("name", "texts", "said"),
    [
        ("ClientAddress", ["yes", "proxy", "proxy-protocol-v3"], "is none of keep, proxy-protocol, proxy-pr"),
        ("Tracing", ["yes", "1", "false"], "is neither on nor off: on"),
        (
            "Sampling",
            ["-1", "101", "1e2", "1%", "nan", "half", "1,5", "\u0661"],
            "is no number from 0 to 100",
        ),
        (
            "IdleTimeout",
            ["10", "10 s", "-1s", "1d", "1e3s", "s", "8761h", "\u0661s"],
            "is no duration, such as",
        ),
        ("RequestTimeout", ["10", "forever", "9999999999s"], "is no duration, such as 500ms, 30s, 5m or 1h"),
    ],
)
def test_a_wrong_word_changes_nothing_and_says_what_would_be_right(
    name: str, texts: list[str], said: str
) -> None:
    for text in texts:
        serving, _ = served(name, text)
        assert serving._replace(problem="") == DEFAULT
        assert serving.problem.startswith(f"label {name}={text!r} {said}")


def test_the_proxy_protocol_does_not_go_with_direct() -> None:
    labels = {"ProxyMode": "direct", "ClientAddress": "proxy-protocol"}
    serving = serving_of(make_container(labels=labels), DEFAULT)
    assert "does not go with mode direct" in serving.problem and "take tcp" in serving.problem
    # Clients on this host come by Envoy all the same, to a container that wants the header.
    assert serving.proxy_protocol == 1


def test_the_proxy_protocol_is_the_clusters_and_nothing_else_is() -> None:
    for mode in MODES.values():
        serving = Serving(mode, keeps_client=True, extras=Extras(False, 1.0, "1s", "1s"))
        assert serving.upstream == mode.upstream
        told = serving._replace(proxy_protocol=2).upstream
        assert told == mode.upstream._replace(proxy_protocol=2) and told != mode.upstream


def test_without_labels_the_options_are_the_configurations() -> None:
    for options in (HttpOptions(), HttpOptions(Collector("otlp", None, sampling=5.0), 2)):  # type: ignore[arg-type]
        assert Extras().applied_to(options) == options


@given(st.sampled_from([label.name for label in LABELS if label.serve]), st.text())
def test_any_word_gives_something_to_serve_by(name: str, text: str) -> None:
    serving, shown = served(name, text)
    assert serving.mode in MODES.values() and serving.proxy_protocol in (0, 1, 2)
    assert shown.isprintable() and serving.problem.isprintable()
    sampling = serving.extras.sampling
    assert sampling is None or 0 <= sampling <= 100
