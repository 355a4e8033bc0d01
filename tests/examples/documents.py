"""What is given to users: where it is, and the parts of README and docs/ that are checked."""

import re
import textwrap

from shim.core.docker import labels
from tests.harness.engines import ROOT

EXAMPLES = ROOT / "examples"
UNITS = ROOT / "contrib" / "systemd"
LOGROTATE = ROOT / "contrib" / "logrotate" / "envoy"
INSTALLED = "/usr/local/bin/envoy-docker-shim"
LABELS = tuple(label.name for label in labels.LABELS)

README = "README.md"
# Every page by its path from the root of the project.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / README, *sorted((ROOT / "docs").glob("*.md")))
}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(language: str, page: str | None = None) -> list[str]:
    """The code blocks in that language, of one page or of all."""
    texts = PAGES.values() if page is None else [PAGES[page]]
    return [block for text in texts for found, block in FENCE.findall(text) if found == language]


def section_fences(page: str, heading: str) -> list[tuple[str, str]]:
    """(language, block) of the code blocks below a heading and above the next one of its level, in order."""
    (level,) = re.findall(rf"^(#+) {re.escape(heading)}$", PAGES[page], re.MULTILINE)
    section = PAGES[page].split(f"{level} {heading}\n", 1)[1].split(f"\n{level} ", 1)[0]
    return [(language, textwrap.dedent(block)) for language, block in FENCE.findall(section)]


def prose(page: str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", PAGES[page])


def tables(page: str, heading: str) -> list[list[list[str]]]:
    """The tables below a heading and above the next one, each as rows of cells, without its head.

    Every row has as many cells as its table's head.
    """
    (section,) = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", prose(page), re.DOTALL | re.MULTILINE
    )
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        assert all(len(row) == len(rows[0]) for row in rows), (page, heading)
        found.append(rows[2:])
    return found


def table_rows(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    return tables(page, heading)[0]


def first_cells(page: str, heading: str) -> list[str]:
    """What is in backticks in the first column of the first table below a heading."""
    return [name for row in table_rows(page, heading) for name in re.findall(r"`([^`]+)`", row[0])]
