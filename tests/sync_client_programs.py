"""Programs for test_sync_client: what a web server and a script do with a `SyncClient`.

python sync_client_programs.py NAME URL QUEUE
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from asyncq import SyncClient, Task


def ends_without_close(url: str, queue: str) -> None:
    client = SyncClient(url)
    say(client.enqueue(Task("t"), queue=queue).id)


def ends_while_another_thread_waits(url: str, queue: str) -> None:
    client = SyncClient(url)
    info = client.enqueue(Task("t"), queue=queue, retention=60)
    threading.Thread(target=client.wait, args=(info,), daemon=True).start()
    say(info.id)


def forks(url: str, queue: str) -> None:
    """As a pre-forking web server: made and used before, used by all children and the parent."""
    client = SyncClient(url)
    client.enqueue(Task("t", "before"), queue=queue)
    children = []
    for n in range(4):
        child = os.fork()
        if child == 0:
            for k in range(20):
                client.enqueue(Task("t", f"child {n} {k}"), queue=queue)
            if n % 2:
                client.close()
                client.close()
            sys.stdout.flush()
            os._exit(0) if n == 0 else sys.exit(0)
        children.append(child)
        client.enqueue(Task("t", f"parent {n}"), queue=queue)
    for child in children:
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))
    client.enqueue(Task("t", "after"), queue=queue)
    client.close()


def forks_while_threads_enqueue(url: str, queue: str) -> None:
    """The lock and the loop may be held by threads that are not in the child."""
    client = SyncClient(url)
    stop = threading.Event()

    def enqueue() -> None:
        while not stop.is_set():
            client.enqueue(Task("t"), queue=queue + "busy")

    threads = [threading.Thread(target=enqueue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            client.enqueue(Task("t", "child"), queue=queue)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))
    stop.set()
    for thread in threads:
        thread.join()
    client.close()


def is_interrupted(url: str, queue: str) -> None:
    # As at a terminal; what a shell starts in the background is to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = SyncClient(url)
    info = client.enqueue(Task("t"), queue=queue, retention=60)
    say(info.id)
    try:
        client.wait(info)
    except KeyboardInterrupt:
        # Usable afterwards, and nothing of the wait is left.
        client.enqueue(Task("t"), queue=queue)
        client.close()
        say("interrupted")


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, name, url, queue = sys.argv
    globals()[name](url, queue)
