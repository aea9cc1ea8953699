"""The pace of one account: its buckets and its brake, from ``policy.pacing``, and what people are shown of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tandem.clock import Clock
from tandem.model.ids import ChatId
from tandem.model.states import SendingState
from tandem.model.views import SendingView
from tandem.policy.pacing import Brake, Bucket, Rate, Refusal

ACCOUNT, CHAT = Rate(120, 240), Rate(10, 45)
_MANY_CHATS = 1000


@dataclass(frozen=True, slots=True)
class Rates:
    """The usual rates. ``paced`` False: they count only while WhatsApp's refusals slow the account down."""

    account: Rate = ACCOUNT
    chat: Rate = CHAT
    paced: bool = True


class Pacer:
    """Both slots send for one number, so there is one a number. Kept in memory: a restart begins with full buckets."""

    def __init__(self, rates: Rates, clock: Clock) -> None:
        self._rates = rates
        self._clock = clock
        self._account = Bucket()
        self._chats: dict[ChatId, Bucket] = {}
        self._brake = Brake()

    def wait(self) -> float:
        """Seconds until the account may send again, to whomever."""
        now = self._clock.monotonic()
        return max(self._brake.pause(now), self._account.wait(now, self._of(self._rates.account, now)))

    def chat_wait(self, chat: ChatId) -> float:
        """Seconds until this chat may be sent to again."""
        now = self._clock.monotonic()
        return self._chats.get(chat, Bucket()).wait(now, self._of(self._rates.chat, now))

    def strangers_wait(self) -> float:
        """Seconds until people without a conversation may be written to."""
        return self._brake.strangers(self._clock.monotonic())

    def took(self, chat: ChatId) -> None:
        """A message is about to leave."""
        now = self._clock.monotonic()
        self._account = self._account.take(now, self._of(self._rates.account, now))
        self._chats[chat] = self._chats.get(chat, Bucket()).take(now, self._of(self._rates.chat, now))
        self._forget(now)

    def gave_back(self, chat: ChatId) -> None:
        """It did not leave."""
        now = self._clock.monotonic()
        self._account = self._account.give_back(now, self._of(self._rates.account, now))
        self._chats[chat] = self._chats.get(chat, Bucket()).give_back(now, self._of(self._rates.chat, now))

    def refused(self, refusal: Refusal) -> str:
        """Slow down, starting without a burst. Returns what happens now, in a sentence."""
        now = self._clock.monotonic()
        self._brake = self._brake.pull(refusal, now)
        self._account = Bucket(0.0, now)
        return self._brake.sentence(now)

    def view(self, banned_until: float) -> SendingView:
        """What people are shown; ``banned_until`` in Unix seconds, 0 if the number is not banned."""
        shown, left = self._view(banned_until), self.strangers_wait()
        if not left:
            return shown
        now, wall = self._clock.monotonic(), self._clock.now()
        since = wall - (now - self._brake.strangers_since)
        return replace(shown, strangers_since=since, strangers_until=wall + left)

    def _view(self, banned_until: float) -> SendingView:
        now, wall = self._clock.monotonic(), self._clock.now()
        if banned_until > wall:
            return SendingView(SendingState.BANNED, 0.0, banned_until, "WhatsApp banned the number for a while")
        rate = self._of(self._rates.account, now)
        limit = rate.per_minute or None
        if (pause := self._brake.pause(now)) > 0:
            return SendingView(SendingState.PAUSED, 0.0, wall + pause, self._brake.sentence(now))
        if self._brake.halvings(now) or self._brake.strangers(now):
            strangers = self._brake.strangers(now)
            until = wall + strangers if strangers else 0.0
            return SendingView(SendingState.SLOWED, limit, until, self._brake.sentence(now))
        waits = self._account.wait(now, rate) > 0
        return SendingView(SendingState.NORMAL, limit, 0.0, "as fast as the pacing allows" if waits else "")

    def _of(self, usual: Rate, now: float) -> Rate:
        factor = self._brake.factor(now)
        if factor == 1.0 and not self._rates.paced:
            return Rate(0.0, usual.burst)
        return usual.slowed(factor)

    def _forget(self, now: float) -> None:
        """A bucket that is full again says nothing."""
        if len(self._chats) > _MANY_CHATS:
            rate = self._rates.chat
            self._chats = {chat: each for chat, each in self._chats.items() if each.level(now, rate) < rate.burst}
