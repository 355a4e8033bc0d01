"""What `install` and `uninstall` plan on hosts of all kinds, without one."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.core.setup import places, record
from shim.core.setup.daemon_json import put
from shim.core.setup.facts import Container, Envoy, Facts, FileState, Port
from shim.core.setup.record import Record, read
from shim.core.setup.settings import Refused
from shim.core.setup.steps import AwaitEnvoy, AwaitPorts, SwitchDocker, Write
from shim.core.setup.unplan import uninstall
from tests.core.setup.hosts import SETTINGS, WEB, after, docker, host, planned

UNIT = f"{places.UNITS}/{places.ENVOY}"


def switch(facts: Facts, known: Record | None = None) -> SwitchDocker:
    (found,) = [step for step in planned(facts, known).steps if isinstance(step, SwitchDocker)]
    return found


def test_docker_hears_of_it_when_all_else_is_there() -> None:
    kinds = [type(step) for step in planned(host()).steps]
    assert kinds.index(AwaitEnvoy) < kinds.index(SwitchDocker) < kinds.index(AwaitPorts)
    assert kinds.index(AwaitPorts) == len(kinds) - 1


def test_every_step_is_told_in_a_line() -> None:
    lines = [str(step) for step in planned(host()).steps]
    assert all(line and "\n" not in line for line in lines)
    assert any("restart Docker, with live-restore on for that moment: no container stops" in x for x in lines)


@pytest.mark.parametrize(
    "settings", [None, SETTINGS, FileState(b""), FileState(b'{"userland-proxy": false}')]
)
def test_done_again_there_is_nothing_to_do_and_back_is_to_the_byte(settings: FileState | None) -> None:
    stock = host(docker=docker(settings=settings))
    there, known = after(stock, planned(stock))
    assert planned(there, known).steps == []
    known = read(known.as_json())
    back = uninstall(there, known, restart_docker=True, purge=True)
    found, _ = after(there, back)
    assert found.docker.settings == settings


def test_what_others_change_in_the_settings_stays() -> None:
    there, known = after(host(), planned(host()))
    assert there.docker.settings is not None
    edited = put(there.docker.settings.content.decode(), "mtu", 1400).encode()
    there = replace(there, docker=replace(there.docker, settings=FileState(edited)))
    again = planned(there, known)
    assert [type(step) for step in again.steps] in ([], [Write])
    found, _ = after(there, uninstall(there, known, restart_docker=True, purge=False))
    assert found.docker.settings is not None
    assert found.docker.settings.content == b'{"debug": true, "mtu": 1400}'


def test_without_a_restart_it_says_what_is_left() -> None:
    plan = planned(host(), restart_docker=False)
    assert plan.left == "envoy-docker-shim install --restart-docker"
    assert not any(isinstance(step, AwaitPorts) for step in plan.steps)
    there, known = after(host(), plan)
    # dockerd still runs as it did.
    assert planned(there, known, restart_docker=False).left
    assert switch(there, known).restart
    # And is left alone by an uninstallation.
    back = uninstall(there, known, restart_docker=False, purge=False)
    assert not any(isinstance(step, SwitchDocker) and step.restart for step in back.steps)
    # A boot later it has started with them.
    booted = replace(there, docker=replace(there.docker, process="next/1/2", own_proxies=False))
    assert not planned(booted, known, restart_docker=False).left


def test_an_upgrade_restarts_the_registrar_and_no_envoy() -> None:
    there, known = after(host(), planned(host()))
    new = replace(there, version="0.2.0", file_digest="file 2")
    lines = [str(step) for step in planned(new, known, restart_docker=False).steps]
    assert lines[0] == "write /usr/local/bin/envoy-docker-shim: this file, version 0.2.0"
    assert "enable and start envoy.service, restart envoy-docker-shim.service: no request is lost" in lines
    assert not any("restart Docker" in line or "daemon.json" in line for line in lines)


@pytest.mark.parametrize(
    "change",
    [{"envoy_digest": "envoy 2"}, {"stale_envoy": True}, {"envoy": Envoy("/usr/bin/e", "/usr/bin/e", "")}],
)
def test_an_envoy_that_is_another_is_started_anew_and_that_is_said(change: dict[str, object]) -> None:
    there, known = after(host(), planned(host()))
    lines = [str(step) for step in planned(replace(there, **change), known).steps]  # type: ignore[arg-type]
    assert any("restart envoy.service: connections through Envoy end" in line for line in lines)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("/usr/bin/envoy", b"ExecStart=envoy -c x"),
        ("/opt/e/envoy", b"ExecStart=/opt/e/envoy -c x"),
    ],
)
def test_envoys_unit_names_an_envoy_that_systemd_would_not_find(source: str, line: bytes) -> None:
    steps = planned(host(envoy=Envoy(source, source, "1.40.0"))).steps
    (unit,) = [step for step in steps if isinstance(step, Write) and step.path == UNIT]
    assert line in unit.content


def test_the_configuration_is_never_overwritten() -> None:
    mine = host(present={places.CONFIG: "mine"})
    assert places.CONFIG not in [step.path for step in planned(mine).steps if isinstance(step, Write)]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (host(docker=docker(installed=False)), "install Docker first"),
        (host(envoy=None), "--envoy PATH"),
        (host(foreign=("envoy.service",)), "envoy.service is there already"),
        (host(docker=docker(flags={"userland-proxy": "false"})), "--userland-proxy=false"),
        (host(docker=docker(flags={"userland-proxy-path": "/x"})), "--userland-proxy-path=/x"),
        (host(docker=docker(settings=FileState(b'{"a":}'))), "daemon.json is not valid: line 1, column 6"),
        (host(docker=docker(settings=FileState(b"\xff"))), "byte 0 is no UTF-8"),
        (
            host(docker=docker(containers=(Container("tel", True, (Port("sctp", "::", 5, "tel"),)),))),
            "container tel publishes 5/sctp",
        ),
    ],
)
def test_where_it_cannot_go_well_it_does_not_begin(facts: Facts, told: str) -> None:
    with pytest.raises(Refused, match=told):
        planned(facts)


def test_a_flag_of_the_strict_way_is_in_the_way_of_it_only() -> None:
    flagged = host(docker=docker(flags={"iptables": "true", "userland-proxy": "true"}))
    assert planned(flagged).steps
    with pytest.raises(Refused, match="--iptables"):
        planned(flagged, strict=True)


@pytest.mark.parametrize("change", [{"swarm": True}, {"flags": {"live-restore": "false"}}])
def test_where_live_restore_cannot_be_borrowed_it_says_who_stops(change: dict[str, object]) -> None:
    found = switch(host(docker=docker(**change)))
    assert not found.borrow
    assert "restart Docker: web stop and start again; job stop and STAY STOPPED" in str(found)


def test_who_was_interrupted_while_live_restore_was_borrowed_gives_it_back() -> None:
    stock = host()
    plan = planned(stock)
    there, known = after(stock, plan)
    assert known.settings is not None and there.docker.settings is not None
    known.settings.borrowing, known.settings.waits = True, ""
    borrowed = put(there.docker.settings.content.decode(), "live-restore", True).encode()
    # As found after a power cut: dockerd has started with it.
    cut = replace(there, docker=replace(there.docker, settings=FileState(borrowed), live_restore=True))
    again = switch(cut, known)
    assert (again.after, again.borrow) == (there.docker.settings.content, True)
    back = uninstall(cut, known, restart_docker=True, purge=True)
    found, _ = after(cut, back)
    assert found.docker.settings is not None and found.docker.settings.content == SETTINGS.content


def test_what_others_change_after_such_an_interruption_stays_too() -> None:
    there, known = after(host(), planned(host()))
    assert known.settings is not None and there.docker.settings is not None
    known.settings.borrowing = True
    borrowed = put(there.docker.settings.content.decode(), "live-restore", True)
    edited = FileState(put(borrowed, "mtu", 1400).encode())
    cut = replace(there, docker=replace(there.docker, settings=edited, live_restore=True))
    again = switch(cut, known).after or b""
    assert json.loads(again) == json.loads(put(there.docker.settings.content.decode(), "mtu", 1400))
    found, _ = after(cut, uninstall(cut, known, restart_docker=True, purge=True))
    assert found.docker.settings is not None
    assert found.docker.settings.content == b'{"debug": true, "mtu": 1400}'


def test_ports_of_containers_that_stay_stopped_are_not_waited_for() -> None:
    (waits,) = [
        step for step in planned(host(docker=docker(swarm=True))).steps if isinstance(step, AwaitPorts)
    ]
    assert {port.container for port in waits.ports} == {"web"}


def test_live_restore_that_is_on_stays_untouched() -> None:
    found = switch(host(docker=docker(live_restore=True)))
    assert (found.borrow, found.stops) == (False, ())


def test_a_docker_that_does_not_run_is_not_started() -> None:
    stopped = host(docker=docker(process="", version="", containers=(), own_proxies=False))
    assert not switch(stopped).restart
    assert not planned(stopped).left


def test_an_installation_by_hand_is_taken_over() -> None:
    by_hand = FileState(f'{{"userland-proxy-path": "{places.FILE}"}}'.encode())
    there, known = after(host(), planned(host(docker=docker(settings=by_hand, own_proxies=False))))
    there = replace(there, docker=replace(there.docker, settings=by_hand))
    found, _ = after(there, uninstall(there, known, restart_docker=True, purge=True))
    assert found.docker.settings == FileState(b"{}")


def test_what_was_not_installed_is_not_uninstalled() -> None:
    with pytest.raises(Refused, match="nothing was installed"):
        uninstall(host(), None, restart_docker=True, purge=True)


def test_uninstall_needs_the_word_for_dockers_restart() -> None:
    there, known = after(host(), planned(host()))
    with pytest.raises(Refused, match="say --restart-docker"):
        uninstall(there, known, restart_docker=False, purge=True)


def test_only_what_was_made_is_removed() -> None:
    mine = host(user=True, group=True, envoy=Envoy("/usr/bin/envoy", "/usr/bin/envoy", "1.40.0"))
    there, known = after(mine, planned(mine))
    lines = "\n".join(map(str, uninstall(there, known, restart_docker=True, purge=False).steps))
    assert "user" not in lines and "/usr/bin/envoy" not in lines and places.CONFIG not in lines


@given(st.binary(max_size=40))
def test_a_record_that_is_broken_is_told_as_such(content: bytes) -> None:
    with pytest.raises(record.BadRecord):
        read(content)


def test_ports_are_named_once() -> None:
    assert WEB.ports[0] != WEB.ports[1]
    (line,) = [str(step) for step in planned(host()).steps if isinstance(step, AwaitPorts)]
    assert line.count("8080/tcp (web)") == 1


def test_where_docker_is_gone_its_settings_are_given_back_all_the_same() -> None:
    there, known = after(host(), planned(host()))
    gone = replace(there.docker, installed=False, process="", containers=())
    found, _ = after(there, uninstall(replace(there, docker=gone), known, restart_docker=False, purge=True))
    assert found.docker.settings == SETTINGS


def test_the_strict_rules_stay_while_nobody_knows_dockers_networks() -> None:
    there, known = after(host(), planned(host(), strict=True))
    stopped = replace(there.docker, process="", containers=(), networks=())
    again = planned(replace(there, docker=stopped), known, strict=True)
    assert not [step for step in again.steps if isinstance(step, Write) and step.path == places.RULES]
