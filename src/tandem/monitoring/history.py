"""The last half hour of every slot's vital signs, for the dashboard's small curves. In memory only, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from tandem.clock import Clock
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from tandem.model.views import AccountView, SlotView, VitalSample

EVERY = 15.0  # seconds
_KEPT = 120  # samples a slot: half an hour


class History:
    """``run`` is its task; what it costs is a few kilobytes a slot."""

    def __init__(self, accounts: Callable[[], Sequence[AccountView]], clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._samples: dict[tuple[AccountId, Slot], deque[VitalSample]] = {}

    def of(self, account: AccountId, slot: Slot) -> Sequence[VitalSample]:
        """Return the samples of a slot, oldest first."""
        return tuple(self._samples.get((account, slot), ()))

    async def run(self) -> None:
        """Look at every slot again and again, until cancelled."""
        while True:
            self.sample()
            await self._clock.sleep(EVERY)

    def sample(self) -> None:
        """Look once. Accounts that are gone are forgotten."""
        now = self._clock.now()
        slots = {(view.account.id, slot.slot): slot for view in self._accounts() for slot in view.slots}
        kept = {key: self._samples.get(key) or deque[VitalSample](maxlen=_KEPT) for key in slots}
        for key, slot in slots.items():
            kept[key].append(_sample(slot, now))
        self._samples = kept


def _sample(slot: SlotView, now: float) -> VitalSample:
    if not slot.state.connected:
        return VitalSample(now, None, None)
    return VitalSample(now, slot.quality, slot.ping_ms)
