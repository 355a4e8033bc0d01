"""Debian's own servers in containers, and their own clients: the packages unpacked once, beside the busybox.

services.run(dockerd, services.MARIADB, "-p", "3306:3306")
services.ask(host.neighbour, services.MARIADB, Host.ip, 3306)
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .docker import Dockerd
from .engines import Missing, which
from .netns import Namespace, tool_env
from .netns import run as run_program
from .rootfs import BUILD, SUITE, made_once, mmdebstrap

PACKAGES = (
    "redis-server",
    "mariadb-server-core",
    "mariadb-client-core",
    "nginx-light",
    "openssh-server",
    "openssh-client",
    "exim4-daemon-light",
    "curl",
)
OPTIONS = (
    "--variant=extract",
    f"--include={','.join(PACKAGES)}",
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
)
# The packages' scripts did not run, and these servers want users with names.
USERS = list(enumerate(["root", "sshd", "www-data", "Debian-exim", "mysql"]))
PASSWD = "".join(f"{name}:x:{number}:{number}::/tmp:/bin/sh\n" for number, name in USERS)
GROUP = "".join(f"{name}:x:{number}:\n" for number, name in USERS)
FOLDERS = ("usr", "lib", "lib64", "keys", "etc/passwd", "etc/group")

NGINX_FILE = (
    "daemon off; user root; pid /tmp/pid; error_log stderr; events {} http { access_log off;"
    " server { listen 80; location / { return 200 hello; } } }"
)
EXIM_FILE = (
    "primary_hostname = mail.test\nspool_directory = /tmp/spool\nlog_file_path = /tmp/spool/%slog\n"
    "keep_environment =\nrfc1413_query_timeout = 0s\n"
    "acl_smtp_rcpt = all\nbegin acl\nall:\n accept\n"
    "begin routers\nnowhere:\n driver = redirect\n data = :blackhole:\n"
)
SSHD = "-o HostKey=/keys/host -o AuthorizedKeysFile=/keys/client.pub -o StrictModes=no -o UsePAM=no"
SSH = "-i /keys/client -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


class Service(NamedTuple):
    """A server's shell line in its container; a client's words, with {ip} and {port}, and its answer."""

    serve: str
    ask: str
    answer: str


REDIS = Service(
    "exec redis-server --protected-mode no --save ''", "redis-cli -h {ip} -p {port} ECHO hello", "hello"
)
MARIADB = Service(
    "mkdir /tmp/data && exec mariadbd --no-defaults --user=root --datadir=/tmp/data --socket=/tmp/socket"
    " --skip-grant-tables --skip-name-resolve --port=${PORT-3306}",
    "mariadb --no-defaults -h {ip} -P {port} -Ne SELECT'hello'",
    "hello",
)
NGINX = Service(
    f"echo '{NGINX_FILE}' >/tmp/conf && mkdir -p /var/log/nginx /var/lib/nginx && exec nginx -c /tmp/conf",
    "curl -sS http://{ip}:{port}/",
    "hello",
)
SSHD_SERVER = Service(
    f"mkdir -p /run/sshd && exec /usr/sbin/sshd -De -f /dev/null {SSHD}",
    f"ssh {SSH} -p {{port}} root@{{ip}} echo hello",
    "hello",
)
EXIM = Service(
    f"echo '{EXIM_FILE}' >/tmp/conf && mkdir -m 777 /tmp/spool && exec exim4 -C /tmp/conf -bdf -oX 25",
    "curl -sS smtp://{ip}:{port}/client.test --mail-from a@b.test --mail-rcpt c@d.test -T /keys/client.pub",
    "",
)


def tree() -> Path:
    """The packages, unpacked now if they are not there yet.  Raises Missing."""
    recipe = hashlib.sha256(repr((SUITE, OPTIONS, USERS)).encode()).hexdigest()[:12]
    return made_once(BUILD / f"services-{recipe}", _make)


def run(dockerd: Dockerd, service: Service, *options: str, **kw: Any) -> str:
    """The container of this server; it listens on its usual port some moments later."""
    made = tree()
    folders = (f"--volume={made}/{name}:/{name}:ro" for name in FOLDERS)
    path = "--env=PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    return dockerd.run(*folders, path, *options, cmd=["sh", "-c", service.serve], **kw)


def ask(source: Namespace, service: Service, ip: str, port: int) -> str:
    """What its own client answers.  Raises CommandError with what that says."""
    words: Sequence[str] = [word.format(ip=ip, port=port) for word in service.ask.split()]
    return source.run("chroot", tree(), *words).strip()


def _make(target: Path) -> None:
    if which("mmdebstrap") is None:
        raise Missing("no mmdebstrap (Debian's package of that name)")
    mmdebstrap(target, OPTIONS)
    (target / "etc/passwd").write_text(PASSWD)
    (target / "etc/group").write_text(GROUP)
    (target / "keys").mkdir()
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/keys/{name}"]
        run_program(["chroot", target, *words], env=tool_env())
