"""A demo from beginning to end: set the scene, let it live, let it settle, judge it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tandem.demo.chaos import Chaos
from tandem.demo.clients import DemoFailed
from tandem.demo.options import DemoOptions
from tandem.demo.scene import Scene, Tell
from tandem.demo.traffic import OUTBOUND_SHARE, Traffic
from tandem.demo.verdict import Report, downtimes, judge
from tandem.model.ids import AccountId

_SETTLE = 60.0
_POLL = 0.2
_BLAME = 30.0
_ALL = 1_000_000
_SETTLED = {"sent", "delivered", "read", "failed", "expired"}


def main(options: DemoOptions) -> int:
    """Run the demo. Returns 0 if nothing was lost or doubled, 1 otherwise. Raises Misconfigured for bad options."""
    console = Console(stderr=options.json, highlight=False)
    try:
        report = asyncio.run(_demo(options.checked(), console))
    except DemoFailed as error:
        console.print(f"[red]the demo failed:[/] {error}", markup=True)
        return 1
    if options.json:
        sys.stdout.write(json.dumps(report.as_json()) + "\n")
    else:
        _show(console, report)
    return 0 if report.clean else 1


async def _demo(options: DemoOptions, console: Console) -> Report:
    loop = asyncio.get_running_loop()
    began = loop.time()

    def tell(sentence: str) -> None:
        console.print(f"[dim]{loop.time() - began:6.1f} s[/]  {sentence}", soft_wrap=True)

    tell("starting wa-emulator (a WhatsApp server for this machine only) and the Tandem daemon")
    async with Scene(options, tell) as scene:
        tell(f"the daemon's page: http://127.0.0.1:{scene.daemon.port}/")
        await scene.link_everybody()
        tell(f"{2 * options.accounts} sessions online, each in its own process, with the real WhatsApp library")
        traffic, chaos = Traffic(), Chaos(scene, tell)
        outbound = options.rate * OUTBOUND_SHARE
        tell(f"{options.rate:g} messages a second in and {outbound:g} out, for {options.duration:g} s")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(traffic.run(scene, options.duration, options.rate))
            if options.chaos:
                tasks.create_task(chaos.run(options.duration))
        await _settle(scene, traffic, tell)
        return await _judged(scene, traffic, chaos)


async def _settle(scene: Scene, traffic: Traffic, tell: Tell) -> None:
    """Heal everything and wait until both directions have come to rest; what has not by then is judged as it is."""
    tell("traffic ended; waiting until everything has come to rest")
    await scene.emulator.clear_faults()
    await scene.everybody_online()
    try:
        async with asyncio.timeout(_SETTLE):
            await _outbound_at_rest(scene, traffic)
            await _inbound_at_rest(scene, traffic)
    except TimeoutError:
        tell("not everything came to rest in time")


async def _outbound_at_rest(scene: Scene, traffic: Traffic) -> None:
    waiting = set(traffic.accepted)
    while waiting:
        rows = {identity: await scene.tandem.outbox(identity) for identity in waiting}
        waiting = {identity for identity, row in rows.items() if row.get("status") not in _SETTLED}
        await asyncio.sleep(_POLL if waiting else 0)


async def _inbound_at_rest(scene: Scene, traffic: Traffic) -> None:
    expected = set(traffic.inbound)
    while expected - set(await _stored(scene)):  # noqa: ASYNC110 - another process cannot set an Event
        await asyncio.sleep(1)


async def _judged(scene: Scene, traffic: Traffic, chaos: Chaos) -> Report:
    shown: list[str] = []
    for actor in scene.actors:
        for message in await scene.emulator.shown_to(actor.contact):
            shown += [str(message["text"])] * int(message["times"])
    await scene.stop_daemon()
    outbound = judge(traffic.accepted.values(), shown)
    inbound = judge(traffic.inbound, await _stored(scene))
    return Report(
        accounts=len(scene.actors),
        sessions=2 * len(scene.actors),
        inbound=inbound,
        outbound=outbound,
        failovers=len(scene.log.moves),
        downtimes_ms=downtimes(scene.faults, scene.log.moves, scene.log.ups, _BLAME),
        restarts_ms=chaos.restarts_ms,
        faults=Counter(fault.kind for fault in scene.faults),
    )


async def _stored(scene: Scene) -> list[str]:
    """Message ids of every inbound message in the store, as often as it has them."""
    store = scene.open_store()
    await store.open()
    try:
        found = []
        for actor in scene.actors:
            for chat in await store.chats(AccountId(actor.account), _ALL):
                rows = await store.messages(AccountId(actor.account), chat.id, _ALL)
                found += [row.message.message_id for row in rows if not row.message.from_me]
        return found
    finally:
        await store.close()


def _show(console: Console, report: Report) -> None:
    console.print()
    console.print(_messages(report))
    console.print(_incidents(report.as_json()))
    verdict = "[green]nothing lost, nothing doubled[/]" if report.clean else "[red]messages were lost or doubled[/]"
    console.print(f"\n{verdict}, judged from the emulator's ledger against the store and the contacts' phones\n")


def _messages(report: Report) -> Table:
    table = Table(title="messages", title_justify="left")
    for column in ("direction", "started", "arrived", "lost", "doubled"):
        table.add_column(column, justify="left" if column == "direction" else "right")
    for name, flow in (("in (contact to store)", report.inbound), ("out (202 to contact)", report.outbound)):
        table.add_row(name, *(str(count) for count in (flow.started, flow.arrived, flow.lost, flow.duplicated)))
    return table


def _incidents(summary: Mapping[str, object]) -> Table:
    table = Table(title="faults and failovers", title_justify="left", show_header=False)
    table.add_column()
    table.add_column()
    faults = summary["faults"]
    if isinstance(faults, Mapping):
        for kind, count in faults.items():
            table.add_row(str(kind).replace("_", " "), str(count))
    table.add_row("failovers", str(summary["failovers"]))
    by_fault = summary["downtime_ms_by_fault"]
    if isinstance(by_fault, Mapping):
        for kind, times in by_fault.items():
            _add_times(table, f"downtime, {str(kind).replace('_', ' ')}", times)
    _add_times(table, "daemon killed to all online", summary["daemon_restart_ms"])
    return table


def _add_times(table: Table, name: str, times: object) -> None:
    if isinstance(times, Mapping) and times["max"] is not None:
        table.add_row(name, "   ".join(f"{rank} {value} ms" for rank, value in times.items()))
