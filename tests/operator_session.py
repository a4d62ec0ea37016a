"""Ten tasks of somebody who is woken at three in the morning, done in a real terminal:

    python -m nox -s operator                             # 80x24 and 140x40
    python -m nox -s operator -- --size 100x30 --only 3

Starts a Redis, a worker and a scheduler of its own, makes trouble, types the commands into tmux,
and prints what is seen, also as what `--json | python -c` makes of it. Ends with 1 if a screen
lacks what it should show. It needs tmux and bash, and takes about a minute for each size.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from commands import DEADLINE_S, Command
from redis_servers import RedisServer
from tmux import Tmux
from waiting import until

from asyncq import Client, Inspector, Task

PROGRAM = """
import asyncio

from asyncq import Scheduler, ServeMux, Server, ServerConfig, Task

mux = ServeMux()


@mux.handle("email:")
async def email(task: Task) -> None:
    user = task.json()["user_id"]
    if user % 7 == 0:
        raise ConnectionError("smtp.example.com: connection timed out")
    if user % 11 == 0:
        raise LookupError(f"no user {user}")


@mux.handle("report:")
async def report(task: Task) -> None:
    await asyncio.Event().wait()  # a bug: it never ends


def server() -> Server:
    queues = {"default": 2, "reports": 1}
    return Server(None, mux, ServerConfig(concurrency=4, queues=queues, retry_delay=lambda *_: 900))


