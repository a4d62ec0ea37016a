"""What is fuzzed: each takes any bytes, and lets nothing out but what it promises.

A target that returns has dealt with its input: understood it, or refused it by its documented
error with a text. Everything else is a bug.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import typer.main

from asyncq import TaskState, cron
from asyncq._broker import codec
from asyncq._broker.url import masked, read_url
from asyncq.cli.failure import CommandError
from asyncq.cli.main import app
from asyncq.duration_text import parse_duration
from asyncq.option_text import quote, read_option_texts, unquote

NOW = datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC)
# The click that typer uses: its own, or the one that is installed.
_REFUSED: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
_COMMAND: Any = typer.main.get_command(app)


def _check(error: Exception) -> None:
    """An error says what is wrong; without any arguments the help does."""
    assert str(error) or type(error).__name__ == "NoArgsIsHelpError"


def _decoded(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes], data: bytes) -> None:
    try:
        record = decode(data)
    except codec.UndecodableError as error:
        _check(error)
        return
    # What was read can be written, and is the same when it is read again.
    assert decode(encode(record)) == record


def task(data: bytes) -> None:
    """A stored task: read, shown, written."""
    try:
        message = codec.decode_task(data)
    except codec.UndecodableError as error:
        _check(error)
        return
    codec.task_info(message, TaskState.PENDING, next_process_at=message.deadline)
    again = codec.decode_task(codec.encode_task(message))
    assert (again.id, again.type, again.payload) == (message.id, message.type, message.payload)


def server(data: bytes) -> None:
    """A server's record."""
    _decoded(codec.decode_server, codec.encode_server, data)


def worker(data: bytes) -> None:
    """A record of a running task."""
    _decoded(codec.decode_worker, codec.encode_worker, data)


def entry(data: bytes) -> None:
    """A scheduler's entry; its options are text of their own, which need not be written back."""
    try:
        codec.decode_scheduler_entry(data)
    except codec.UndecodableError as error:
        _check(error)


def event(data: bytes) -> None:
    """What a scheduler enqueued."""
    _decoded(codec.decode_enqueue_event, codec.encode_enqueue_event, data)


def url(data: bytes) -> None:
    """Where Redis is."""
    text = data.decode("utf-8", "surrogateescape")
    masked(text)
    try:
        address = read_url(text)
    except ValueError as error:
        _check(error)
        return
    assert address.where
    repr(address)


