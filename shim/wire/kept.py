"""Where a registrar keeps the start-up path compiled for its host's Python, for the shims that start later.

The shipped file has byte code for one version of Python only, and to compile the rest takes as long as half a
start.  On the start-up path of every other Python: as shim.wire.words, this file is copied into the shipped
file's head.
"""

CACHE = "/var/cache/envoy-docker-shim"
CACHE_VARIABLE = "SHIV_ROOT"  # in the environment: another directory
PREFIX = "start-"


def kept_name(content: str, magic: str) -> str:
    """The file's name for a start-up path with this checksum, and for Pythons with this magic number."""
    return PREFIX + content + "-" + magic
