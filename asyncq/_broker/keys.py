"""Every name asyncq uses in Redis, one function each.

The first part is asynq's (wire format, section 2). The second is ours: keys
`asyncq:{<queue>}:...`, in the slot of their queue and outside asynq's namespace.

The scripts also write fields of ours into the hash of a task, which asynq keeps untouched:

    asyncq_claim      the token of the dequeue that holds the task: the fence of every later write
    asyncq_call       the token of the enqueue call that stored a task under a caller's own id
    asyncq_group      the group a task joins once its time has come; asynq's own `group` would hide
                      it there
    asyncq_recovered  how often the task was recovered from a worker that vanished
    asyncq_waited     present when a client waits for the task's end
    asyncq_parked     why an undecodable message was set aside among the archived
"""

from __future__ import annotations

from hashlib import md5

QUEUES = "asynq:queues"
SERVERS = "asynq:servers"
WORKERS = "asynq:workers"
SCHEDULERS = "asynq:schedulers"
CANCEL_CHANNEL = "asynq:cancel"


def queue_prefix(queue: str) -> str:
    return f"asynq:{{{queue}}}:"


def pending(queue: str) -> str:
    return f"asynq:{{{queue}}}:pending"


def active(queue: str) -> str:
    return f"asynq:{{{queue}}}:active"


def lease(queue: str) -> str:
    return f"asynq:{{{queue}}}:lease"


def scheduled(queue: str) -> str:
    return f"asynq:{{{queue}}}:scheduled"


def retry(queue: str) -> str:
    return f"asynq:{{{queue}}}:retry"


def archived(queue: str) -> str:
    return f"asynq:{{{queue}}}:archived"


def completed(queue: str) -> str:
    return f"asynq:{{{queue}}}:completed"


def paused(queue: str) -> str:
    return f"asynq:{{{queue}}}:paused"


def task_prefix(queue: str) -> str:
    return f"asynq:{{{queue}}}:t:"


def task(queue: str, task_id: str) -> str:
    return f"asynq:{{{queue}}}:t:{task_id}"


def processed(queue: str) -> str:
    return f"asynq:{{{queue}}}:processed"


def failed(queue: str) -> str:
    return f"asynq:{{{queue}}}:failed"


def processed_on(queue: str, day: str) -> str:
    """`day` is a UTC date, YYYY-MM-DD."""
    return f"asynq:{{{queue}}}:processed:{day}"


def failed_on(queue: str, day: str) -> str:
    """`day` is a UTC date, YYYY-MM-DD."""
    return f"asynq:{{{queue}}}:failed:{day}"


def unique(queue: str, task_type: str, what: bytes | None) -> str:
    """The uniqueness lock; `what` is the payload (None: absent) or the caller's unique key."""
    suffix = "" if what is None else md5(what, usedforsecurity=False).hexdigest()
    return f"asynq:{{{queue}}}:unique:{task_type}:{suffix}"


def groups(queue: str) -> str:
    return f"asynq:{{{queue}}}:groups"


def group_prefix(queue: str) -> str:
    return f"asynq:{{{queue}}}:g:"


def group(queue: str, name: str) -> str:
    return f"asynq:{{{queue}}}:g:{name}"


def aggregation_set(queue: str, group_name: str, set_id: str) -> str:
    return f"asynq:{{{queue}}}:g:{group_name}:{set_id}"


def aggregation_sets(queue: str) -> str:
    return f"asynq:{{{queue}}}:aggregation_sets"


def semaphore(scope: str) -> str:
    return f"asynq:sema:{scope}"


def server(host: str, pid: int, server_id: str) -> str:
    return f"asynq:servers:{{{host}:{pid}:{server_id}}}"


def workers(host: str, pid: int, server_id: str) -> str:
    return f"asynq:workers:{{{host}:{pid}:{server_id}}}"


def scheduler_entries(scheduler_id: str) -> str:
    """`scheduler_id` is `<host>:<pid>:<uuid>`."""
    return f"asynq:schedulers:{{{scheduler_id}}}"


def scheduler_history(entry_id: str) -> str:
    return f"asynq:scheduler_history:{entry_id}"


# Ours.


def prefixes(queue: str) -> tuple[bytes, ...]:
    """What every key of a queue begins with, asynq's and ours."""
    return (queue_prefix(queue).encode(), f"asyncq:{{{queue}}}:".encode())


DONE_CHANNEL = "asyncq:done"
"""Pub/sub channel: the keys of tasks that a client waits for and that have ended."""


def due(queue: str) -> str:
    """zset: id -> due time in Unix milliseconds, of scheduled and retried tasks soon due."""
    return f"asyncq:{{{queue}}}:due"


def due_channel(queue: str) -> str:
    """Pub/sub channel: the due time in Unix milliseconds of a new first entry of `due`."""
    return f"asyncq:{{{queue}}}:due"


def fetch(queue: str, claim: str) -> str:
    """string: how often a dequeue was sent before the sending that was executed last; an earlier
    one that arrives after it takes nothing. Only there after a lost reply, for an hour."""
    return f"asyncq:{{{queue}}}:fetch:{claim}"


def forwarder(queue: str) -> str:
    """string: the id of the server that forwards this queue to the millisecond."""
    return f"asyncq:{{{queue}}}:forwarder"


def parked(queue: str) -> str:
    """hash: id -> why; ids whose task key is no hash, so that nothing can be said in it."""
    return f"asyncq:{{{queue}}}:parked"


def absent(queue: str) -> str:
    """Never there: scripts name it in a cluster, so as not to run while the queue's slot moves."""
    return f"asyncq:{{{queue}}}:absent"


def queue_of(key: str) -> str | None:
    """The queue of a key of asynq's, or what Redis takes for it in finding the slot."""
    tag, brace, _ = key.removeprefix("asynq:{").partition("}")
    return tag if brace and key.startswith("asynq:{") else None


def cron(queue: str, identity: str) -> str:
    """hash: the last due time of a scheduler's entry, in Unix milliseconds, and what came of it.
    It stays for 90 days after the last scheduler that had the entry, whether or not the queue has
    tasks; who forgot it would enqueue a due time twice. Only who deletes the queue deletes it, too:
    then the entry is a new one, for which nothing was due before."""
    return f"asyncq:{{{queue}}}:cron:{identity}"
