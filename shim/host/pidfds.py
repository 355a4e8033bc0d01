"""Copies of what other processes have open: pidfd_getfd(2), for which Python has no function."""

import errno
import functools
import os
from collections.abc import Callable

_SYS_PIDFD_GETFD = 438  # on every architecture


def copy_of(pid: int, fd: int) -> int:
    """A new descriptor for what another process has open.  It is the same open file: options act on both.

    Raises OSError; NotImplementedError: in a sandbox, or a kernel before 5.6.
    """
    syscall = _syscall()
    process = os.pidfd_open(pid)
    try:
        copy = syscall(_SYS_PIDFD_GETFD, process, fd, 0)
        code = _errno() if copy < 0 else 0
    finally:
        os.close(process)
    if copy >= 0:
        return copy
    if code == errno.ENOSYS:
        raise NotImplementedError
    raise OSError(code, os.strerror(code))


@functools.cache
def _syscall() -> Callable[..., int]:
    try:
        # Only where it is needed; it fails to load in some sandboxes.
        import ctypes

        found: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
    except (ImportError, MemoryError, OSError):
        raise NotImplementedError from None
    return found


def _errno() -> int:
    import ctypes

    return ctypes.get_errno()
