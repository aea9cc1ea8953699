"""The store's twin in memory, for unit tests and simulation only. The same answers as the real ones, no disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tandem.clock import Clock
from tandem.errors import StoreUnavailable
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import AccountId, ChatId, MessageKey
from tandem.model.message import Message, StatusUpdate
from tandem.store.port import Chat, Name, Poison, StoredMessage, display_name, name_from, preview

_Place = tuple[AccountId, ChatId]


class MemoryStore:
    """``failing`` makes every write and read an outage; ``poison`` names keys that can never be written, and why."""

    def __init__(self, clock: Clock) -> None:
        self.failing = False
        self.poison: dict[MessageKey, str] = {}
        self.batches: list[int] = []
        self.accounts: dict[AccountId, Account] = {}
        self._clock = clock
        self._messages: dict[_Place, dict[MessageKey, StoredMessage]] = {}
        self._chats: dict[_Place, Chat] = {}
        self._events: list[Event] = []
        self._reports: dict[str, Mapping[str, object]] = {}

    @property
    def name(self) -> str:
        return "memory"

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def write(self, messages: Sequence[Message], updates: Sequence[StatusUpdate] = ()) -> Sequence[Poison]:
        self._answer()
        self.batches.append(len(messages))
        stored_at = int(self._clock.now() * 1000)
        poison = []
        for message in messages:
            if message.key in self.poison:
                poison.append(Poison(message.account, message.key, self.poison[message.key]))
            else:
                self._create(message, stored_at)
                self._advance(StatusUpdate(message.account, message.chat, message.key, message.standing))
        for update in updates:
            self._advance(update)
        return poison

    async def save_account(self, account: Account) -> None:
        self._answer()
        self.accounts[account.id] = account

    async def account(self, account: AccountId) -> Account | None:
        self._answer()
        return self.accounts.get(account)

    async def save_event(self, event: Event) -> None:
        self._answer()
        self._events.append(event)

    async def chats(self, account: AccountId, limit: int) -> Sequence[Chat]:
        self._answer()
        chats = [chat for (owner, _), chat in self._chats.items() if owner == account]
        return sorted(chats, key=lambda chat: (-chat.last_message_at, chat.id))[:limit]

    async def messages(
        self,
        account: AccountId,
        chat: ChatId,
        limit: int,
        before: int | None = None,
        before_key: MessageKey | None = None,
    ) -> Sequence[StoredMessage]:
        self._answer()
        found = list(self._messages.get((account, chat), {}).values())
        found.sort(key=lambda stored: stored.message.timestamp)  # stable: the same time in order of arrival
        if before_key is not None:
            keys = [stored.message.key for stored in found]
            found = found[: keys.index(before_key)] if before_key in keys else []
        elif before is not None:
            found = [stored for stored in found if stored.message.timestamp < before]
        return found[-limit:]

    async def find(self, account: AccountId, chat: ChatId, message_id: str) -> Sequence[StoredMessage]:
        self._answer()
        found = self._messages.get((account, chat), {}).values()
        return [stored for stored in found if stored.message.message_id == message_id]

    async def present(self, names: Sequence[Name]) -> set[Name]:
        self._answer()
        return {name for name in names if name[2] in self._messages.get(name[:2], {})}

    async def events(
        self,
        limit: int,
        type: EventType | None = None,  # noqa: A002 - the field's name everywhere else
        account: AccountId | None = None,
    ) -> Sequence[Event]:
        self._answer()
        wanted = [event for event in reversed(self._events) if type in {None, event.type}]
        return [event for event in wanted if account in {None, event.account}][:limit]

    async def save_report(self, day: str, report: Mapping[str, object]) -> bool:
        self._answer()
        return self._reports.setdefault(day, report) is report

    async def report(self, day: str) -> Mapping[str, object] | None:
        self._answer()
        return self._reports.get(day)

    def _create(self, message: Message, stored_at: int) -> None:
        place = (message.account, message.chat)
        messages = self._messages.setdefault(place, {})
        if message.key in messages:
            return
        messages[message.key] = StoredMessage(message, stored_at)
        chat = self._chats.get(place)
        newer = chat is None or message.timestamp >= chat.last_message_at
        told = name_from(message)
        name = told if chat is None or (told and newer) else chat.name
        if newer or chat is None:
            self._chats[place] = Chat(
                message.chat, display_name(message.chat, name), preview(message), message.timestamp
            )

    def _advance(self, update: StatusUpdate) -> None:
        messages = self._messages.get((update.account, update.chat), {})
        if update.key in messages:
            old = messages[update.key]
            standing = old.message.standing.joined(update.standing)
            messages[update.key] = replace(old, message=replace(old.message, standing=standing))

    def _answer(self) -> None:
        if self.failing:
            raise StoreUnavailable("the store does not answer")
