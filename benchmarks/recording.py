"""What a program says to Redis, kept byte for byte and said again at the speed of C.

The ceiling of asyncq is found so: a worker's own conversation, with its own batches, is replayed
over one connection without waiting for answers. Redis is then never idle, and nothing else costs.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

_CHUNK = 1 << 18
# A replay must not wait, and must not change what its one connection is.
_LEFT_OUT = frozenset(
    b"AUTH BLMOVE BLPOP BRPOP BZPOPMIN CLIENT HELLO PSUBSCRIBE PUBLISH QUIT SELECT SUBSCRIBE"
    b" UNSUBSCRIBE WAIT XREAD".split()
)


@dataclass
class Recording:
    """Commands as they came, whichever connection they came by."""

    commands: list[bytes] = field(default_factory=list[bytes])

    def scripts(self) -> list[bytes]:
        """Those that run a script."""
        return [command for command in self.commands if command.split(b"\r\n", 3)[2] == b"EVALSHA"]

    def replay(self, port: int) -> float:
        """How many seconds it takes Redis to execute all of it."""
        return replay(self.commands, port)


def replay(commands: Iterable[bytes], port: int) -> float:
    """Says all commands without waiting for an answer in between; the seconds until the last."""
    end = uuid4().hex.encode()
    said = b"".join(commands) + b"*2\r\n$4\r\nECHO\r\n$32\r\n%s\r\n" % end
    with socket.create_connection(("127.0.0.1", port)) as connection:
        start = time.perf_counter()
        speaker = threading.Thread(target=connection.sendall, args=(said,))
        speaker.start()
        tail = b""
        while not tail.endswith(b"$32\r\n%s\r\n" % end):
            heard = connection.recv(_CHUNK)
            if not heard:
                raise ConnectionError("Redis ended the replay")
            tail = (tail + heard)[-64:]
        seconds = time.perf_counter() - start
        speaker.join()
    return seconds


@contextmanager
def recorded(port: int) -> Generator[tuple[int, Recording]]:
    """A port that leads to Redis, and what is said through it."""
    recording = Recording()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        doorman = threading.Thread(target=_admit, args=(listener, port, recording), daemon=True)
        doorman.start()
        yield listener.getsockname()[1], recording
        listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake who waits in accept
        doorman.join()


def _admit(listener: socket.socket, port: int, recording: Recording) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # closed: the recording is over
            return
        redis = socket.create_connection(("127.0.0.1", port))
        for side in (client, redis):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pump in (_listen, _answer):
            threading.Thread(target=pump, args=(client, redis, recording), daemon=True).start()


def _listen(client: socket.socket, redis: socket.socket, recording: Recording) -> None:
    unread = b""
    while heard := _receive(client):
        unread += heard
        place = 0
        while (end := _end_of_command(unread, place)) >= 0:
            command = unread[place:end]
            if command.split(b"\r\n", 3)[2].upper() not in _LEFT_OUT:
                recording.commands.append(command)  # atomic, and before Redis has it
            place = end
        unread = unread[place:]
        redis.sendall(heard)
    redis.close()


def _answer(client: socket.socket, redis: socket.socket, _: Recording) -> None:
    try:
        while heard := _receive(redis):
            client.sendall(heard)
    except OSError:  # the client has gone before its answer
        redis.close()
    client.close()


def _receive(peer: socket.socket) -> bytes:
    try:
        return peer.recv(_CHUNK)
    except OSError:  # the other direction has closed it
        return b""


def _end_of_command(data: bytes, start: int) -> int:
    """Where the command (an array of strings) that begins at `start` ends; -1 if not yet here."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return -1
    place = line + 2
    for _ in range(int(data[start + 1 : line])):
        line = data.find(b"\r\n", place)
        if line < 0:
            return -1
        place = line + 2 + int(data[place + 1 : line]) + 2
    return place if place <= len(data) else -1


def words(command: bytes) -> list[bytes]:
    """The strings of a recorded command."""
    found: list[bytes] = []
    place = command.index(b"\r\n") + 2
    while place < len(command):
        line = command.index(b"\r\n", place)
        size = int(command[place + 1 : line])
        found.append(command[line + 2 : line + 2 + size])
        place = line + 2 + size + 2
    return found
