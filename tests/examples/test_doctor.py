"""What docs/operating.md says of `doctor` is what the table of checks says."""

from shim.core.doctor.checks import CHECKS
from shim.core.doctor.finding import Finding
from shim.core.doctor.report import Result, as_text
from tests.examples.documents import FENCE, PAGES, table_rows

PAGE = "docs/operating.md"


def test_the_table_of_checks_is_the_codes() -> None:
    assert table_rows(PAGE, "What doctor checks") == [[f"`{check.name}`", check.meaning] for check in CHECKS]


def test_the_example_is_as_it_is_printed() -> None:
    (shown,) = [block for _, block in FENCE.findall(PAGES[PAGE]) if block.startswith("x ")]
    finding, cure, summary = shown.splitlines()
    name, _, what = finding.removeprefix("x ").partition(": ")
    results = [Result(check.name) for check in CHECKS if check.name != name]
    results.append(Result(name, (Finding(what, cure.removeprefix("  -> ")),)))
    assert as_text(results).splitlines() == [finding, cure, summary]