scheduler = Scheduler()
scheduler.register("@every 1h", Task("report:hourly"), name="hourly-report", queue="reports")
scheduler.register("0 3 * * *", Task("cleanup:nightly"), name="nightly-cleanup", timeout=600)
"""
ENQUEUE = "asyncq task enqueue -t email:deliver --json-payload"
RUNAWAY = "5e1f0c1e-7d0e-4b8a-9d53-0f2a8b1c6d70"


@dataclass(frozen=True)
class Step:
    """One of the ten: what is typed, what has to be seen then, and the same for a program."""

    title: str
    typed: tuple[str, ...]
    seen: tuple[str, ...]
    json: str
    """A command, and after ` | ` the Python that makes lines of its JSON, which is `said`."""
    json_seen: str


STEPS = (
    Step(
        "Which queue is stuck, and why?",
        ("asyncq queue ls", "asyncq queue inspect default"),
        ("reports", "all 4 slots of its servers are busy", RUNAWAY, "archived, failed for good"),
        "asyncq queue inspect default --json | for note in said[0]['notes']: print(note['kind'])",
        "busy\nretrying\narchived",
    ),
    Step(
        "Who works on what?",
        ("asyncq server ls", "asyncq server ls --workers"),
        ("4/4", RUNAWAY, "report:yearly"),
        "asyncq server ls --json | for w in said[0]['active_workers']: print(w['queue'],"
        " w['task_type'])",
        "reports report:yearly\n" * 4,
    ),
    Step(
        "Stop a runaway task, for good",
        (f"asyncq task inspect {RUNAWAY}", f"asyncq task cancel --archive {RUNAWAY}"),
        ('"year": 2020', "of queue 'reports' is archived"),
        f"asyncq task inspect {RUNAWAY} --json | print(said[0]['state'], said[0]['last_error'])",
        "archived context canceled",
    ),
    Step(
        "Retry everything that failed with one error text",
        (
            "asyncq task ls -q default -s retry --size 4",
            "asyncq task runall -q default -s retry --error-contains 'no user' --dry-run",
            "asyncq task runall -q default -s retry --error-contains 'no user'",
        ),
        ("ConnectionError", "would be made pending", " made pending"),
        "asyncq task runall -q default -s retry --error-contains 'timed out' --json |"
        " print(said['count'] > 40, 'retried')",
        "True retried",
    ),
    Step(
        "Pause and resume",
        ("asyncq queue pause reports defualt", "asyncq queue ls", "asyncq queue resume reports"),
        ("queue 'reports' is paused", "did you mean 'default'?", "paused", "runs again"),
        "asyncq queue pause reports --json | print(said[0]['queue'], said[0]['changed'])",
        "reports True",
    ),
    Step(
        "Where is the task of user 17?",
        ("asyncq task ls -q default -s scheduled --payload-contains '\"user_id\":17'",),
        ("email:later", '{"user_id":17}'),
        "asyncq task ls -q default -s scheduled --payload-contains '\"user_id\":17' --json |"
        " for task in said: print(task['type'], json.loads(task['payload']))",
        "email:later {'user_id': 17}",
    ),
    Step(
        "Delete what failed for good",
        (
            "asyncq task ls -q default -s archived --size 4",
            "asyncq task deleteall -q default -s archived --type email:old < /dev/null",
            "asyncq task deleteall -q default -s archived --type email:old --yes",
        ),
        ("cannot be undone", "add --yes", "29 deleted"),
        "asyncq task deleteall -q default -s archived --yes --json | print(said['count'])",
        "0",
    ),
    Step(
        "What comes next by itself?",
        ("asyncq cron ls", "asyncq cron history hourly-report"),
        ("@every 1h", "0 3 * * *"),
        "asyncq cron ls --json | for entry in said: print(entry['name'], entry['spec'])",
        "nightly-cleanup 0 3 * * *",
    ),
    Step(
        "Enqueue by hand",
        (
            f"{ENQUEUE} '{{\"user_id\": 1}}' --process-in 1h",
            f"{ENQUEUE} '{{user_id: 1}}'",
        ),
        ("is in queue 'default': scheduled, due in", "is no JSON"),
        f"{ENQUEUE} '{{\"user_id\": 1}}' --process-in 1h --json |"
        " print(said['state'], said['payload'])",
        'scheduled {"user_id": 1}',
    ),
    Step(
        "What was done today?",
        ("asyncq queue history default -x 2", "asyncq stats"),
        ("Date (UTC)", "Error rate", "reports"),
        "asyncq stats --json | print([queue['queue'] for queue in said['queues']])",
        "['default', 'reports']",
    ),
)


async def make_trouble(url: str) -> None:
    """A queue with failures of two kinds, one of the dead, a later one, and all slots taken."""
    async with Client(url) as client, Inspector(client) as inspector:

        async def idle() -> bool:
            info = await inspector.queue_info("default")
            return not (info.pending or info.active)

        async def busy() -> bool:
            return sum(s.active_worker_count for s in await inspector.servers()) == 4

        mails = [Task("email:deliver", {"user_id": n, "template": "welcome"}) for n in range(400)]
        mails += [Task("email:old", {"user_id": 7 * n}, max_retry=0) for n in range(1, 30)]
        mails += [Task("email:later", {"user_id": n}, process_in=3600) for n in range(40)]
        await client.enqueue_many(mails)
        await until(idle, "the mails were sent", every_s=0.05)
        ids = (RUNAWAY, *(str(uuid4()) for _ in range(3)))
        await client.enqueue_many(
            Task("report:yearly", {"year": 2020 + n}, queue="reports", task_id=task_id)
            for n, task_id in enumerate(ids)
        )
        await until(busy, "the reports hang", every_s=0.05)
        await client.enqueue_many(
            Task("email:deliver", {"user_id": 1000 + n, "template": "tips"}) for n in range(120)
        )


@contextmanager
def night(directory: Path) -> Generator[str]:
    """A Redis with workers, a scheduler and trouble; its URL."""
    (directory / "tasks.py").write_text(PROGRAM)
    with ExitStack() as stack:
        url = stack.enter_context(RedisServer(tcp=True)).url
        env = {"ASYNCQ_REDIS_URL": url}
        for arguments in (("worker", "tasks:server"), ("scheduler", "tasks:scheduler")):
            stack.enter_context(Command(*arguments, cwd=directory, env=env))
        asyncio.run(make_trouble(url))
        yield url


class Shell:
    """A shell in a terminal; `type` returns what is seen when a command has ended."""

    def __init__(self, directory: Path, url: str, width: int, height: int) -> None:
        self._prompts = directory / "prompts"
        env = {
            "ASYNCQ_REDIS_URL": url,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PROMPT_COMMAND": f"PS1='$ '; printf . >> {self._prompts}",
        }
        command = ["bash", "--norc", "--noprofile"]
        self.tmux = Tmux(directory, width, height, command, env)
        self._wait_for(1)

    def type(self, *commands: str) -> str:
        """Typed into an empty terminal, one after the other."""
        self._enter("clear")
        for command in commands:
            self._enter(command)
        return self.tmux.screen

    def _enter(self, command: str) -> None:
        before = self._count()
        self.tmux.keys("-l", command)
        self.tmux.keys("Enter")
        self._wait_for(before + 1)

    def _wait_for(self, prompts: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self._count() < prompts or not self.tmux.screen.endswith("$"):
            assert time.monotonic() < deadline, f"it does not end:\n{self.tmux.screen}"
            time.sleep(0.02)

    def _count(self) -> int:
        return self._prompts.stat().st_size if self._prompts.exists() else 0


def filter_of(step: Step) -> str:
    """The command whose JSON a line of Python reads."""
    command, _, program = step.json.rpartition(" | ")
    quoted = program.replace("'", '"')
    return f"{command} | python -c 'import json, sys; said = json.load(sys.stdin)\n{quoted}'"


def session(width: int, height: int, wanted: Sequence[int]) -> bool:
    """All of it in a terminal of one size; whether each screen shows what it should."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with night(directory) as url:
            shell = Shell(directory, url, width, height)
            try:
                for number, step in enumerate(STEPS, 1):
                    if number not in wanted:
                        continue
                    print(f"\n--- {number}. {step.title} ({width}x{height})\n")
                    screens = [shell.type(command) for command in step.typed]
                    for screen in screens:
                        print(screen.removesuffix("\n$"))
                    good &= has("\n".join(screens), step.seen, width)
                    screen = shell.type(filter_of(step))
                    print(screen.removesuffix("\n$"))
                    good &= has(screen, (step.json_seen,), width)
            finally:
                shell.tmux.close()
    return good


def has(screen: str, texts: Sequence[str], width: int) -> bool:
    """Whether all of these are on the screen, wherever the terminal broke them."""
    plain = "".join(screen.split())
    missing = [text for text in texts if "".join(text.split()) not in plain]
    for text in missing:
        print(f"!!! not seen: {text!r}", file=sys.stderr)
    return not missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", metavar="COLUMNSxLINES")
    parser.add_argument("--only", action="append", type=int, metavar="N")
    given = parser.parse_args()
    wanted = given.only or range(1, len(STEPS) + 1)
    good = True
    for size in given.size or ["80x24", "140x40"]:
        width, height = map(int, size.split("x"))
        good &= session(width, height, wanted)
    sys.exit(not good)


if __name__ == "__main__":
    main()
