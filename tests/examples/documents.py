"""What is given to users: where it is, and the parts of the README that are checked."""

import re

from tests.harness.engines import ROOT

EXAMPLES = ROOT / "examples"
UNITS = ROOT / "contrib" / "systemd"
README = (ROOT / "README.md").read_text()
INSTALLED = "/usr/local/bin/envoy-docker-shim"
LABELS = ("ServiceName", "EnvironmentName", "ProxyMode")


def blocks(language: str) -> list[str]:
    """The README's code blocks in that language."""
    found: list[str] = re.findall(rf"^ *```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    return found


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return rows[2:]
