"""Debian's own PostgreSQL in a container: its packages unpacked once, beside the image's busybox.

postgres.run(dockerd, "-p", "5432:5432", rules=f"host all all {Host.neighbour_ip}/32 trust")
postgres.ask(host.neighbour, Host.ip, 5432, "select 1")
"""

from pathlib import Path
from typing import Any

from .docker import Dockerd
from .engines import Missing, which
from .netns import Namespace
from .rootfs import BUILD, SUITE, made_once, mmdebstrap

PACKAGE = "postgresql-15"  # of SUITE
BIN = "/usr/lib/postgresql/15/bin"
# The server refuses to be root, and wants its user to have a name.
USER, PASSWD = "70:70", "root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\n"
SERVE = (
    f"{BIN}/initdb -D /data -U postgres -A trust --no-sync --locale=C >/dev/null &&"
    f' echo "$0" >/data/pg_hba.conf && exec {BIN}/postgres -D /data -h "*" -k "" -c fsync=off'
)


def tree() -> Path:
    """The packages, unpacked now if they are not there yet.  Raises Missing."""
    return made_once(BUILD / f"{PACKAGE.replace('-', '')}-{SUITE}", _make)


def run(dockerd: Dockerd, *options: str, rules: str, **kw: Any) -> str:
    """A server whose pg_hba.conf says these rules; it listens on 5432."""
    made = tree()
    folders = (f"--volume={made}/{name}:/{name}:ro" for name in ("usr", "lib", "lib64", "etc/passwd"))
    data = f"--tmpfs=/data:mode=0700,uid={USER.partition(':')[0]}"
    return dockerd.run(*folders, data, f"--user={USER}", *options, cmd=["sh", "-c", SERVE, rules], **kw)


def ask(source: Namespace, ip: str, port: int, sql: str) -> str:
    """What the server answers, as text.  Raises CommandError with what psql says."""
    url = f"postgresql://postgres@{ip}:{port}/postgres?connect_timeout=5"
    return source.run("chroot", tree(), f"{BIN}/psql", "-w", "-Atc", sql, url).strip()


def _make(target: Path) -> None:
    if which("mmdebstrap") is None:
        raise Missing("no mmdebstrap (Debian's package of that name)")
    mmdebstrap(target, ("--mode=root", "--variant=extract", f"--include={PACKAGE}"))
    (target / "etc/passwd").write_text(PASSWD)
