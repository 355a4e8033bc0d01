"""The layers' arrows, and the sizes of files: as shim/__init__.py and the style say."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIMIT, TEST_LIMIT = 300, 400  # lines of a file
FILES = sorted((ROOT / "shim").rglob("*.py"))
STDLIB = sys.stdlib_module_names

# Which room may import which: a room is a folder of shim, the last one is shim/__main__.py.  Its own it may
# always.  Read downwards, each imports only what stands above it.
CORE = {
    *("core", "core.discovery", "core.envoy", "core.docker", "core.leases", "core.firewall"),
    *("core.logs", "core.traces", "core.setup", "core.metrics", "core.ruleset", "core.doctor"),
    "core.traffic",
}
ARROWS: dict[str, set[str]] = {
    "wire": set(),
    "core": {"wire"},
    "core.discovery": {"core"},
    "core.envoy": {"core", "core.discovery"},
    "core.docker": {"core", "core.envoy"},
    "core.firewall": {"core"},
    "core.logs": set(),
    "core.traces": {"core.logs"},
    "core.setup": {"core"},
    "core.metrics": set(),
    "core.leases": {"core", "core.envoy", "core.discovery", "core.firewall"},
    "core.ruleset": set(),
    "core.doctor": {"wire", "core", "core.leases", "core.firewall", "core.ruleset"},
    "core.traffic": {"wire", "core", "core.leases", "core.logs"},
    "config": {"wire", "core", "core.envoy", "core.firewall"},
    "host": {"wire", "core", "core.logs"},
    "proxy": {"wire"},
    "relay": {"wire", "core", "proxy"},
    "page": set(),
    "registrar.firewall": {"core", "core.firewall"},
    "registrar": {"registrar.firewall", "wire", "host", "config", "page", "proxy", *CORE},
    "setup": {"wire", "host", "core.setup"},
    "doctor": {"wire", "host", "config", "proxy", "registrar", "registrar.firewall", *CORE},
    "commands": {"setup", "wire", "host", "config", "registrar", "registrar.firewall", "doctor", *CORE},
    "": {"proxy", "commands"},
    "artifact": {"", "wire", "host", "proxy"},
}
# What the start-up path may import: built in to a bare interpreter, on errors (syslog), for UDP (fcntl).
LIGHT = {"_signal", "_socket", "posix", "sys", "time", "syslog", "fcntl", "marshal"}
THIRD_PARTY = {
    "relay": {"trio"},
    "host": {"trio"},
    "config": {"yaml"},
    "registrar": {"trio", "h11", "httpx"},
    "setup": {"httpx"},
    "doctor": {"trio", "yaml"},
    "commands": {"trio", "h11", "httpx", "yaml"},
    "artifact": {"_bootstrap"},
}
# What does I/O or reads a clock has no place in the core.
IMPURE = {"asyncio", "io", "os", "pathlib", "random", "select", "signal", "socket", "subprocess", "tempfile"}
IMPURE |= {"threading", "time", "datetime", "logging", "secrets", "uuid", "http", "urllib"}


MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}


def room(module: str) -> str:
    """``core.leases`` for ``shim.core.leases.lease``, empty for ``shim.__main__``."""
    found = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return found.removeprefix("shim").removeprefix(".")


def imports(file: Path) -> Iterator[str]:
    """Every module that it imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            for name in node.names:
                yield f"{module}.{name.name}" if f"{module}.{name.name}" in MODULES else module


def all_imports(module: str, seen: set[str]) -> set[str]:
    """... and whatever that imports in turn; ``seen`` is added to."""
    for found in imports(MODULES[module]):
        if found not in seen:
            seen.add(found)
            if found in MODULES:
                all_imports(found, seen)
    return seen


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES)
def test_each_room_imports_only_what_the_table_says(module: str) -> None:
    here = room(module)
    for found in imports(MODULES[module]):
        if found in MODULES and found != "shim":  # shim itself is the version
            assert room(found) in {here, *ARROWS[here]}, found
        elif found != "shim":
            assert found.split(".")[0] in STDLIB | THIRD_PARTY.get(here.split(".")[0], set()), found


