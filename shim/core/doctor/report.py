"""All checks made, and what they found, for people and for programs."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from shim.core.doctor.checks import CHECKS
from shim.core.doctor.facts import CannotTell, Facts
from shim.core.doctor.finding import Check, Finding

OK, FOUND, UNKNOWN = "ok", "found", "unknown"


class Result(NamedTuple):
    """What one check came to: findings, or else ``why`` it could not be made, or neither."""

    name: str
    findings: tuple[Finding, ...] = ()
    why: str = ""

    @property
    def state(self) -> str:
        """One of the three words."""
        return FOUND if self.findings else UNKNOWN if self.why else OK


def examine(facts: Facts, checks: Iterable[Check] = CHECKS) -> list[Result]:
    """Make every check."""
    return [_made(check, facts) for check in checks]


def _made(check: Check, facts: Facts) -> Result:
    findings: list[Finding] = []
    why = ""
    try:
        # One by one: what was found before a CannotTell counts.
        findings.extend(check.look(facts))
    except CannotTell as error:
        why = str(error)
    return Result(check.name, tuple(findings), why)


def healthy(results: Iterable[Result]) -> bool:
    """Whether every check was made and found nothing."""
    return all(result.state == OK for result in results)


def as_text(results: list[Result]) -> str:
    """Two lines for each finding, one for each reason why checks could not be made, and a summary."""
    lines = []
    for result in results:
        for finding in result.findings:
            lines += [f"x {result.name}: {finding.what}", f"  -> {finding.cure}"]
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.why:
            reasons.setdefault(result.why, []).append(result.name)
    lines += [f"? not checked: {', '.join(names)}: {why}" for why, names in reasons.items()]
    found = sum(bool(result.findings) for result in results)
    unknown = sum(bool(result.why) for result in results)
    summary = f"{found} found something" if found else "nothing found"
    if unknown:
        summary += f", {unknown} could not be made" + ("" if found else " (root may see more)")
    lines.append(f"{len(results)} checks: {summary}")
    return "\n".join(lines)


def as_json(results: list[Result]) -> dict[str, Any]:
    """The same for programs (docs/operating.md)."""
    return {
        "healthy": healthy(results),
        "checks": [
            {
                "name": result.name,
                "state": result.state,
                "findings": [finding._asdict() for finding in result.findings],
                "why": result.why,
            }
            for result in results
        ],
    }
