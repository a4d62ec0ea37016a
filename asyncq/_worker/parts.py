"""The coroutines of one server, made and tied together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from .._broker.aggregation import Aggregation
from .._broker.broker import Broker
from .._broker.connection import Connection
from .._broker.maintenance import Maintenance
from .._clock import Clock
from ..handler import Handler
from .aggregator import Aggregator
from .fetcher import Fetcher
from .forwarder import Forwarder
from .healthcheck import Healthcheck
from .heartbeat import Heartbeat, Identity
from .inflight import Inflight
from .janitor import Janitor
from .loop import keep_alive, run_every
from .observed import Kinds, Observation, Serving
from .processor import Ends, Processor
from .recoverer import Recoverer
from .runner import Runner
from .subscriber import Subscriber
from .timing import Timing
from .verdict import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the parts of a server are made from."""

    server: Serving
    handler: Handler
    connection: Connection
    clock: Clock
    timing: Timing
    identity: Identity
    ends: Ends
    state: object
    """What handlers find as `current().state`."""
    exit_if_blocked: bool


class Parts:
    """Each part once, and what has to go on until when."""

    def __init__(self, given: Given) -> None:
        self._config, self._timing = given.server.config, given.timing
        self._inflight = Inflight()
        self._policy = Policy(self._config.retry_delay, self._config.is_failure)
        kinds = Kinds.of(self._config)
        broker = Broker(
            given.connection, given.clock, lease_s=given.timing.lease, asks_waits=kinds.asks_waits
        )
        self.settler = kinds.settler(broker, self._inflight, given.timing.lease - 1)
        fetcher = self._fetcher(kinds, broker)
        self.processor = Processor(
            fetcher, self.settler, self._inflight, self._config.concurrency, given.ends
        )
        runner = self.processor.runner = self._runner(given, kinds, broker)
        guard = kinds.guard(
            broker,
            self._inflight,
            timing=given.timing,
            patience_s=self._config.shutdown_timeout,
            exit_if_blocked=given.exit_if_blocked,
        )
        self._guard = guard
        self.observation = Observation.of(
            given.server, given.connection, self.processor, (self.settler, fetcher, runner, guard)
        )
        self.heartbeat = self._heartbeat(given, broker, runner, fetcher)
        self._keep_up(given, runner)

    def _fetcher(self, kinds: Kinds, broker: Broker) -> Fetcher:
        config = self._config
        return kinds.fetcher(
            broker,
            config.queues,
            strict=config.strict_priority,
            poll_s=config.task_check_interval,
            block_s=self._timing.block,
        )

    def _runner(self, given: Given, kinds: Kinds, broker: Broker) -> Runner:
        return kinds.runner(
            broker,
            self._inflight,
            self.settler,
            given.handler,
            self._policy,
            clock=given.clock,
            timing=given.timing,
            error_handler=self._config.error_handler,
            state=given.state,
            on_free=self.processor.slot_is_free,
            on_told=self.processor.look_again,
        )

    def _heartbeat(
        self, given: Given, broker: Broker, runner: Runner, fetcher: Fetcher
    ) -> Heartbeat:
        config = self._config
        return Heartbeat(
            broker,
            self._inflight,
            runner,
            given.identity,
            concurrency=config.concurrency,
            queues=config.queues,
            strict_priority=config.strict_priority,
            status=lambda: given.server.state,
            on_servers=fetcher.servers_are,
        )

    def _keep_up(self, given: Given, runner: Runner) -> None:
        """Make what keeps the queues in order."""
        config, timing = self._config, self._timing
        connection, queues = given.connection, config.queues
        maintenance = Maintenance(
            connection,
            given.clock,
            claimed_grace_s=timing.claimed_grace,
            unclaimed_grace_s=timing.unclaimed_grace,
        )
        aggregation = Aggregation(connection, given.clock, deadline_s=timing.set_deadline)
        self.forwarder = Forwarder(
            maintenance,
            queues,
            given.identity.id,
            interval=config.delayed_task_check_interval,
        )
        self.subscriber = Subscriber(
            connection, self._inflight, runner, queues, self.forwarder.announce
        )
        self.recoverer = Recoverer(
            maintenance,
            aggregation,
            queues,
            self._policy,
            clock=given.clock,
            orphan_s=timing.orphan,
        )
        self.janitor = Janitor(
            maintenance,
            queues,
            batch_size=config.janitor_batch_size,
            archive_max_age_s=config.archive_max_age,
            archive_max_size=config.archive_max_size,
        )
        self.aggregator = Aggregator(aggregation, queues, config.group) if config.group else None
        self._healthcheck = (
            Healthcheck(connection, config.health_check) if config.health_check else None
        )

    def lasting(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on until the last outcome is written."""
        never = asyncio.Event()
        watching = [] if self.observation is None else [self.observation.run()]
        return [
            *watching,
            keep_alive("settler", self.settler.run),
            keep_alive("guard", self._guard.run),
            keep_alive("subscriber", self.subscriber.run),
            run_every(
                "heartbeat", self.heartbeat.step, self._timing.heartbeat, stop=never, at_once=True
            ),
        ]

    def periodic(self, stop: asyncio.Event) -> Sequence[Coroutine[Any, Any, None]]:
        """What ends when the server shuts down, each at the end of its step."""
        config, timing = self._config, self._timing
        parts = [
            run_every(
                "forwarder",
                self.forwarder.step,
                config.delayed_task_check_interval,
                stop=stop,
                wake=self.forwarder.wake,
                at_once=True,
            ),
            run_every("recoverer", self.recoverer.step, timing.recover, stop=stop, at_once=True),
            run_every("sweep", self.recoverer.sweep, timing.sweep, stop=stop, at_once=True),
            run_every("janitor", self.janitor.step, config.janitor_interval, stop=stop),
        ]
        if self.aggregator is not None:
            parts.append(self.aggregator.run(stop))
        if self._healthcheck is not None:
            step, interval = self._healthcheck.step, config.health_check_interval
            parts.append(run_every("healthcheck", step, interval, stop=stop))
        return parts