def test_the_table_has_no_circle() -> None:
    standing: set[str] = set()
    for here, others in ARROWS.items():
        assert others <= standing, here
        standing.add(here)
    assert standing == {room(module) for module in MODULES if module != "shim"} | {""}


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in {"wire", *CORE}])
def test_what_is_pure_reaches_no_io_and_no_clock_on_any_way(module: str) -> None:
    outside = {found.split(".")[0] for found in all_imports(module, set())} - {"shim"}
    assert outside <= STDLIB - IMPURE


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in ("wire", "proxy")])
def test_the_start_up_path_reaches_nothing_that_costs_time(module: str) -> None:
    assert {found for found in all_imports(module, set()) if not found.startswith("shim.")} <= LIGHT


def test_the_package_itself_imports_nothing() -> None:
    assert not list(imports(ROOT / "shim" / "__init__.py"))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text and text.splitlines()[0].strip()


def public_definitions(body: list[ast.stmt], of: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[0] != "_":
            yield f"{of}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{node.name}.")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_public_definition_says_what_it_is(file: Path) -> None:
    for name, node in public_definitions(ast.parse(file.read_text()).body):
        assert isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        assert ast.get_docstring(node), name


PAGE_FILES = sorted(file for file in (ROOT / "shim" / "page").iterdir() if file.suffix in (".js", ".css"))


@pytest.mark.parametrize("file", [*FILES, *PAGE_FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=name_of)
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    lines = file.read_text().count("\n")
    assert lines <= (TEST_LIMIT if "tests" in file.relative_to(ROOT).parts else LIMIT)


# -- bench, examples and tests ----------------------------------------------------------------------------

# What bench, examples and each folder of tests may import of all that is here, beside its own; "tests" is the
# files at its top.  What several need is in the harness, which knows nothing of shim and runs the built file.
HARNESS = {"tests.harness", "tests.conftest"}
UNITS = {"shim", "tests.builders", *HARNESS}  # all that have no row: the tests of one of shim's rooms
ROOMS = {
    "bench": {"shim", "tests.harness"},
    "examples": {"shim"},
    "tests.harness": set(),
    "tests.demo": {"tests.harness"},
    "tests.bench": {"bench"},
    "tests.boards": {"examples.boards", "shim", "tests.examples", *HARNESS},
    "tests.artifact": HARNESS,
    "tests.commands": {"shim.commands", *HARNESS},
    "tests.docker": {"shim", *HARNESS},
    "tests.examples": {"shim", *HARNESS},
    "tests.machine": {*HARNESS, "tests.examples.documents"},  # what the pages say is done there
    "tests.matrix": {"tests.harness"},
    "tests.soak": {"shim", *HARNESS},
    "tests.registrar": {*UNITS, "tests.core"},  # any table, whole or by steps
    "tests.fuzz": {*UNITS, "tests.core", "tests.registrar"},  # it drives what those tests drive
}
TOOLS = sorted(file for top in ("bench", "examples") for file in (ROOT / top).rglob("*.py"))
OUTSIDE = [*TOOLS, *sorted((ROOT / "tests").rglob("*.py"))]


def outer_room(file: Path) -> str:
    """ "bench", "examples", "tests" for the files at its top, or "tests." and the folder."""
    top, *folders = file.relative_to(ROOT).parent.parts
    return ".".join((top, *folders[:1])) if top == "tests" else top


def imported(file: Path) -> Iterator[str]:
    """Every name that a file imports, in full also where it is imported relatively."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield from (".".join((*base, *filter(None, [node.module]), name.name)) for name in node.names)


@pytest.mark.parametrize("file", OUTSIDE, ids=name_of)
def test_bench_and_tests_share_the_harness_and_little_else(file: Path) -> None:
    here = outer_room(file)
    # A folder's own files always; the files at the top of tests are not a folder's.
    allowed = {here} if here != "tests" else set()
    allowed |= ROOMS.get(here, UNITS)
    for name in imported(file):
        if name.split(".")[0] in ("shim", "tests", "bench", "examples"):
            assert any(f"{name}.".startswith(f"{prefix}.") for prefix in allowed), name


def test_every_row_is_of_a_room_that_is_there() -> None:
    assert ROOMS.keys() <= {outer_room(file) for file in OUTSIDE}


@pytest.mark.parametrize("file", TOOLS, ids=name_of)
def test_a_file_of_bench_or_examples_can_be_read_in_one_go(file: Path) -> None:
    assert file.read_text().count("\n") <= LIMIT
