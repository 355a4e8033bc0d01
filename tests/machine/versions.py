"""The built file as another version: what an upgrade brings."""

import io
import json
import re
import zipfile
from pathlib import Path

VERSION_FILE = "site-packages/shim/__init__.py"


def as_version(artifact: Path, version: str) -> bytes:
    """The same file with another version, of as many characters, and another build's name."""
    content = artifact.read_bytes()
    with zipfile.ZipFile(artifact) as old:
        build = json.loads(old.read("environment.json"))["build_id"].encode()
        found = re.search(rb'__version__ = "(.*)"', old.read(VERSION_FILE))
        assert found is not None and len(found[1]) == len(version)
        head = content[: min(info.header_offset for info in old.infolist())]
        buffer = io.BytesIO(head.replace(found[1], version.encode()))
        buffer.seek(0, io.SEEK_END)
        with zipfile.ZipFile(buffer, "a") as new:
            for info in old.infolist():
                # It is unpacked under its build's name.
                data = old.read(info).replace(build, build[::-1])
                if info.filename == VERSION_FILE:
                    data = data.replace(found[1], version.encode())
                new.writestr(info, data)
    return buffer.getvalue()
