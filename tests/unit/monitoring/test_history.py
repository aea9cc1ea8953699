from __future__ import annotations

from dataclasses import replace

from tandem.model.states import SessionState, Slot
from tandem.monitoring.history import History
from unit.api.twins import FakeClock
from unit.api.world import World, settings


async def test_samples_are_kept_for_half_an_hour_and_forgotten_with_the_account() -> None:
    world = World(settings())
    account = await world.add()
    world.accounts.go_online(account, Slot.PRIMARY)
    clock = FakeClock()
    history = History(world.accounts.list, clock)
    for _ in range(130):
        history.sample()
        clock.advance(15)
    samples = history.of(account, Slot.PRIMARY)
    assert (len(samples), samples[-1].quality, samples[-1].ping_ms) == (120, 0.98, 42.4)
    assert samples[-1].at - samples[0].at == 119 * 15
    lost = replace(world.accounts.get(account).slot(Slot.PRIMARY), state=SessionState.WAITING)
    world.accounts.put(account, lost)
    history.sample()
    assert history.of(account, Slot.PRIMARY)[-1].quality is None
    await world.accounts.remove(account)
    history.sample()
    assert history.of(account, Slot.PRIMARY) == ()
