"""Stores on an emulator, messages for them, and an eye on what they send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem.clock import SystemClock
from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.store import FirestoreStore

ACCOUNT = AccountId("1f0c8a62b7d94e35")
CHAT = ChatId("12025550142@s.whatsapp.net")
GROUP = ChatId("120363000000000001@g.us")


def message(
    number: int,
    *,
    at: int | None = None,
    chat: ChatId = CHAT,
    text: str | None = None,
    account: AccountId = ACCOUNT,
    raw: bytes = b"\x0a\x05hello",
    key: str | None = None,
    **fields: Any,
) -> Message:
    defaults: dict[str, Any] = {
        "message_id": f"3EB0{number:08X}",
        "sender": "12025550142@s.whatsapp.net",
        "sender_name": "Ada",
        "recipient": "12025550101@s.whatsapp.net",
        "from_me": False,
        "kind": "text",
        "has_media": False,
        "reply_to": "",
        "received_at": 1_795_000_000_000 + number,
    }
    return Message(
        account=account,
        chat=chat,
        key=MessageKey(key if key is not None else f"3EB0{number:08X}-in"),
        text=f"text {number}" if text is None else text,
        timestamp=1_795_000_000_000 + number * 1000 if at is None else at,
        raw=raw,
        **(defaults | fields),
    )


class Scene:
    def __init__(self, address: str, project: str) -> None:
        self.address = address
        self.project = project
        self._stores: list[FirestoreStore] = []

    async def store(self, address: str | None = None, **options: Any) -> FirestoreStore:
        """Open another store on this scene's database, by another way if an address is given."""
        store = FirestoreStore(self.target(address), SystemClock(), **options)
        self._stores.append(store)
        await store.open()
        return store

    def target(self, address: str | None = None) -> Target:
        return Target(self.project, emulator=address or self.address)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class Wire:
    """Counts what a store asks for, at the last place before gRPC; by itself it changes nothing."""

    def __init__(self, store: FirestoreStore) -> None:
        self.batches: list[list[str]] = []
        self.reads = 0
        self._call = store._client._call
        store._client._call = self._watched  # type: ignore[method-assign]

    @property
    def writes(self) -> int:
        return sum(map(len, self.batches))

    async def _watched(self, method: str, request: Any, timeout: float | None, *, whole: bool = False) -> Any:
        if method in {"batch_write", "commit"}:
            self.batches.append([write.update.name for write in request.writes])
        else:
            self.reads += len(request.documents) if method == "batch_get_documents" else 1
        return await self._call(method, request, timeout, whole=whole)


def texts(stored: Sequence[Any]) -> list[str]:
    return [one.message.text for one in stored]
