"""README and docs/ hang together: every link leads somewhere, and every page is found."""

import posixpath
import re
from collections import Counter

import pytest

from tests.examples.documents import PAGES, README, prose
from tests.harness.engines import ROOT

# A newcomer reads this many, and no more; what is over belongs to a page in docs/.
README_WORDS = 1500

LINK = re.compile(r"\]\(([^)\s]+)\)")
CHANGELOG = "CHANGELOG.md"


def links(page: str) -> list[tuple[str, str]]:
    """The links of a page that stay inside the project: (path from the root, anchor or "")."""
    found = []
    for target in LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            there = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            found.append((there, anchor))
    return found


def anchors(page: str) -> set[str]:
    """What GitHub makes of the headings of a page."""
    times: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_anchor_leads_somewhere(page: str) -> None:
    for path, anchor in links(page):
        assert (ROOT / path).exists(), path
        if anchor:
            assert anchor in anchors(path), f"{path}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    for target in re.findall(
        r"`((?:examples|contrib|tests|shim|bench|docs|dist|\.ci)/[\w./-]+)`", PAGES[page]
    ):
        assert target.startswith("dist/") or (ROOT / target).exists(), target


def test_the_map_of_the_tree_is_the_tree() -> None:
    map_of_the_tree = PAGES["docs/developing.md"].split("```")[1]
    for line in map_of_the_tree.strip().splitlines():
        folders = re.findall(r"(?:^|(?<= ))[\w/]+/(?= )", line.split("  ")[0] + " ")
        assert folders, line
        for folder in folders:
            assert (ROOT / folder).is_dir(), folder


def test_the_readme_stays_short() -> None:
    assert len(PAGES[README].split()) < README_WORDS


def test_every_page_is_linked_from_the_readme() -> None:
    assert {page for page in PAGES if page != README} <= {path for path, _ in links(README)}


def test_the_changelog_is_linked_from_the_readme() -> None:
    assert (CHANGELOG, "") in links(README)


def test_a_broken_anchor_would_be_seen() -> None:
    assert "while-something-is-down" in anchors("docs/operating.md")
    assert "while-something-is-up" not in anchors("docs/operating.md")
