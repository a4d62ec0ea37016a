"""What log lines look like: for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

TASK_FIELDS = ("task_type", "task_id", "queue", "attempt")
"""What a log record of a task carries in `extra`."""

_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"}
"""The attributes of a record that nobody gave in `extra`."""

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


class LogFormat(StrEnum):
    """The values of `--log-format`."""

    HUMAN = "human"
    JSON = "json"


class LogLevel(StrEnum):
    """The values of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class HumanFormatter(logging.Formatter):
    """`12:04:31.207  info     message  task_type=email:deliver task_id=...`, then the message's
    other lines, then the traceback.

    `process` is the number of this worker process among several; 0 for the only one. A terminal
    gets colours; anything else, which somebody may read another day, the date.
    """

    def __init__(self, *, colour: bool = False, dated: bool = False, process: int = 0) -> None:
        super().__init__()
        self._colour = colour
        self._form = "%Y-%m-%d %H:%M:%S" if dated else "%H:%M:%S"
        self._process = f"#{process} " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of the exception below it."""
        when = datetime.fromtimestamp(record.created)  # noqa: DTZ006 - people read local time
        time = f"{when:{self._form}}.{when.microsecond // 1000:03}"
        level = record.levelname.lower()
        first, _, others = record.getMessage().partition("\n")
        line = "  ".join(
            part
            for part in (
                self._paint(time, "2"),
                self._paint(f"{level:8}", _COLOURS.get(level, "0")),
                f"{self._process}{_origin(record)}{first}",
                self._paint(_fields(record), "2"),
            )
            if part
        )
        return "\n".join(part for part in (line, others, *self._below(record)) if part)

    def _below(self, record: logging.LogRecord) -> list[str]:
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return [exception, stack]

    def _paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour and text else text


class JsonFormatter(logging.Formatter):
    """`ts` (UTC), `level`, `logger`, `message`, whatever `extra` held, `exception` as text; and
    `trace_id` and `span_id`, if a span of OpenTelemetry is current."""

    def __init__(self, *, process: int = 0) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object on one line."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process:
            line["process"] = self._process
        line |= _trace_ids()
        line |= {k: v for k, v in record.__dict__.items() if k not in _STANDARD and k not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)


def configure(
    log_format: LogFormat, level: str, *, process: int = 0, stream: TextIO | None = None
) -> None:
    """Sends the logs of the whole process to `stream` (stderr), and warnings to the logs.

    A program that configures logging itself while its target is imported has the last word.
    """
    output: TextIO = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(output)
    if log_format is LogFormat.JSON:
        handler.setFormatter(JsonFormatter(process=process))
    else:
        terminal = output.isatty()
        colour = terminal and not os.environ.get("NO_COLOR")
        handler.setFormatter(HumanFormatter(colour=colour, dated=not terminal, process=process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(True)
    # It announces every change that it sees, as does --reload.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """The least level of what is shown."""
    logging.getLogger().setLevel(level.upper())
    logging.getLogger("asyncq").setLevel(level.upper())


def is_json() -> bool:
    """Whether `configure` was called, for JSON."""
    return any(isinstance(h.formatter, JsonFormatter) for h in logging.getLogger().handlers)


def _trace_ids() -> dict[str, object]:
    """Of the span that is current where the record was made: it is formatted there and then."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:  # nobody traces here, and nothing of it is imported for a log line
        return {}
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


def _origin(record: logging.LogRecord) -> str:
    return "" if record.name == "asyncq" else f"[{record.name}] "


def _fields(record: logging.LogRecord) -> str:
    """What the message does not say already."""
    message = record.getMessage()
    given = [(name, getattr(record, name, None)) for name in TASK_FIELDS]
    return " ".join(
        f"{name}={value}"
        for name, value in given
        if value is not None and not (isinstance(value, str) and value in message)
    )
