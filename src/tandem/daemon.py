"""The composition root: which parts there are, what each is given, in which order they start and stop.

Start: the data directory is checked, the queue is opened and restored, the store is opened, leftovers of dead hosts
are made durable; only then does anything connect, and the API listens last. Stop is the same backwards: the API closes,
every device is disconnected (never logged out), what was received is committed and, if there is time, written; the
queue closes last.
Stopping is a courtesy: SIGKILL at any instant loses nothing that a clean stop would keep.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from tandem import __version__
from tandem.api.ports import About, Parts
from tandem.api.server import ApiServer
from tandem.clock import Clock, Random, SystemClock, SystemRandom
from tandem.errors import TandemError
from tandem.inbound.pipeline import Pipeline
from tandem.inbound.unreadable import Unreadable
from tandem.inbound.writer import Writer
from tandem.limits import rates, session_limits, vital_limits
from tandem.model.event import EventType
from tandem.model.ids import AccountId, Number
from tandem.model.message import RawEvent
from tandem.monitoring import logging
from tandem.monitoring.desk import Desk, DeskPorts
from tandem.monitoring.events import EventStream
from tandem.monitoring.redaction import Redactor
from tandem.monitoring.sources import Availability, Backlog, Sources, Told, Traffic, Workings
from tandem.monitoring.watchdog import Watchdog
from tandem.outbound.dispatcher import Dispatcher
from tandem.outbound.reconciliation import Reconciler
from tandem.policy import pairing as pairing_machine
from tandem.policy.batching import caps
from tandem.policy.fleet import FleetLimits
from tandem.queue.queue import Queue
from tandem.queue.unknown import UnknownSends
from tandem.settings import Settings
from tandem.store.choice import choose_store
from tandem.store.port import Store
from tandem.supervision.account import Pair
from tandem.supervision.outages import OutageKeeper
from tandem.supervision.phones import PhoneKeeper
from tandem.supervision.supervisor import Supervisor, SupervisorPorts
from tandem.surroundings import check_data_directory, find_emulator, tell_of_old_library
from tandem.webhook.webhooks import Webhooks
from tandem.whatsapp.decode import decode
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.release import LIBRARY

_log = structlog.get_logger(__name__)
_DRAIN = 1.0  # seconds the store has at the end for what is still in the inbox


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code. Raises TandemError if it cannot start."""
    redactor = Redactor(settings.secret_values())
    logging.configure(settings.log, redactor, production=settings.production)
    asyncio.run(Daemon(settings, SystemClock(), SystemRandom(), redactor).run())
    return 0


