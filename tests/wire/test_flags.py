"""docker-proxy's flags in Go's grammar: a table both ways, and any words at all."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shim.core.binding import Address, Backend, Binding, binding_from_flags
from shim.wire.flags import FlagError, format_address, parse_flags
from tests.builders import make_binding, make_flags

FULL = make_flags(make_binding(port=80, backend_port=8080))
YES, NO = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
PARSED = ("tcp", "0.0.0.0", 80, "172.17.0.2", 8080, False)
PORTS = ["-host-port", "80", "-container-port", "8080"]


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (FULL, PARSED),
        ([*FULL, "-use-listen-fd"], (*PARSED[:5], True)),
        ([word.replace("-", "--", 1) if word[0] == "-" else word for word in FULL], PARSED),
        (
            ["-proto=udp", "--host-ip=::", "-host-port=1", "--container-ip=fd00::2", "-container-port=65535"],
            ("udp", "::", 1, "fd00::2", 65535, False),
        ),
        (PORTS, ("tcp", "0.0.0.0", 80, "0.0.0.0", 8080, False)),
        ([*FULL, "-proto", "udp"], ("udp", *PARSED[1:])),  # the last one counts
        ([*FULL, "-proto", "sctp"], ("sctp", *PARSED[1:])),  # the caller's to refuse
        ([*FULL, "-proto="], ("", *PARSED[1:])),
        ([*FULL, "-proto", "-v"], ("-v", *PARSED[1:])),  # a value may look like a flag
        ([*FULL, "-proto=a=b"], ("a=b", *PARSED[1:])),
        ([*FULL, "-v"], PARSED),
        ([*FULL, "--version=false"], PARSED),
        ([*FULL, "-host-ip", "0:0::0"], ("tcp", "::", *PARSED[2:])),
        ([*FULL, "-host-port", "00080"], PARSED),
        *[([*FULL, f"-use-listen-fd={yes}"], (*PARSED[:5], True)) for yes in YES],
        *[([*FULL, f"-use-listen-fd={no}"], PARSED) for no in NO],
    ],
)
def test_what_go_accepts_is_read_as_go_reads_it(words: list[str], parsed: tuple[object, ...]) -> None:
    before = list(words)
    assert parse_flags(words) == parsed
    assert words == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "flag is missing: -host-port"),
        (["-host-port", "80"], "flag is missing: -container-port"),
        (["-host-port"], "flag needs an argument: -host-port"),
        ([*FULL, "-nope"], "flag provided but not defined: -nope"),
        ([*FULL, "-nope=1"], "flag provided but not defined: -nope"),
        ([*FULL, "---proto", "tcp"], "flag provided but not defined: --proto"),
        ([*FULL, "-=x"], "flag provided but not defined: -"),
        ([*FULL, "-"], "unexpected argument '-'"),
        ([*FULL, "--"], "unexpected argument '--'"),
        ([*FULL, "tcp"], "unexpected argument 'tcp'"),
        ([*FULL, ""], "unexpected argument ''"),
        ([*FULL, "-use-listen-fd", "true"], "unexpected argument 'true'"),
        ([*FULL, "-use-listen-fd=yes"], "invalid boolean value 'yes' for -use-listen-fd"),
        ([*FULL, "-use-listen-fd="], "invalid boolean value '' for -use-listen-fd"),
        *[
            ([*FULL, f"-host-port={port}"], f"invalid value {port!r} for flag -host-port: not a port")
            for port in ("0", "65536", "-1", "+1", "8o", "0x50", " 80", "80 ", "1_0", "٨٠", "8" * 5000)
        ],
        ([*FULL, "-host-port="], "flag is missing: -host-port"),
        *[
            (
                [*FULL, f"-container-ip={ip}"],
                f"invalid value {ip!r} for flag -container-ip: not an IP address",
            )
            for ip in ("", "localhost", "1.2.3", "1.2.3.256", "::g", "[::1]", "fe80::1%eth0", "1.2.3.4 ")
        ],
    ],
)
def test_what_cannot_be_followed_is_refused_with_flag_value_and_reason(
    words: list[str], complaint: str
) -> None:
    with pytest.raises(FlagError) as caught:
        parse_flags(words)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("proto", ["sctp", "TCP", "", "icmp"])
def test_only_tcp_and_udp_make_a_binding(proto: str) -> None:
    with pytest.raises(FlagError, match="only tcp and udp"):
        binding_from_flags([*FULL, f"-proto={proto}"])


NAMES = ("proto", "host-ip", "host-port", "container-ip", "container-port", "use-listen-fd", "v")
WORDS = st.one_of(
    st.sampled_from([*FULL, "-host-ip", "-use-listen-fd", "=", "::"]),
    st.builds(
        "{}{}{}{}".format, st.sampled_from(["-", "--", ""]), st.sampled_from(NAMES), st.just("="), st.text()
    ),
    st.text(st.characters()),  # lone surrogates too: they stand for bytes that are no UTF-8
)


@given(st.lists(WORDS))
@example([*FULL, "-host-ip=\0"])
@example([*FULL, "-host-ip=\udcff"])
@example(["-a\nb"])
def test_any_words_are_followed_or_refused_in_one_line(words: list[str]) -> None:
    try:
        parsed = parse_flags(words)
    except FlagError as error:
        assert len(str(error).splitlines()) == 1
        assert str(error).isprintable()
    else:
        assert 0 < parsed[2] < 65536 and 0 < parsed[4] < 65536
        assert ipaddress.ip_address(parsed[1]) and ipaddress.ip_address(parsed[3])


@st.composite
def invocations(draw: st.DrawFn) -> tuple[list[str], tuple[Binding, bool]]:
    """A valid command line, each flag in some syntax and the flags in some order, and what it means."""
    ips = st.ip_addresses().map(str)
    port = st.integers(1, 65535)
    address = Address(draw(st.sampled_from(["tcp", "udp"])), draw(ips), draw(port))
    backend = Backend(draw(ips), draw(port))
    values = zip(NAMES, (*address, *backend), strict=False)
    groups = []
    for name, value in values:
        dashes = draw(st.sampled_from(["-", "--"]))
        groups.append(draw(st.sampled_from([[f"{dashes}{name}={value}"], [f"{dashes}{name}", str(value)]])))
    given_fd = draw(st.booleans())
    yes, no = ["-use-listen-fd", "--use-listen-fd", "-use-listen-fd=1"], ["-use-listen-fd=F", "-v"]
    groups.append([draw(st.sampled_from(yes if given_fd else no))])
    ordered = draw(st.permutations(groups))
    return [word for group in ordered for word in group], (Binding(address, backend), given_fd)


@given(invocations())
def test_a_valid_call_means_the_same_in_every_syntax_and_order(
    call: tuple[list[str], tuple[Binding, bool]],
) -> None:
    words, (binding, given_fd) = call
    assert parse_flags(words)[5] is given_fd
    found = binding_from_flags(words)
    assert (found.address.proto, found.address.port, found.backend.port) == (
        binding.address.proto,
        binding.address.port,
        binding.backend.port,
    )
    # The text may differ (::ffff:1.2.3.4), the address may not.
    for ours, theirs in ((found.address.ip, binding.address.ip), (found.backend.ip, binding.backend.ip)):
        assert ipaddress.ip_address(ours) == ipaddress.ip_address(theirs)


@pytest.mark.parametrize(
    ("ip", "text"), [("0.0.0.0", "0.0.0.0:80"), ("::", "[::]:80"), ("fd00::1", "[fd00::1]:80")]
)
def test_an_address_is_written_as_go_joins_it(ip: str, text: str) -> None:
    assert format_address(ip, 80) == text
    assert str(Address("tcp", ip, 80)) == f"tcp/{text}"
    assert str(Binding(Address("tcp", ip, 80), Backend(ip, 80))) == f"tcp/{text} -> {text}"
