"""Commands under way to a host: matched with their answers, and watched. No socket, no clock of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tandem.errors import NotOnline
from tandem.whatsapp.frames import Frame


class CallError(Exception):
    """The library's answer was an error (its text, redacted by the host); ``refused``: it was not even called."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Answer:
    """What the library returned, and how long the call took inside the host, in milliseconds."""

    payload: bytes = field(repr=False)
    milliseconds: float


@dataclass(slots=True)
class _Call:
    deadline: float
    answer: asyncio.Future[Answer]


class Calls:
    """Numbers of commands that are not answered yet. A caller that went away leaves its call under watch."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, _Call] = {}

    def begin(self, deadline: float) -> tuple[int, asyncio.Future[Answer]]:
        """Number a new command. ``deadline`` is in the loop's time: then it is overdue, and its host is to be ended."""
        self._last += 1
        answer = asyncio.get_running_loop().create_future()
        self._open[self._last] = _Call(deadline, answer)
        return self._last, answer

    def settle(self, reply: Frame) -> None:
        """Hand a REPLY to whoever waits for it. One that nobody waits for any more is dropped. Raises FrameError."""
        call = self._open.pop(reply.number("id"), None)
        if call is None or call.answer.done():
            return
        if error := reply.text("error"):
            call.answer.set_exception(CallError(error, refused=bool(reply.header.get("refused"))))
        else:
            call.answer.set_result(Answer(reply.payload, reply.real("milliseconds")))

    def overdue(self, now: float) -> bool:
        """Whether a call has not come back by its deadline, whether or not somebody still waits for it."""
        return any(call.deadline <= now for call in self._open.values())

    def give_up(self, reason: str) -> None:
        """The host is gone: everybody who waits gets NotOnline."""
        for call in self._open.values():
            if not call.answer.done():
                call.answer.set_exception(NotOnline(reason))
        self._open.clear()