class Daemon:
    """One instance of Tandem."""

    def __init__(self, settings: Settings, clock: Clock, random: Random, redactor: Redactor) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._instance = settings.instance or f"{socket.gethostname()}-{random.token()[:6]}"
        self._events = EventStream(clock, random, redactor, instance=self._instance)
        self._starting = True

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _ask_to_stop, stop)
        async with AsyncExitStack() as parts:
            parts.enter_context(Watchdog(asyncio.get_running_loop(), self._settings.stuck_after))
            await self._start(parts)
            await stop.wait()
            self._starting = True  # not ready any more
            _log.info("shutdown_started", message="Stopping: disconnecting every device, logging none out")
        self._events(EventType.SHUTDOWN_COMPLETE, "Stopped cleanly")

    async def _start(self, parts: AsyncExitStack) -> None:
        settings = self._settings
        check_data_directory(settings)
        emulator = await find_emulator(settings)
        queue = Queue(settings.data_dir, settings.queue, self._clock, self._random, self._events)
        webhooks = Webhooks(
            settings.webhook, queue.deliveries, clock=self._clock, random=self._random, publish=self._events
        )
        await queue.open()
        parts.push_async_callback(queue.close)
        await webhooks.configure()
        store, why = choose_store(settings, self._clock)
        _log.info("store_chosen", message=f"Messages go to {store.name}: {why}", store=store.name, reason=why)
        await store.open()
        parts.push_async_callback(store.close)
        work = self._assemble(queue, store, HostFactory(settings.data_dir, settings.device, emulator))
        webhooks.accounts = work.supervisor.list
        self._events.listen(webhooks.heard)
        await work.phones.prepare()
        await work.supervisor.prepare()
        await work.outages.prepare(work.supervisor.list())
        desk = Desk(
            settings, work.watched(store), self._events, clock=self._clock, random=self._random,
            version=__version__, commit=settings.railway_commit, instance=self._instance,
        )  # fmt: skip
        await desk.prepare()
        work.writer.took = queue.outbox.took = desk.took
        parts.push_async_callback(desk.close)
        await parts.enter_async_context(
            _running(
                work.writer.run(),
                queue.keep_tidy(),
                work.outages.run(),
                work.phones.run(),
                work.unreadable.run(),
                webhooks.run(),
                *desk.jobs(),
            )
        )
        parts.push_async_callback(work.drain)
        work.supervisor.start()
        parts.push_async_callback(work.supervisor.stop)
        parts.push_async_callback(work.outages.stop)
        api = ApiServer(settings, self._parts(work, desk), store, self._clock, self._random)
        parts.push_async_callback(api.stop)
        await api.start()
        self._starting = False
        self._events(
            EventType.DAEMON_STARTED,
            f"Tandem {__version__} is up: {api.url}" + (" (EMULATOR, not WhatsApp)" if emulator else ""),
            version=__version__,
            commit=settings.railway_commit,
            instance=self._instance,
            accounts=len(work.supervisor.list()),
            emulator=bool(emulator),
        )
        tell_of_old_library(LIBRARY.released, self._clock.now(), self._events)

    def _assemble(self, queue: Queue, store: Store, devices: HostFactory) -> _Work:
        """Tie the parts together that know each other only through callables."""
        settings, clock, random, events = self._settings, self._clock, self._random, self._events

        def overflowed(event: RawEvent) -> None:
            supervisor.pair_of(event.account).recycle(event.slot)

        def removed(account: AccountId) -> None:
            outages.removed(account)
            phones.removed(account)

        pipeline = Pipeline(
            queue,
            decode,
            acknowledge=lambda event: supervisor.acknowledge(event),  # noqa: PLW0108 - it is made below
            own_number=lambda account: _number(supervisor, account),
            clock=clock,
            random=random,
            publish=events,
            overflowed=overflowed,
            heard=lambda event, message: supervisor.heard(event, message),  # noqa: PLW0108 - the same
            arrived=lambda event: outages.arrived(event),  # noqa: PLW0108 - it is made below
            understood=lambda account, decoded: phones.noted(account, decoded),  # noqa: PLW0108 - the same
        )
        phones = PhoneKeeper(queue.phones, lambda: supervisor.list(), clock=clock, publish=events)  # noqa: PLW0108
        outages = OutageKeeper(queue.outages, pipeline.caught_up, clock=clock, publish=events)
        limit = caps(
            batching=settings.use_message_batching,
            documents=settings.writer.max_documents,
            size=settings.writer.max_bytes,
        )
        writer = Writer(
            queue,
            store,
            limit,
            deadline=settings.writer.deadline,
            clock=clock,
            random=random,
            publish=events,
        )

        unknown = UnknownSends(queue.database, queue.outbox, clock)

        async def serve(pair: Pair) -> None:
            dispatcher = Dispatcher(
                pair.account.id,
                queue.outbox,
                pair,
                clock=clock,
                random=random,
                publish=events,
                rates=rates(settings),
                patience=settings.session.suspect_after,
                send_timeout=settings.device.command_timeout,
            )
            reconciler = Reconciler(
                pair.account, unknown, devices, pair, clock=clock, publish=events, call_ended=dispatcher.call_ended
            )
            dispatcher.unsettled = reconciler.wake
            pair.wake, pair.sending = dispatcher.wake, lambda: dispatcher.sending
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(dispatcher.run())
                tasks.create_task(reconciler.run())

        supervisor = Supervisor(
            session_limits(settings),
            SupervisorPorts(
                devices=devices,
                registry=queue.registry,
                publish=events,
                clock=clock,
                random=random,
                receive=pipeline.receive,
                import_leftover=pipeline.import_leftover,
                serve=serve,
                save_account=store.save_account,
                behind=pipeline.behind,
                moved=outages.changed,
                removed=removed,
                linked=phones.linked,
                phone=phones.of,
            ),
            suspect_after=settings.session.suspect_after,
            max_accounts=settings.api.max_accounts,
            vitals=vital_limits(settings),
            fleet=FleetLimits(rate=settings.session.logins_per_second),
            pairing_limits=pairing_machine.Limits(window=settings.session.pairing_window),
        )
        unreadable = Unreadable(
            queue.unread, settings.queue.decrypt_patience, supervisor.awaited, clock=clock, publish=events
        )
        return _Work(queue, pipeline, writer, supervisor, outages, phones, unreadable)

    def _parts(self, work: _Work, desk: Desk) -> Parts:
        return Parts(
            accounts=work.supervisor,
            outgoing=work.queue.outbox,
            dead_letters=work.queue.dead_letters,
            replay=work.pipeline.replay,
            events=self._events,
            figures=desk.metrics,
            outages=work.outages.recent,
            about=About(__version__, self._settings.railway_commit, self._instance),
            readiness=lambda: "starting or stopping" if self._starting else None,
            alerts=desk.alerts.firing,
            report=desk.reporter.of,
            today=desk.reporter.today,
            history=desk.history.of,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """The parts that carry messages."""

    queue: Queue
    pipeline: Pipeline
    writer: Writer
    supervisor: Supervisor
    outages: OutageKeeper
    phones: PhoneKeeper
    unreadable: Unreadable

    async def drain(self) -> None:
        """Commit what the hosts handed up, then give the store a moment."""
        await self.pipeline.drain(_DRAIN)
        await self.writer.drain(_DRAIN)

    def watched(self, store: Store) -> DeskPorts:
        return DeskPorts(
            self.queue,
            store,
            self._sources(),
            outages=self.outages.recent,
            store_trouble=lambda: self.writer.trouble,
            fleet_held=lambda: self.supervisor.held,
        )

    def _sources(self) -> Sources:
        inbox, outbox = self.queue.inbox, self.queue.outbox
        return Sources(
            accounts=self.supervisor.list,
            traffic=self._traffic,
            availability=self._availability,
            inbox=lambda: Backlog(inbox.depth, inbox.oldest_age),
            outbox=lambda: Backlog(outbox.depth, outbox.oldest_age),
            endpoints=self._endpoints,
            writes=lambda: self.writer.writes,
            batch=lambda: self.writer.in_flight,
            workings=self._workings,
            hosts=self.supervisor.hosts,
        )

    def _workings(self) -> Workings:
        pipeline, writer, database = self.pipeline, self.writer, self.queue.database
        return Workings(
            intake=pipeline.counts,
            pair_lag_ms=pipeline.pair_lag_ms,
            commit_seconds=database.commit_seconds,
            commit_sizes=database.group_sizes,
            failed_commits=database.failed_commits,
            write_seconds=writer.write_seconds,
            batch_sizes=writer.batch_sizes,
            updates=writer.updated,
        )

    def _endpoints(self) -> dict[str, Told]:
        deliveries = self.queue.deliveries
        return {
            name: Told(each.kind, each.delivered, each.failed, each.dead, Backlog(each.waiting, deliveries.age(name)))
            for name, each in deliveries.figures.items()
        }

    def _traffic(self) -> dict[AccountId, Traffic]:
        pipeline, stored, sent = self.pipeline, self.writer.stored, self.queue.outbox.sent
        names = (view.account.id for view in self.supervisor.list())
        return {
            name: Traffic(pipeline.received[name], pipeline.duplicates[name], stored[name], sent[name])
            for name in names
        }

    def _availability(self) -> dict[AccountId, Availability]:
        names = (view.account.id for view in self.supervisor.list())
        return {name: Availability(self.outages.online(name), self.outages.downtime(name)) for name in names}


@asynccontextmanager
async def _running(*jobs: object) -> AsyncIterator[None]:
    """Run endless jobs beside the block; they are cancelled after it. One that fails ends the daemon, loudly."""
    tasks = [asyncio.ensure_future(job) for job in jobs]  # type: ignore[call-overload]
    for task in tasks:
        task.add_done_callback(_end_if_failed)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_if_failed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("part_failed", message="A part of the daemon failed; stopping", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def _ask_to_stop(stop: asyncio.Event) -> None:
    """The first signal asks; the second does not wait: everything is durable anyway."""
    if stop.is_set():
        os._exit(1)
    stop.set()


def _number(supervisor: Supervisor, account: AccountId) -> Number | None:
    try:
        return supervisor.get(account).account.number
    except TandemError:
        return None
