"""The parts that carry messages, tied together: sessions, pipeline, writer, dispatchers, and what is read of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tandem.clock import Clock, Random
from tandem.ending import Ending, Step
from tandem.errors import TandemError
from tandem.inbound.held import HeldBack
from tandem.inbound.intake import here
from tandem.inbound.marks import Marks
from tandem.inbound.pipeline import Pipeline
from tandem.inbound.unreadable import Unreadable
from tandem.inbound.writer import Writer
from tandem.limits import rates, session_limits, vital_limits
from tandem.model.ids import AccountId, Number
from tandem.model.message import RawEvent
from tandem.monitoring.desk import DeskPorts
from tandem.monitoring.events import EventStream
from tandem.monitoring.sources import Availability, Backlog, Sources, Told, Traffic, Workings
from tandem.outbound.dispatcher import LAST_SECOND, Dispatcher
from tandem.outbound.reconciliation import Reconciler
from tandem.policy import pairing as pairing_machine
from tandem.policy.batching import caps
from tandem.policy.fleet import FleetLimits
from tandem.queue.queue import Queue
from tandem.queue.unknown import UnknownSends
from tandem.settings import Settings
from tandem.store.port import Billed, Costs, Store
from tandem.supervision.account import Pair
from tandem.supervision.cluster import Alone
from tandem.supervision.outages import OutageKeeper
from tandem.supervision.phones import PhoneKeeper
from tandem.supervision.supervisor import Supervisor, SupervisorPorts
from tandem.whatsapp.decode import decode
from tandem.whatsapp.factory import HostFactory

if TYPE_CHECKING:
    from tandem.sharing import Sharing


@dataclass(frozen=True, slots=True)
class Work:
    """The parts that carry messages. ``assemble`` makes them."""

    queue: Queue
    pipeline: Pipeline
    writer: Writer
    supervisor: Supervisor
    outages: OutageKeeper
    phones: PhoneKeeper
    unreadable: Unreadable
    held: HeldBack
    marks: Marks

    async def drain(self, ending: Ending) -> None:
        """Commit what the hosts handed up, then let the store have it, as far as there is time.

        What is not committed waits in the journals, what is not written in the inbox.
        """
        await self.pipeline.drain(ending.left(Step.COMMITS))
        await self.writer.drain(ending.left(Step.WRITES))

    def watched(self, store: Store, sharing: Sharing | None) -> DeskPorts:
        sources = replace(self._sources(), costs=lambda: _costs(store, sharing))
        if sharing is not None:
            sources = replace(sources, cluster=sharing.desk.overview)
        return DeskPorts(
            self.queue,
            store,
            sources,
            lease_trouble=(lambda: sharing.keeper.trouble) if sharing else str,
            may_report=(lambda: sharing.keeper.changes["acquired"] > 0) if sharing else lambda: True,
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
            held_back=lambda: inbox.held,
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


def assemble(
    settings: Settings,
    queue: Queue,
    store: Store,
    devices: HostFactory,
    *,
    clock: Clock,
    random: Random,
    events: EventStream,
    ending: Ending,
    sharing: Sharing | None = None,
) -> Work:
    """Tie the parts together that know each other only through callables.

    ``sharing``: this instance's part among several, None if it is the only one.
    """
    holds = sharing.holds if sharing else here

    def overflowed(event: RawEvent) -> None:
        supervisor.pair_of(event.account).recycle(event.slot)

    def moved(pair: Pair) -> None:
        outages.changed(pair)
        if sharing is not None:
            sharing.changed()

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
        holds=holds,
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
        holds=holds,
    )
    held = HeldBack(
        queue,
        store,
        holds,
        sharing.durable_through if sharing else lambda _account: 0.0,
        deadline=settings.writer.deadline,
        clock=clock,
        random=random,
    )

    unknown = UnknownSends(queue.database, queue.outbox, clock)

    async def serve(pair: Pair) -> None:
        dispatcher = Dispatcher(
            pair.account.id,
            sharing.outbox.claiming if sharing else queue.outbox,
            pair,
            clock=clock,
            random=random,
            publish=events,
            rates=rates(settings),
            patience=settings.session.suspect_after,
            send_timeout=settings.device.command_timeout,
            last_seconds=lambda: ending.left(Step.SENDS) if ending.begun else LAST_SECOND,
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
            cluster=sharing or Alone(),
            moved=moved,
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
        queue.unread,
        settings.queue.decrypt_patience,
        lambda account: supervisor.awaited(account) or not holds(account),
        clock=clock,
        publish=events,
    )
    marks = Marks(queue.inbox, pipeline, clock)
    if sharing is not None:
        sharing.attach(supervisor, held, marks)
    return Work(queue, pipeline, writer, supervisor, outages, phones, unreadable, held, marks)


def _costs(store: Store, sharing: Sharing | None) -> dict[str, Costs]:
    costs = {"store": store.costs} if isinstance(store, Billed) else {}
    return {**costs, **(sharing.costs() if sharing else {})}


def _number(supervisor: Supervisor, account: AccountId) -> Number | None:
    try:
        return supervisor.get(account).account.number
    except TandemError:
        return None
