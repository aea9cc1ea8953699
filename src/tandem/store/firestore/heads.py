"""The newest message of each chat, as the chat's document shows it; it never goes backwards.

``Maximum`` keeps a number from going backwards, but not the text beside it. So a chat is written only with the version
that was last seen of it as the condition: whoever else wrote it meanwhile makes the write fail, the chat is read again
and judged again. The versions come with the answers to our own writes, so that a chat costs one read in the life of a
process, not one a message. When an answer is lost, the
version stays as it was: if the write was done after all, the next one fails on it and the chat is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tandem.model.ids import AccountId, ChatId
from tandem.model.message import Message
from tandem.store.firestore.documents import SCHEMA_VERSION, Names, merge, transform
from tandem.store.firestore.values import fields_of
from tandem.store.port import name_from, preview

Place = tuple[AccountId, ChatId]
_FIELDS = ("name", "lastMessageAtMs", "lastMessageKey", "lastPosition")
_MOST = 5_000
"""Chats whose head is remembered: about 3 MB."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a chat's document says. ``at`` is None and ``version`` too while there is no document."""

    at: int | None = None
    key: str = ""
    position: str = ""
    name: str = ""
    version: Any = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A message that may be its chat's newest, at its position.

    ``copy`` says that it was there before. ``name`` is what a batch has last called the chat, ``news`` the same without
    its copies, and ``news_at`` the newest time of those: an old copy's name counts only when the chat has missed it.
    """

    message: Message
    position: str
    copy: bool
    name: str = ""
    news: str = ""
    news_at: int | None = None

    @property
    def place(self) -> Place:
        return (self.message.account, self.message.chat)

    def newer_than(self, head: Head) -> bool:
        """Of two messages of the same time the one that came in later is newer."""
        at = self.message.timestamp
        return head.at is None or at > head.at or (at == head.at and self.position > head.position)

    def head_after(self, head: Head) -> Head:
        """Return what the chat's document should say, without its version."""
        newer = self.newer_than(head)
        told = self.news if newer or self.news_at == head.at else ""
        if not head.name or (newer and self.copy):
            told = self.name
        name = told or head.name
        if not newer:
            return Head(head.at, head.key, head.position, name, head.version)
        return Head(self.message.timestamp, str(self.message.key), self.position, name, head.version)


def newest(messages: Iterable[tuple[Message, str, bool]]) -> list[Candidate]:
    """Return one candidate for each chat.

    The messages come in the order of their arrival, with their positions and whether they were there before.
    """
    found: dict[Place, Candidate] = {}
    for message, position, copy in messages:
        name = name_from(message)
        news, news_at = ("", None) if copy else (name, message.timestamp)
        candidate = Candidate(message, position, copy, name, news, news_at)
        known = found.get(candidate.place)
        found[candidate.place] = candidate if known is None else _joined(known, candidate)
    return list(found.values())


def _joined(known: Candidate, later: Candidate) -> Candidate:
    top = known if later.position < known.position else later
    times = [at for at in (known.news_at, later.news_at) if at is not None]
    return replace(top, name=later.name or known.name, news=later.news or known.news, news_at=max(times, default=None))


class Heads:
    """A bounded memory of heads; what falls out of it is read again."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: dict[Place, Head] = {}

    def missing(self, places: Iterable[Place]) -> list[Place]:
        return [place for place in dict.fromkeys(places) if place not in self._known]

    def learn(self, places: Sequence[Place], documents: Mapping[str, Any]) -> None:
        """Remember what was read of these places; a place without document has none."""
        for place in places:
            document = documents.get(self._names.chat(*place))
            self._remember(place, Head() if document is None else _head_of(document))

    def of(self, place: Place) -> Head | None:
        return self._known.get(place)

    def written(self, place: Place, head: Head, version: Any) -> None:
        self._remember(place, Head(head.at, head.key, head.position, head.name, version))

    def forget(self, places: Iterable[Place]) -> None:
        """Of these the version is not known any more."""
        for place in places:
            self._known.pop(place, None)

    def write(self, candidate: Candidate, head: Head) -> Any:
        """Return the write that makes the document say what it should, None if it does."""
        wanted = candidate.head_after(head)
        if wanted == head:
            return None
        write = merge(self._names.chat(*candidate.place), self._values(candidate, wanted))
        if wanted.at is not None:
            transform(write, "lastMessageAtMs").maximum.integer_value = wanted.at
            transform(write, "recency").minimum.integer_value = -wanted.at
        if head.version is None:
            write.current_document.exists = False
        else:
            write.current_document.update_time.CopyFrom(head.version)
        return write

    @staticmethod
    def fields() -> Sequence[str]:
        return _FIELDS

    def _values(self, candidate: Candidate, wanted: Head) -> dict[str, object]:
        values: dict[str, object] = {"name": wanted.name}
        if wanted.position != candidate.position:
            return values  # only the name was news
        return values | {
            "schemaVersion": SCHEMA_VERSION,
            "account": str(candidate.message.account),
            "chat": str(candidate.message.chat),
            "lastMessage": preview(candidate.message),
            "lastMessageKey": wanted.key,
            "lastPosition": wanted.position,
        }

    def _remember(self, place: Place, head: Head) -> None:
        self._known.pop(place, None)
        self._known[place] = head
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]


def _head_of(document: Any) -> Head:
    """A chat document that is not ours entirely (the seed's, or half restored) is as good as its fields."""
    fields = fields_of(document)
    return Head(
        at=fields.get("lastMessageAtMs"),
        key=fields.get("lastMessageKey", ""),
        position=fields.get("lastPosition", ""),
        name=fields.get("name", ""),
        version=document.update_time,
    )
