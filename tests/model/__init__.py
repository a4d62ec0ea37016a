"""The life of a task, as a small model in plain Python: what asyncq's scripts must do to Redis.

    enqueue ──────────────► pending ◄────────────── forward ──┐
       │                     │   ▲                            │
       │  later ► scheduled ─┼───┼──────────────────────────► │
       │                     │   │ requeue, restart           │
       │                dequeue  │ (at the head)              │
       │                     ▼   │                            │
       │                    active ──── retry ────► retry ──► ┘
       │                     │  │ ├──── done ────► (deleted)
       │                     │  │ └──── complete ► completed ──► (deleted after its retention)
       │                     │  └────── archive, park ► archived ► (deleted: too old, too many)
       │                     └───────── lease over: recovered (restart, retry, archive, park)
       └─ group ► aggregating ──► in an aggregation set ──► (deleted, its successor is enqueued)
                       ▲                  │
                       └──── reclaimed ───┘

A person may run, archive or delete whatever is not active, and edit what waits.

* `queue`     one queue: its tasks and their places, and how all that stands in Redis
* `life`      what producers, schedulers and workers do to it
* `care`      what a server's periodic parts do: forward, recover, aggregate, delete what is old
* `by_hand`   what a person does
* `wire`      a connection to a real Redis whose clock stands still until it is moved
* `world`     model and Redis side by side; every step is taken by both, and then compared
* `invariants`  what holds of a queue in Redis whatever was done to it
* `actors`, `play`   who takes part, and what befalls a call
* `producing`, `working`, `caring`, `inspecting`   their calls
* `machine`   all of them, for hypothesis to play with
* `halfway`   scripts that stop at each of their writes, and who puts right what they leave

Times are by Redis's clock as a script reads it: `now_us`. Only what expires goes by
`Queue.redis_ms`, the clock that no caller can move.
"""
