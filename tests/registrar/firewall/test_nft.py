"""The scripts as the real nft and kernel take them: a chain of changes ends where the whole table does."""

import itertools
import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shim.core.firewall import listing, notices, script
from shim.core.firewall.table import Served, Table
from shim.registrar.firewall import watch
from tests.core.firewall.tables import firewall_tables
from tests.harness.host import Host
from tests.harness.netns import CommandError

pytestmark = pytest.mark.docker

LIST = ("nft", "-j", "list", "table", "inet", "envoy_docker_shim")
# A kernel knows both hosts' tables; an example is a dozen processes.
REAL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with Host() as changed, Host() as replaced:
        yield changed, replaced


def receive(sock: socket.socket) -> bytes:
    """The next datagram; nothing if there is none now, and an OSError if some were dropped."""
    try:
        return sock.recv(watch.MOST, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def load(host: Host, text: str) -> None:
    host.run("nft", "-f", "-", stdin=text.encode())


def content(host: Host) -> Any:
    """The table without what tells one kernel's from another's."""

    def plain(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {key: plain(value) for key, value in thing.items() if key != "handle"}
        if isinstance(thing, list):
            return [plain(value) for value in thing]
        return thing

    return sorted(json.dumps(plain(thing), sort_keys=True) for thing in parsed(host)["nftables"])


def parsed(host: Host) -> Any:
    document = json.loads(host.run(*LIST))
    for thing in document["nftables"]:
        for kind in ("set", "map"):
            if kind in thing and "elem" in thing[kind]:
                thing[kind]["elem"].sort(key=json.dumps)
    return document


@REAL
@given(st.lists(firewall_tables(), min_size=2, max_size=6))
def test_changes_one_after_the_other_make_the_same_as_the_whole_table(
    hosts: tuple[Host, Host], tables: list[Table]
) -> None:
    changed, replaced = hosts
    load(changed, script.whole(tables[0]))
    for old, new in itertools.pairwise(tables):
        change = script.delta(old, new)
        load(changed, script.whole(new) if change is None else change)
        load(replaced, script.whole(new))
        assert content(changed) == content(replaced)
        found = listing.parse(changed.run(*LIST))
        assert listing.agrees(found, new, script.whole(new))
        assert (found.served, found.keep) == (new.served, new.kept())
        if (new.served, new.kept(), new.takes_local, new.fail_open) != (
            (old.served, old.kept(), old.takes_local, old.fail_open)
        ):
            assert not listing.agrees(found, old, script.whole(old))


def test_a_change_to_another_table_than_the_kernels_fails_and_changes_nothing(
    hosts: tuple[Host, Host],
) -> None:
    host, _ = hosts
    one, two = Served("0.0.0.0", 80), Served("10.0.0.1", 81)
    load(host, script.whole(Table(frozenset([one]))))
    before = content(host)
    change = script.delta(Table(frozenset([two])), Table(frozenset([one, Served("0.0.0.0", 99)])))
    assert change
    with pytest.raises(CommandError, match="No such file"):
        load(host, change)
    assert content(host) == before


def test_clearing_is_no_error_where_there_is_nothing(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    for _ in range(2):
        load(host, script.CLEAR)
        assert host.run("nft", "list", "ruleset") == ""


def test_the_probe_is_accepted_and_leaves_nothing(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    load(host, script.CLEAR)
    for keep in (False, True):
        host.run("nft", "--check", "-f", "-", stdin=script.probe(keep=keep).encode())
    assert host.run("nft", "list", "ruleset") == ""


def test_ten_thousand_ports_are_announced_whole_and_are_what_was_wanted(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    table = Table(frozenset(Served("0.0.0.0", port) for port in range(20000, 30000)), local=True)
    with host.call(watch.listen, watch.NETLINK_NETFILTER, watch.NFTABLES_GROUP) as sock:
        process = host.popen(["nft", "-f", "-"], stdin=subprocess.PIPE)
        process.communicate(script.whole(table).encode())
        touched: set[int] = set()
        while data := receive(sock):
            touched |= notices.touching(data)
    assert touched == {process.pid}
    assert listing.agrees(listing.parse(host.run(*LIST)), table, script.whole(table))
