"""What a doctor can find: each with a sentence for whoever is woken by it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

EXAMPLES = 3
"""How many examples a finding names."""


class Severity(StrEnum):
    """How bad a finding is."""

    DANGER = "danger"
    """Tasks are lost or stuck, or will be."""
    WARNING = "warning"
    """Something is wrong, and somebody should see to it."""
    NOTE = "note"
    """Good to know; nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Illness:
    """A kind of finding."""

    severity: Severity
    what: str
    """One sentence: what is wrong and what comes of it."""
    remedy: str = ""
    """What a person can do."""
    fix: str = ""
    """What `fix` does, if it can do anything."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a Redis, or worth knowing.

    `kind` is a stable name. `count` is how many keys or tasks it concerns, 0 for a setting;
    `fixed` how many of them were put right. `where` is the queue or the server.
    """

    kind: str
    severity: Severity
    where: str
    what: str
    remedy: str
    fix: str
    count: int = 0
    fixed: int = 0
    examples: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether somebody has to see to it still."""
        done = self.count > 0 and self.fixed >= self.count
        return self.severity is not Severity.NOTE and not done


class Findings:
    """Gathers findings; those of one kind at one place are one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def say(self, kind: str, where: str, **told: object) -> None:
        """A setting or condition; `told` fills the sentences."""
        illness = ILLNESSES[kind]
        self._found[kind, where] = Finding(
            kind,
            illness.severity,
            where,
            illness.what.format(**told),
            illness.remedy.format(**told),
            illness.fix,
        )

    def add(
        self,
        kind: str,
        where: str,
        examples: list[str],
        *,
        count: int | None = None,
        fixed: int = 0,
    ) -> None:
        """Some keys or tasks more that are wrong in this way."""
        old = self._found.get((kind, where))
        illness = ILLNESSES[kind]
        self._found[kind, where] = Finding(
            kind,
            illness.severity,
            where,
            illness.what,
            illness.remedy,
            illness.fix,
            count=(old.count if old else 0) + (len(examples) if count is None else count),
            fixed=(old.fixed if old else 0) + fixed,
            examples=((old.examples if old else ()) + tuple(examples))[:EXAMPLES],
        )

    def list(self) -> list[Finding]:
        """The worst first."""
        order = list(Severity)
        return sorted(
            self._found.values(), key=lambda f: (order.index(f.severity), f.kind, f.where)
        )


_DANGER, _WARNING, _NOTE = Severity.DANGER, Severity.WARNING, Severity.NOTE

