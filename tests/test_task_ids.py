"""Ids of new tasks: valid, all different, also in threads and forked children."""

from __future__ import annotations

import os
import threading
from uuid import UUID

import pytest

from asyncq._task_ids import new_task_id


def test_ids_are_random_uuids_of_version_4() -> None:
    ids = [new_task_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    for task_id in ids:
        read = UUID(task_id)
        assert str(read) == task_id
        assert read.version == 4
        assert read.variant == "specified in RFC 4122"
    # All bits but the six fixed ones come out both ways.
    ones, all_of_them = 0, (1 << 128) - 1
    zeros = 0
    for task_id in ids:
        ones |= UUID(task_id).int
        zeros |= ~UUID(task_id).int & all_of_them
    assert (ones & zeros).bit_count() == 122


def test_threads_never_get_the_same_id() -> None:
    found: list[list[str]] = []

    def make() -> None:
        found.append([new_task_id() for _ in range(2000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({task_id for ids in found for task_id in ids}) == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_makes_ids_of_its_own() -> None:
    new_task_id()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, " ".join(new_task_id() for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(reading, 10_000).decode().split()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 20
    assert not set(theirs) & {new_task_id() for _ in range(200)}
