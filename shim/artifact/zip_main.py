"""The ``__main__`` of the zip: every role but a proxy's start passes here.

It must parse and speak clearly on any Python 3, so: no syntax newer than 3.6.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - older ones do come here
    found = ".".join(str(number) for number in sys.version_info[:3])
    sys.exit(
        "envoy-docker-shim: needs Python 3.10 or newer, and python3 is " + found + " (" + sys.executable + ")"
    )

import os

BUILD = "@BUILD@"  # shiv's, by which it names what it unpacks
SHIV_OPTIONS = (
    "SHIV_ENTRY_POINT",
    "SHIV_CONSOLE_SCRIPT",
    "SHIV_FORCE_EXTRACT",
    "SHIV_INTERPRETER",
    "SHIV_MODULE",
)


def cache_directory():
    # type: () -> str
    """Where shiv unpacks: systemd's CacheDirectory=, the system's cache, or the user's."""
    given = os.environ.get("SHIV_ROOT") or os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return given
    if os.geteuid() == 0:
        return "/var/cache/envoy-docker-shim"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "envoy-docker-shim")


def trusted(path, itself=True):
    # type: (str, bool) -> bool
    """Whether only root and the user of this process can write there, or could have.

    A path that does not exist yet is judged by its parents.  ``path`` has no symbolic links in it.
    """
    while True:
        try:
            found = os.lstat(path)
        except OSError:
            pass
        else:
            # In a sticky directory, such as /tmp, no other user can rename this user's files.
            shut = not found.st_mode & 0o022 or (found.st_mode & 0o1000 and not itself)
            if found.st_uid not in (0, os.geteuid()) or not shut:
                return False
        if path == "/":
            return True
        itself, path = False, os.path.dirname(path)


def choose_root():
    # type: () -> str
    """Where to unpack to: the cache directory, or one beside it where that is another user's; "": nowhere."""
    given = os.path.realpath(cache_directory())
    for root in (given, given + "-" + str(os.geteuid())):
        if os.path.realpath(root) == root and trusted(root):
            return root
    return ""


def start(site_packages):
    # type: (str) -> None
    """Run with the libraries in this directory, or place inside the zip.  Does not return."""
    sys.path.insert(0, site_packages)
    from shim.__main__ import main

    sys.exit(main())


def run():
    # type: () -> None
    """Unpack if need be, and start.  Does not return."""
    within = os.path.join(sys.argv[0], "site-packages")
    root = choose_root()
    if not root:
        start(within)
    # Nearly always it is unpacked already, and then this saves the 50 ms that shiv's bootstrap takes: a
    # UDP port that is woken by a datagram waits for it.
    unpacked = os.path.join(
        root, os.path.basename(os.path.realpath(sys.argv[0])) + "_" + BUILD, "site-packages"
    )
    if os.path.isdir(unpacked):
        if not trusted(unpacked):
            start(within)
        if not any(name in os.environ for name in SHIV_OPTIONS):
            start(unpacked)
    # No other user may write what is unpacked.
    os.umask(os.umask(0o077) | 0o022)
    try:
        os.makedirs(root, mode=0o755, exist_ok=True)
        if not trusted(root):
            raise OSError("another user made it first")
        probe = os.path.join(root, ".write-test-" + str(os.getpid()))
        with open(probe, "wb") as file:
            file.write(b"x" * 4096)
        os.unlink(probe)
    except OSError:
        # No place to unpack to (a full disk, a read-only home): run out of the zip, only slower.
        start(within)
    os.environ["SHIV_ROOT"] = root
    from _bootstrap import bootstrap

    bootstrap()


run()
