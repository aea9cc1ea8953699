"""The composition root: which parts there are, what each is given, in which order they start and stop.

Start: the data directory is checked and taken (see ``doorway``), the queue is opened and restored, the store is opened,
leftovers of dead hosts are made durable; only then does anything connect, and the API listens last. Stop is the same
backwards: the API closes, sends under way end, leases are handed on, every device is disconnected (never logged out),
what was received is committed and, if there is time (see ``ending``), written; the queue closes last.
Stopping is a courtesy: SIGKILL at any instant loses nothing that a clean stop would keep.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from tandem import __version__
from tandem.api.ports import About, Cluster, Parts
from tandem.api.server import ApiServer
from tandem.api.single_instance import SingleInstance
from tandem.clock import Clock, Random, SystemClock, SystemRandom
from tandem.doorway import Door
from tandem.ending import Ending, Step
from tandem.model.event import EventType
from tandem.monitoring import logging
from tandem.monitoring.desk import Desk
from tandem.monitoring.events import EventStream
from tandem.monitoring.redaction import Redactor
from tandem.monitoring.watchdog import Watchdog
from tandem.policy.regions import region_of
from tandem.queue.lock import DirectoryLock
from tandem.queue.queue import Queue
from tandem.settings import Settings
from tandem.store.choice import choose_store
from tandem.store.port import Store
from tandem.surroundings import check_data_directory, find_emulator, is_shared, tell_of_old_library
from tandem.webhook.webhooks import Webhooks
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.release import LIBRARY
from tandem.work import Work, assemble

if TYPE_CHECKING:
    from tandem.sharing import Sharing

_log = structlog.get_logger(__name__)
_LEAST = 1.0
"""Seconds that handing on the leases, and bookkeeping under way, have in any case: one answer of Firestore each."""
_HOSTS_GONE = 10.0  # seconds that hosts of a killed daemon have to be gone; the kernel kills them with it


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
        self._region = region_of(settings)
        self._instance = settings.instance or f"{socket.gethostname()}-{random.token()[:6]}"
        self._events = EventStream(clock, random, redactor, instance=self._instance)
        self._ending = Ending(settings.drain, clock)
        self._starting = True

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _ask_to_stop, stop)
        async with AsyncExitStack() as parts:
            parts.enter_context(Watchdog(asyncio.get_running_loop(), self._settings.stuck_after))
            check_data_directory(self._settings)
            lock, door = DirectoryLock(self._settings.data_dir), self._door()
            parts.callback(lock.release)
            parts.push_async_callback(door.close)
            if await door.enter(lock, stop):
                await self._start(parts, lock, door)
                await stop.wait()
                self._ending.begin()
                self._starting = True  # not ready any more
                _log.info("shutdown_started", message="Stopping: disconnecting every device, logging none out")
        self._events(EventType.SHUTDOWN_COMPLETE, "Stopped cleanly")

    async def _start(self, parts: AsyncExitStack, lock: DirectoryLock, door: Door) -> None:
        settings = self._settings
        emulator = await find_emulator(settings)
        devices = HostFactory(settings.data_dir, settings.device, emulator)
        await devices.vacated(_HOSTS_GONE)
        queue = Queue(settings.data_dir, settings.queue, self._clock, self._random, self._events, lock=lock)
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
        sharing = await self._share(queue, store, parts)
        devices.region = self._region if sharing else ""
        work = assemble(
            settings,
            queue,
            store,
            devices,
            clock=self._clock,
            random=self._random,
            events=self._events,
            ending=self._ending,
            sharing=sharing,
        )
        webhooks.accounts = work.supervisor.list
        self._events.listen(webhooks.heard)
        await work.phones.prepare()
        await work.supervisor.prepare()
        await work.outages.prepare(work.supervisor.list())
        desk = Desk(
            settings, work.watched(store, sharing), self._events, clock=self._clock, random=self._random,
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
                work.held.run(),
                webhooks.run(),
                *desk.jobs(),
            )
        )
        parts.push_async_callback(work.drain, self._ending)
        work.supervisor.start()
        parts.push_async_callback(self._disconnect, work)
        parts.push_async_callback(work.outages.stop)
        if sharing is not None:
            await parts.enter_async_context(_running(*sharing.jobs()))
            parts.push_async_callback(self._hand_on, sharing)
        parts.push_async_callback(work.supervisor.cease)
        api = ApiServer(
            settings, self._parts(work, desk, sharing), store, self._clock, self._random,
            grace=self._ending.left(Step.REQUESTS),
        )  # fmt: skip
        parts.push_async_callback(api.stop)
        await door.close()
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

    async def _share(self, queue: Queue, store: Store, parts: AsyncExitStack) -> Sharing | None:
        """Return this instance's part among several; None if it is the only one."""
        if not is_shared(self._settings, store.name):
            return None
        from tandem.sharing import Sharing  # noqa: PLC0415 - 40 MB of gRPC that one instance by itself spares

        sharing = await Sharing.of(
            self._settings,
            queue,
            store,
            self._instance,
            clock=self._clock,
            random=self._random,
            publish=self._events,
        )
        await sharing.open()
        parts.push_async_callback(sharing.close)
        return sharing

    async def _hand_on(self, sharing: Sharing) -> None:
        try:
            async with asyncio.timeout(max(_LEAST, self._ending.left(Step.LEASES))):
                await sharing.leave()
        except TimeoutError:
            _log.warning("leases_not_released", reason="no time was left: they run out")

    async def _disconnect(self, work: Work) -> None:
        with self._ending.aside():
            await work.supervisor.stop(_LEAST)

    def _door(self) -> Door:
        about = About(__version__, self._settings.railway_commit, self._instance)
        return Door(self._settings, about, self._clock, self._random)

    def _parts(self, work: Work, desk: Desk, sharing: Sharing | None) -> Parts:
        alone = SingleInstance(self._instance, self._region, __version__)
        cluster: Cluster = sharing.desk if sharing else alone
        return Parts(
            accounts=work.supervisor,
            outgoing=sharing.outbox if sharing else work.queue.outbox,
            dead_letters=work.queue.dead_letters,
            replay=work.pipeline.replay,
            events=self._events,
            figures=desk.metrics,
            outages=work.outages.recent,
            about=About(
                __version__,
                self._settings.railway_commit,
                self._instance,
                role=cluster.role,
                region=self._region,
            ),
            readiness=lambda: "starting or stopping" if self._starting else None,
            alerts=desk.alerts.firing,
            report=desk.reporter.of,
            today=desk.reporter.today,
            history=desk.history.of,
            cluster=cluster,
        )


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
