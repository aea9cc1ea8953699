"""Instances with real queues on disk that share an outbox in memory, on virtual time; and WhatsApp's side of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.virtual_time import SeededRandom, VirtualClock, run_virtually
from tandem.cluster.memory_outbox import Ground, MemoryRows
from tandem.cluster.outbox_port import SeenRow, Stamp
from tandem.cluster.shared_outbox import SharedOutbox
from tandem.errors import StoreUnavailable
from tandem.model.account import Account
from tandem.model.cluster import InstanceId, Right
from tandem.model.ids import AccountId, ChatId, Jid
from tandem.model.message import DecodedMessage, DecodedReceipt
from tandem.model.outbox import Content, IdempotencyKey, OutboxRow, SendOutcome, SendResult, Text, Wanted
from tandem.model.states import OutboxState, Slot
from tandem.queue.queue import Queue
from tandem.queue.settlement import settle_echo, settle_receipt
from tandem.queue.unknown import UnknownSends
from tandem.settings import QueueSettings
from unit.queue.parts import ACCOUNT, ANN, NUMBER, Told

WHO = Jid("12025550101", "s.whatsapp.net")
PROVEN = {OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ}


class Weather:
    """What an instance's way to the documents is like. ``cut``: nothing gets through; ``lose``: of so many calls that
    write the answer is lost; ``slow``: seconds that each takes.
    """

    def __init__(self) -> None:
        self.cut = False
        self.lose = 0
        self.slow = 0.0
        self.calls: list[str] = []

    async def __call__(self, act: str) -> bool:
        if act != "watch":
            self.calls.append(act)
            await asyncio.sleep(self.slow)
        if self.cut:
            raise StoreUnavailable("cut")
        if self.lose and act in {"create", "change"}:
            self.lose -= 1
            return True
        return False


class Instance:
    """One instance, as far as its outbox goes. Its ``right`` is what the test says."""

    def __init__(self, name: str, folder: Path, ground: Ground) -> None:
        self.id = InstanceId(name)
        self.folder = folder
        self.weather = Weather()
        self.told = Told()
        self.rights: dict[AccountId, Right] = {}
        self.clock = VirtualClock()
        self._random = SeededRandom(sum(name.encode()))
        self._ground = ground
        self._job: asyncio.Task[None] | None = None
        self._make()

    def _make(self) -> None:
        self.queue = Queue(self.folder, QueueSettings(), self.clock, self._random, self.told)
        self.shared = SharedOutbox(
            MemoryRows(self._ground, self.weather),
            self.queue,
            self.id,
            self.rights.get,
            lambda: [ACCOUNT],
            clock=self.clock,
            random=self._random,
            publish=self.told,
            expiry=3600.0,
        )
        self.unknown = UnknownSends(self.queue.database, self.queue.outbox, self.clock)

    async def start(self) -> None:
        await self.queue.open()
        await self.queue.registry.save_account(Account(ACCOUNT, NUMBER, "Office", 1.0))
        await self.shared.open()
        self._job = asyncio.create_task(self.shared.run())

    async def stop(self) -> None:
        """As abruptly as a crash: nothing is handed over."""
        if self._job is not None:
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        await self.shared.close()
        await self.queue.close()

    async def crash(self) -> None:
        await self.stop()
        await self.boot()

    def grant(self, generation: int, seconds: float = 1e9) -> None:
        self.rights[ACCOUNT] = Right(ACCOUNT, generation, self.clock.monotonic() + seconds)

    async def acquire(self, generation: int, seconds: float = 1e9) -> None:
        self.grant(generation, seconds)
        await self.shared.acquired(ACCOUNT, generation)

    async def release(self, *, lost: bool = False) -> None:
        if lost:
            self.rights.clear()
        await self.shared.released(ACCOUNT, lost=lost)
        self.rights.clear()

    async def accept(self, text: str, key: str | None = None, chat: ChatId = ANN, **options: Any) -> OutboxRow:
        content: Content = Text(text)
        named = None if key is None else IdempotencyKey(key, text.encode())
        return (await self.shared.accept(ACCOUNT, chat, content, named, **options))[0]

    async def sendable(self) -> list[OutboxRow]:
        """All that could be sent now, one row a chat."""
        rows: list[OutboxRow] = []
        while (row := await self.shared.claiming.sendable(ACCOUNT, 1e9, [each.chat for each in rows])) is not None:
            rows.append(row)
        return rows

    async def send(self, row: OutboxRow, outcome: SendOutcome = SendOutcome.ACCEPTED, message_id: str = "") -> None:
        await self.shared.claiming.mark_sending(row.id, Slot.PRIMARY)
        named = message_id or f"3EB0{row.id[-8:]}" if outcome is SendOutcome.ACCEPTED else ""
        await self.shared.claiming.record(row.id, SendResult(outcome, named))

    async def record(self, row: OutboxRow, outcome: SendOutcome, message_id: str = "") -> None:
        await self.queue.outbox.record(row.id, SendResult(outcome, message_id))

    async def boot(self) -> None:
        """Start again after ``stop``, with no right to anything."""
        self.rights.clear()
        self._make()
        await self.start()

    async def echo(self, row: OutboxRow, message_id: str = "3EB0EC") -> None:
        """One of its devices receives what another one sent."""
        echo = echo_of(row, message_id)
        await self.queue.database.write(
            lambda connection: settle_echo(
                connection, ACCOUNT, echo, self.clock.now(), shared=self.queue.outbox.shared
            ),
            self.queue.outbox.moved,
        )

    async def receipt(self, message_id: str, kind: str = "delivered") -> None:
        receipt = DecodedReceipt((message_id,), WHO, WHO, from_me=False, kind=kind, timestamp=1)
        await self.queue.database.write(
            lambda connection: settle_receipt(connection, ACCOUNT, receipt, self.clock.now()),
            self.queue.outbox.moved,
        )

    async def local(self, row: OutboxRow) -> OutboxRow | None:
        """What its own outbox has of a message."""
        found = [each for each in (await self.queue.outbox.page(Wanted(), 1000))[0] if each.id == row.id]
        return found[0] if found else None

    async def local_state(self, row: OutboxRow) -> OutboxState | None:
        found = await self.local(row)
        return None if found is None else found.state


class Scene:
    def __init__(self, folder: Path) -> None:
        self.ground = Ground()
        self.here, self.there = (self._instance(folder, name) for name in ("here", "there"))

    def _instance(self, folder: Path, name: str) -> Instance:
        (folder / name).mkdir()
        return Instance(name, folder / name, self.ground)

    def document(self, row: OutboxRow) -> SeenRow:
        return self.ground.rows[row.account, row.id]

    def says(self, row: OutboxRow) -> tuple[OutboxState, Stamp]:
        seen = self.document(row)
        return seen.row.state, seen.stamp


@asynccontextmanager
async def scene_in(folder: Path) -> AsyncIterator[Scene]:
    scene = Scene(folder)
    await scene.here.start()
    await scene.there.start()
    try:
        yield scene
    finally:
        await scene.here.stop()
        await scene.there.stop()


def on_scene(folder: Path, act: Any) -> None:
    async def work() -> None:
        async with scene_in(folder) as scene:
            await act(scene)

    run(work())


def run(work: Coroutine[Any, Any, None]) -> None:
    run_virtually(work)


def echo_of(row: OutboxRow, message_id: str) -> DecodedMessage:
    return DecodedMessage(
        message_id=message_id,
        chat=WHO,
        sender=Jid("12025550100", "s.whatsapp.net", 2),
        sender_alt=None,
        recipient_alt=None,
        from_me=True,
        is_group=False,
        push_name="",
        timestamp=1,
        kind="text",
        text="",
        has_media=False,
        reply_to="",
        secret=row.secret,
        raw=b"",
    )