def cron_spec(data: bytes) -> None:
    """When something is due, and the next time."""
    try:
        schedule = cron.parse(data.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        _check(error)
        return
    after = schedule.next(NOW)
    assert after is None or after > NOW


def options(data: bytes) -> None:
    """Options as text, as schedulers show them."""
    read_option_texts(data.decode("utf-8", "surrogateescape").split("\n"))


def quoted(data: bytes) -> None:
    """A text between quotes."""
    text = data.decode("utf-8", "surrogateescape")
    assert unquote(quote(data)).encode("utf-8", "surrogateescape") == data
    try:
        unquote(text)
    except ValueError as error:
        _check(error)


def duration(data: bytes) -> None:
    """A length of time as Go writes it."""
    try:
        parse_duration(data.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        _check(error)


def arguments(data: bytes) -> None:
    """The arguments of the command line, as far as they are read before anything is done."""
    words = data.decode("utf-8", "replace").replace("\x00", "").split("\n")
    name, *rest = words
    command = _COMMAND.commands.get(name)
    try:
        if command is None:
            _COMMAND.make_context("asyncq", words, resilient_parsing=False)
        else:
            command.make_context(name, rest, resilient_parsing=False)
    except (_REFUSED, CommandError) as error:
        _check(error)
    except typer.Exit:
        pass  # --help, --version


TARGETS: dict[str, Callable[[bytes], None]] = {
    "task": task,
    "server": server,
    "worker": worker,
    "entry": entry,
    "event": event,
    "url": url,
    "cron": cron_spec,
    "options": options,
    "quoted": quoted,
    "duration": duration,
    "arguments": arguments,
}
CODEC = ("task", "server", "worker", "entry", "event")

_AT = b"\n\x02h1\x10\x05"
_STAMP = b"\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01\x10\x01"
_TASK_END = b"R\x04lock`\x3cr\x01gz\x06\n\x01k\x12\x01v"
_TASK = (
    b'\n\x01t\x12\x03abc\x1a\x02id"\x01q(\x190\x02:\x04boom@\x88\x0eH\x80\xb0\xc2\x06' + _TASK_END
)
_OPTIONS = b'*\x0cQueue("low")*\x0dTimeout(1m0s)'

SEEDS: dict[str, tuple[bytes, ...]] = {
    "task": (_TASK,),
    "server": (_AT + b"\x1a\x01s \x0a*\x05\n\x01q\x10\x010\x01:\x06activeB\x0d" + _STAMP,),
    "worker": (_AT + b'\x1a\x01s"\x01i*\x01t2\x01p:\x01qB\x0d' + _STAMP + b"J\x0d" + _STAMP,),
    "entry": (b'\n\x01e\x12\x09@every 1s\x1a\x01t"\x01p' + _OPTIONS + b"2\x0d" + _STAMP,),
    "event": (b"\n\x01i\x12\x0d" + _STAMP,),
    "url": (
        b"redis://user:p%40ss@[::1]:6379/3?timeout=1.5",
        b"rediss://h:1?ssl_ca_certs=x&ssl_cert_reqs=none",
        b"redis-sentinel://:p@h1:1,h2/2?master=m",
        b"redis-cluster://h1:1,h2:2",
        b"redis-socket://:p@/a/b?db=1",
        b"unix:///x/y?db=0",
        b"embedded://dir",
    ),
    "cron": (
        b"*/15 0-5,7 1 jan-mar mon-FRI",
        b"TZ=Europe/Berlin 30 2 * * *",
        b"CRON_TZ=Asia/Tokyo 0 9 */2 * ?",
        b"@every 1h2m3.5s",
        b"@weekly",
        b"0 0 29 2 *",
    ),
    "options": (
        b'Queue("low")\nMaxRetry(5)\nTimeout(1m30s)\nUnique(24h0m0s)\nTaskID("x")\nGroup("g\\n")',
        b"ProcessAt(Tue Nov 14 22:13:20 UTC 2023)\nDeadline(Tue Nov 14 22:13:20 CET 2023)",
        b"ProcessIn(1h0m0s)\nRetention(1us)",
    ),
    "quoted": (b'"a\\n\\x00\\u00fc\\U0001f600\\377"',),
    "duration": (b"1h2m3.5s", b"-1.5ms", b"9223372036854775807ns"),
    "arguments": (
        b"worker\ntasks:mux\n--concurrency\n10\n--queue\na=3\n-q\nb\n--log-level\ndebug",
        b"scheduler\nx.toml\n--dev",
        b"doctor\n--redis\nredis://h\n--acl\nworker\n--json",
        b"demo\ndir\n--redis\nx",
        b"--version",
    ),
}


class Mutator:
    """Changes seeds a little, joins them, or makes noise; the same for the same number."""

    def __init__(self, seeds: tuple[bytes, ...], number: int) -> None:
        self._random = Random(number)
        self._seeds = seeds

    def next(self) -> bytes:
        """The next input."""
        random = self._random
        draw = random.random
        if draw() < 0.03:
            return random.randbytes(int(draw() * 64))
        data = bytearray(self._seeds[int(draw() * len(self._seeds))])
        for _ in range(1 + int(draw() * draw() * 8)):
            at = int(draw() * (len(data) + 1))
            what = int(draw() * 6)
            if what == 0:
                del data[at:]
            elif what == 1:
                del data[at : at + 1 + int(draw() * 4)]
            elif what == 2:
                data[at:at] = data[int(draw() * (len(data) + 1)) :][:8]
            elif what == 3 and at < len(data):
                data[at] ^= 1 << int(draw() * 8)
            elif what == 4:
                data[at:at] = random.randbytes(1 + int(draw() * 4))
            elif at < len(data):
                data[at] = _ODD[int(draw() * len(_ODD))]
        return bytes(data)


_ODD = b'\x00\x7f\x80\xff0919-+.:,/*?#%@=&[]{}()"\\\n jAZz'
