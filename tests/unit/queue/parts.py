"""What the tests of the queue and its neighbours share: fictional messages and an open queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from support.virtual_time import SeededRandom, VirtualClock
from tandem.model.account import Account
from tandem.model.event import EventType
from tandem.model.ids import AccountId, ChatId, MessageKey, Number, account_id, message_key
from tandem.model.message import Message, RawEvent, Standing
from tandem.model.outbox import IdempotencyKey, OutboxRow, Text
from tandem.model.states import Slot
from tandem.queue.inbox import Arrival, Copy, Entry
from tandem.queue.queue import Queue
from tandem.settings import QueueSettings

NUMBER = Number("+12025550100")
ACCOUNT = account_id(NUMBER)
ANN = ChatId("12025550101@s.whatsapp.net")
BOB = ChatId("12025550102@s.whatsapp.net")
START_MS = 1_700_000_000_000


@dataclass
class Told:
    """Collects what is published."""

    events: list[tuple[EventType, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, type: EventType, message: str, **data: object) -> None:  # noqa: A002 - the port's name
        self.events.append((type, {"message": message, **data}))

    def of(self, kind: EventType) -> list[dict[str, Any]]:
        return [data for each, data in self.events if each is kind]


def message(number: int, chat: ChatId = ANN, *, text: str = "", at: int | None = None, **changes: Any) -> Message:
    identifier = f"3EB0{number:012X}"
    fields: dict[str, Any] = {
        "account": ACCOUNT,
        "chat": chat,
        "key": message_key(identifier, from_me=False),
        "message_id": identifier,
        "sender": str(chat),
        "sender_name": "Ann",
        "recipient": "12025550100@s.whatsapp.net",
        "from_me": False,
        "kind": "text",
        "text": text or f"message {number}",
        "has_media": False,
        "reply_to": "",
        "timestamp": START_MS + number * 1000 if at is None else at,
        "received_at": START_MS + number * 1000,
        "raw": b"\x0a\x05hello",
    }
    fields |= changes
    fields.setdefault("standing", Standing.first(from_me=fields["from_me"]))
    return Message(**fields)


def arrival(
    content: Message,
    slot: Slot | None = Slot.PRIMARY,
    *,
    undecryptable: bool = False,
    aliases: tuple[MessageKey, ...] = (),
    pairs: tuple[tuple[str, str], ...] = (),
    event: RawEvent | None = None,
    held: bool = False,
) -> Arrival:
    return Arrival(content.account, pairs, lambda _: Entry(content, slot, aliases, undecryptable, event), held)


async def put(queue: Queue, *numbers: int, slot: Slot = Slot.PRIMARY, chat: ChatId = ANN) -> list[Copy]:
    verdicts = await queue.inbox.put([arrival(message(number, chat), slot) for number in numbers])
    return [verdict.copy for verdict in verdicts]


def text_of(row: OutboxRow) -> str:
    assert isinstance(row.content, Text)
    return row.content.text


async def accept_text(
    queue: Queue, chat: ChatId, text: str, key: str | None = None, account: AccountId = ACCOUNT, **options: Any
) -> tuple[OutboxRow, bool]:
    named = None if key is None else IdempotencyKey(key, sha256(f"{chat}\n{text}".encode(errors="replace")).digest())
    return await queue.outbox.accept(account, chat, Text(text), named, **options)


def everything(_count: int, _size: int, _following: int) -> bool:
    return True


async def waiting(queue: Queue) -> list[str]:
    """Texts of the messages that wait for the store, in order."""
    return [pending.message.text for pending in await queue.inbox.pending(1_000_000, everything)]


async def sendable(queue: Queue, hold: float = 0.0) -> list[OutboxRow]:
    """All that could be sent now, one row a chat."""
    rows: list[OutboxRow] = []
    while (row := await queue.outbox.sendable(ACCOUNT, hold, [each.chat for each in rows])) is not None:
        rows.append(row)
    return rows


def make_queue(directory: Path, told: Told | None = None, **settings: Any) -> Queue:
    limits = QueueSettings(**settings)
    return Queue(directory, limits, VirtualClock(), SeededRandom(1), told or Told())


@asynccontextmanager
async def open_queue(directory: Path, told: Told | None = None, **settings: Any) -> AsyncIterator[Queue]:
    """A queue with one account in it."""
    queue = make_queue(directory, told, **settings)
    await queue.open()
    try:
        await queue.registry.save_account(Account(AccountId(ACCOUNT), NUMBER, "Office", 1.0))
        yield queue
    finally:
        await queue.close()
