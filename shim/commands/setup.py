"""What `install` and `uninstall` share: who may run them, and the question before."""

import os
import signal
import sys
from collections.abc import Callable, Iterable

import trio

from shim.commands.common import complain, read_api
from shim.config.keys import Config
from shim.core.setup.plan import Plan
from shim.core.setup.steps import Step
from shim.registrar.firewall.by_hand import clear
from shim.registrar.firewall.programs import ProgramError, Programs
from shim.setup.doing import Doing
from shim.setup.look import systemd_runs
from shim.setup.tools import SetupError


def cannot_run(verb: str) -> bool:
    """Whether this is no place for it; says why."""
    if os.geteuid() != 0:
        complain(f"{verb} changes what is root's: run it as root")
        return True
    if not systemd_runs():
        complain(f"{verb} is for hosts with systemd; without it, see `envoy-docker-shim up --help`")
        return True
    return False


def show(plan: Plan, title: str) -> None:
    """The plan, a line for each step."""
    print(title)
    for number, step in enumerate(plan.steps, 1):
        print(f"  {number}. {step}")
    for note in plan.notes:
        print(f"  ! {note}")


def agreed(yes: bool, verb: str) -> bool | None:
    """The user's answer; None where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain(f"{verb} does this only after --yes, or when asked on a terminal; --dry-run only shows it")
        return None
    try:
        return input("Do this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def doing(plan: Plan, config: Config) -> Doing:
    """Who does it, with this configuration's registrar and table."""

    def clear_table() -> None:
        try:
            trio.run(clear, Programs(), config.keeping)
        except ProgramError as error:
            raise SetupError(str(error)) from None

    return Doing(plan.record, lambda: read_api(config.api_address, "/status"), clear_table, _say)


def done(act: Callable[[Iterable[Step]], None], plan: Plan, verb: str) -> bool:
    """Do all of the plan; whether it worked.  Signals that end a program interrupt it, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        act(plan.steps)
    except (SetupError, OSError) as error:
        complain(f"{verb} failed: {error}")
        return False
    except KeyboardInterrupt:
        complain(f"{verb} was interrupted")
        return False
    return True


def _say(line: str) -> None:
    print(f"  {line}", flush=True)
