"""The keeper of a development server: a small process that starts it and stops it in the end.

This file is run as a script, without the rest of asyncq, and imports the standard library only.
What the keeper shares with those who use the server is here too: the locks in its directory, and
the address of its socket.

Everything is decided by locks that the operating system takes back when a process dies, so that
no kill, at whatever point, leaves anything to clean up:

    start.lock    held while somebody starts the server, or the keeper stops it
    users.lock    shared by all who use the server; whoever gets it alone knows that there are none
    keeper.lock   held by the keeper, whose process id is in it
    server.lock   held by the keeper and the server: only when it is free may another one start,
                  since two of them would write the same files
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_TICK_S = 0.25


def keep(home: Path, grace: float, ready: int, arguments: Sequence[str]) -> None:
    """Runs the server until it ends, nobody uses it, or the keeper is told to stop (TERM).

    Closes the descriptor `ready` when the server is started, or is not going to be.
    """
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_stop.append(number))

    keeper, server = open_lock(home / "keeper.lock"), open_lock(home / "server.lock")
    if not take(keeper) or not take(server):
        return  # another one was faster; whoever started this one finds it
    os.ftruncate(keeper, 0)
    os.write(keeper, b"%d\n" % os.getpid())
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        pass_fds=[server],
        preexec_fn=_dying_with_its_parent(),  # noqa: PLW1509 - there are no threads here
    )
    os.close(ready)
    try:
        _watch(process, home, grace, told_to_stop)
    finally:
        _end(process)
        forget_address(home)


def _watch(
    process: subprocess.Popen[bytes], home: Path, grace: float, told_to_stop: list[int]
) -> None:
    """Returns when the server has ended, or should."""
    idle_since: float | None = None
    while process.poll() is None and not told_to_stop:
        time.sleep(_TICK_S)
        if not is_free(home / "users.lock"):
            idle_since = None
            continue
        idle_since = idle_since or time.monotonic()
        if time.monotonic() - idle_since >= grace and _nobody_comes(home):
            return


def _nobody_comes(home: Path) -> bool:
    """Whether there are still no users, and from now on newcomers wait for the keeper's end."""
    start = open_lock(home / "start.lock")
    if take(start) and is_free(home / "users.lock"):
        return True  # the lock stays with this process, which outlives the server
    os.close(start)
    return False


def _dying_with_its_parent() -> Callable[[], None] | None:
    """What the server's process does first, so that it is told to stop when the keeper is killed.

    Linux only. Elsewhere such a server runs until somebody starts one in the same directory.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # noqa: PLC0415 - only the keeper needs it, and this module has other users

    libc = ctypes.CDLL(None)
    keeper = os.getpid()
    pr_set_pdeathsig = 1

    def ask_for_the_signal() -> None:
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != keeper:
            os._exit(1)

    return ask_for_the_signal


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# Locks


def open_lock(path: Path) -> int:
    """A descriptor of the lock's file, made when missing. Closing it lets go of the lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def take(lock: int) -> bool:
    """Takes the lock for this process alone, unless somebody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share(lock: int) -> None:
    """Takes the lock together with others who share it."""
    fcntl.flock(lock, fcntl.LOCK_SH)


def release(lock: int) -> None:
    """Lets go of the lock, and closes its descriptor.

    Closing alone would not do: a process forked in the meantime has a copy of the descriptor.
    """
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def is_free(path: Path) -> bool:
    """Whether nobody has this lock."""
    lock = open_lock(path)
    if take(lock):
        release(lock)
        return True
    os.close(lock)
    return False


# The socket's address


def address(home: Path) -> str:
    """The path of the server's socket. `home/redis.sock` may be a link to where it is."""
    link = home / "redis.sock"
    return str(link.readlink() if link.is_symlink() else link)


def forget_address(home: Path) -> None:
    """Removes the link to a socket that is elsewhere, and the directory made for that one."""
    link = home / "redis.sock"
    if link.is_symlink():
        socket = link.readlink()
        link.unlink()
        with contextlib.suppress(OSError):  # who tidies up temporary files may have been faster
            socket.unlink(missing_ok=True)
            socket.parent.rmdir()


if __name__ == "__main__":
    # The keeper is nobody's child: whoever started it waits for this process, which leaves at once.
    if os.fork() == 0:
        keep(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