ILLNESSES = {
    # Settings and condition of a server
    "eviction": Illness(
        _DANGER,
        "Redis is told to throw keys away when its memory is full (maxmemory-policy {policy}): it"
        " will throw away tasks, without a word.",
        "CONFIG SET maxmemory-policy noeviction, and in redis.conf; give caches a Redis of their"
        " own.",
    ),
    "evicted": Illness(
        _DANGER,
        "Redis has thrown away {count} keys since it started, because its memory was full; tasks"
        " may have been among them.",
        "Set maxmemory-policy noeviction, give it more memory, and enqueue anew what is missing.",
    ),
    "memory-full": Illness(
        _DANGER,
        "{percent} % of the memory that Redis may use (maxmemory) is used; when it is full, Redis"
        " refuses new tasks.",
        "Raise maxmemory, delete archived tasks that nobody needs, or let workers catch up.",
    ),
    "memory-near": Illness(
        _WARNING,
        "{percent} % of the memory that Redis may use (maxmemory) is used.",
        "Raise maxmemory, or look at which queue grows.",
    ),
    "no-persistence": Illness(
        _DANGER,
        "Redis keeps everything in memory only: when it restarts, all tasks are gone.",
        "CONFIG SET appendonly yes, and in redis.conf.",
    ),
    "snapshots-only": Illness(
        _WARNING,
        "Redis writes to disk now and then only (save {save}): a crash loses the tasks of the last"
        " minutes, and runs again those that were done in them.",
        "CONFIG SET appendonly yes, and in redis.conf.",
    ),
    "appendfsync-no": Illness(
        _WARNING,
        "Redis leaves it to the operating system when its log reaches the disk (appendfsync no): a"
        " power cut loses the tasks of the last half minute.",
        "CONFIG SET appendfsync everysec, or always.",
    ),
    "appendfsync-everysec": Illness(
        _NOTE,
        "Redis brings its log to the disk once a second (appendfsync everysec): a power cut may"
        " lose what was enqueued in the last second.",
        "Where that matters: appendfsync always.",
    ),
    "disk": Illness(
        _DANGER,
        "Redis could not write to its disk ({which}): soon it refuses all writes, or forgets them"
        " at a restart.",
        "Look at its log, its disk space and its permissions.",
    ),
    "loading": Illness(
        _WARNING, "Redis is still reading its data from disk.", "Wait, then ask again."
    ),
    "replica": Illness(
        _DANGER,
        "This is a replica: it refuses every write, so nothing can be enqueued or worked on here.",
        "Name the master, or its sentinels: redis-sentinel://host:26379/0?master=NAME.",
    ),
    "failover": Illness(
        _NOTE,
        "Redis acknowledges tasks before its replicas have them (min-replicas-to-write 0): those of"
        " the last moments are lost when the master fails over.",
        "Enqueue what matters with wait_replicas=1, or set min-replicas-to-write 1.",
    ),
    "old-server": Illness(
        _DANGER,
        "This Redis is version {version}; asyncq and asynq need 6.2 or later.",
        "Upgrade Redis.",
    ),
    "timeout": Illness(
        _WARNING,
        "Redis closes connections that are idle for {timeout} s (timeout {timeout}): clients"
        " connect again and again.",
        "CONFIG SET timeout 0.",
    ),
    "connections": Illness(
        _WARNING,
        "{clients} of at most {most} connections to Redis are open; further ones are refused.",
        "Raise maxclients, or look at who opens so many (CLIENT LIST).",
    ),
    "clocks": Illness(
        _WARNING,
        "The clock of this machine and that of Redis differ by {seconds} s: what Go's asynq"
        " schedules comes at the wrong time, and its leases run out early.",
        "Have both keep time by NTP.",
    ),
    "settings-unseen": Illness(
        _NOTE,
        "The settings of Redis may not be read here ({why}), so how it writes to disk was judged"
        " from its INFO alone.",
        "Ask as a user that may do CONFIG GET: asyncq doctor --acl doctor.",
    ),
    "rights": Illness(
        _WARNING,
        "User {user} may not do what a worker does: {commands}.",
        "asyncq doctor --acl worker prints the rule; asyncq doctor --acl producer that of a"
        " producer, who needs less.",
    ),
    # Keys
    "type": Illness(
        _DANGER,
        "Something else stands where the queue keeps its own (a key of a wrong type): what needs"
        " it fails.",
        "Find out who wrote it.",
        "It is renamed to asyncq:{<queue>}:aside:..., where it can be looked at.",
    ),
    "name": Illness(
        _NOTE,
        "Keys of a queue whose name is not UTF-8 text: neither asyncq nor asynq can use it.",
        "Delete them if you know what they are.",
    ),
    "unlisted": Illness(
        _WARNING,
        "The queue has tasks but is not on the list of queues (asynq:queues): no inspector shows"
        " it.",
        "",
        "It is put on the list.",
    ),
    "moving": Illness(
        _WARNING,
        "The queue is on its way to another node of the cluster, key by key, so it was not looked"
        " at: what is on the one node looks as if it were gone on the other.",
        "Ask again when its slot has moved; redis-cli --cluster check shows slots left open.",
    ),
    "aside": Illness(
        _NOTE,
        "Keys that a doctor has set aside, because they had a wrong type.",
        "Look at them, then delete them.",
    ),
    # Tasks
    "ghost": Illness(
        _WARNING,
        "Entries without a task: the id stands in a queue, but there is no message to run.",
        "",
        "The entries are removed; there is nothing that could run.",
    ),
    "nohash": Illness(
        _WARNING,
        "Something else stands where a task should be (its key is no hash): it cannot run.",
        "Look at the key asynq:{<queue>}:t:<id>.",
        "The id is set aside (asyncq:{<queue>}:parked), its key is left as it is.",
    ),
    "lost": Illness(
        _DANGER,
        "Tasks that stand nowhere: they exist, but no worker will ever find them.",
        "",
        "They are enqueued again. A scheduled one, whose time is lost, goes to the archive, as does"
        " one in no known state.",
    ),
    "astray": Illness(
        _DANGER,
        "Tasks that are not where their state says they are, but elsewhere.",
        "",
        "Where they stand decides, as it does for workers: their state is put right.",
    ),
    "doubled": Illness(
        _WARNING,
        "Tasks that stand in two places at once: they may run twice.",
        "",
        "They stay where their state says, or where they run, and leave the other places.",
    ),
    "unleased": Illness(
        _WARNING,
        "Running tasks without a lease: if their worker is gone, only an asyncq worker on the queue"
        " recovers them.",
        "",
        "They are given a lease of 30 s: a live worker renews it, else they are recovered.",
    ),
    "leased": Illness(
        _WARNING,
        "Leases of tasks that do not run.",
        "",
        "The leases are removed; the tasks stay where they are.",
    ),
    "unreadable": Illness(
        _WARNING,
        "Tasks whose message cannot be read: whoever wrote them did something wrong. Workers set"
        " them aside.",
        "Look at them in the archive; delete them, or enqueue them again properly.",
        "They go to the archive with the reason, unless they are running.",
    ),
    "parked": Illness(
        _NOTE,
        "Tasks that were set aside because they cannot be read.",
        "Look at them in the archive, or in the hash asyncq:{<queue>}:parked, then delete them.",
    ),
    "stale-locks": Illness(
        _WARNING,
        "Uniqueness locks of tasks that are gone or done: new tasks are refused as duplicates until"
        " the locks run out.",
        "",
        "They are given up.",
    ),
    "hidden-groups": Illness(
        _DANGER,
        "Groups that are not on the queue's list of groups: their tasks are never aggregated.",
        "",
        "They are put on the list.",
    ),
    "nameless-groups": Illness(
        _WARNING,
        "Groups whose name is no UTF-8 text: no message can name them, and their tasks are never"
        " aggregated.",
        "Run their tasks, or delete them, by their ids: asyncq task run --help.",
    ),
    "forgotten-sets": Illness(
        _DANGER,
        "Tasks taken out of their group for an aggregation that nobody remembers.",
        "",
        "They go back to their group at the next look of a worker.",
    ),
    "empty-groups": Illness(
        _NOTE,
        "Names of groups and aggregation sets without tasks; workers clear them away.",
        "",
        "They are taken off the lists.",
    ),
    "stale-due": Illness(
        _NOTE,
        "Due times that nobody needs any more; they run out by themselves.",
        "",
        "They are dropped.",
    ),
    # Workers
    "overdue": Illness(
        _DANGER,
        "Tasks whose time has come more than a minute ago: nobody forwards them.",
        "Start a worker on this queue, or look at why the one there does not: its log says.",
    ),
    "unrecovered": Illness(
        _DANGER,
        "Running tasks whose worker vanished more than a minute ago: nobody has recovered them.",
        "Start a worker on this queue, or look at why the one there does not: its log says.",
    ),
    "nobody": Illness(
        _WARNING,
        "Tasks wait, and no worker is on this queue.",
        "Start one: asyncq worker TARGET --queue NAME. If there is one, look at whether it reaches"
        " this Redis.",
    ),
    "paused": Illness(
        _NOTE,
        "Tasks wait, and the queue is paused.",
        "Resume it when the reason is gone: await inspector.unpause_queue(NAME).",
    ),
    "presence": Illness(
        _NOTE,
        "Servers, workers or schedulers on the lists of those that are there, and gone: they were"
        " killed.",
        "",
        "They are taken off the lists.",
    ),
    "presence-unreadable": Illness(
        _WARNING,
        "Records of servers that cannot be read: inspectors leave them out.",
        "They run out within seconds once their writer is gone; find out who writes them.",
    ),
}
