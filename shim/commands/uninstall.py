"""``envoy-docker-shim uninstall``: takes away what ``install`` made, and gives Docker its own proxy back."""

from argparse import ArgumentParser

from shim.commands.common import complain, configuration, parser
from shim.commands.setup import agreed, cannot_run, doing, done, show
from shim.core.setup.settings import Refused
from shim.core.setup.unplan import uninstall
from shim.setup.look import look, read_record
from shim.setup.tools import SetupError


def arguments() -> ArgumentParser:
    """Its parser."""
    made = parser(
        "uninstall",
        "Take away what install made, and give Docker its own proxy back.",
        "uninstall --yes --restart-docker --purge",
        config=False,
    )
    made.add_argument("--yes", action="store_true", help="do it without a question")
    made.add_argument("--dry-run", action="store_true", help="only show what would be done")
    made.add_argument(
        "--restart-docker",
        action="store_true",
        help="restart Docker too; containers live on (not with Swarm)",
    )
    made.add_argument("--purge", action="store_true", help="the configuration and the cache too")
    return made


def main(args: list[str]) -> int:
    """Uninstall.  0 when all is gone, 1 when not, 2 for bad usage."""
    options = arguments().parse_args(args)
    if cannot_run("uninstall"):
        return 1
    config = configuration(None)
    try:
        record = read_record()
        facts = look("/proc/self/exe", None, (), record)
        plan = uninstall(facts, record, restart_docker=options.restart_docker, purge=options.purge)
    except (SetupError, Refused, OSError) as error:
        complain(f"uninstall: {error}")
        return 1
    show(plan, "envoy-docker-shim is going to:")
    if options.dry_run:
        return 0
    answer = agreed(options.yes, "uninstall")
    if not answer:
        return 2 if answer is None else 1
    return 0 if done(doing(plan, config).uninstall, plan, "uninstall") else 1
