"""The library's own ping, its timings set by us, measured at the emulator."""

from __future__ import annotations

import itertools
import secrets
import time

import pytest

from integration.whatsapp.host_stage import CONTACT, Session, Stage
from tandem.errors import NotOnline
from tandem.model import signals
from tandem.model.ids import ChatId
from tandem.model.outbox import Text
from tandem.model.states import Slot
from tandem.policy.keepalive import Limits, timings

LIMITS = Limits(floor=1.0, answer=0.5)


async def _pings(session: Session, count: int) -> list[float]:
    """Times of the next pings' answers."""
    times = []
    for _ in range(count):
        session.news.clear()
        await session.signal(signals.PingTimed)
        times.append(time.monotonic())
    return times


async def test_a_host_is_started_with_the_interval_that_its_spec_asks_for(stage: Stage) -> None:
    stage.timings = timings(1.0, LIMITS)
    primary = await stage.online(Slot.PRIMARY)
    started = await primary.signal(signals.Started)
    assert started.keep_alive == 1.0
    times = await _pings(primary, 4)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert all(0.85 < wait < 1.2 for wait in waits), waits


async def test_the_interval_of_a_running_host_changes_both_ways_and_reads_back(stage: Stage) -> None:
    stage.timings = timings(1.0, LIMITS)
    primary = await stage.online(Slot.PRIMARY)
    assert await primary.device.keep_alive(timings(2.0, LIMITS), 5.0) == 2.0
    first, second, third = await _pings(primary, 3)  # the wait under way may still be the old one
    assert 1.7 < third - second < 2.3, (second - first, third - second)
    assert await primary.device.keep_alive(timings(0.3, LIMITS), 5.0) == 0.3
    first, second, third = await _pings(primary, 3)
    assert third - second < 0.6
    with pytest.raises(NotOnline, match="not set"):
        await primary.device.keep_alive((1.0, 2.0, 2.0, 3.0), 5.0)


async def test_a_silent_stall_is_felt_within_interval_and_answer_deadline(stage: Stage) -> None:
    stage.timings = timings(1.0, LIMITS)
    primary = await stage.online(Slot.PRIMARY)
    for _ in range(3):
        primary.news.clear()
        await primary.signal(signals.PingTimed)
        await stage.fault(kind="stall")
        began = time.monotonic()
        missed = await primary.signal(signals.KeepAliveTimeout)
        assert missed.errors == 1
        assert time.monotonic() - began < 1.0 + 0.5 + 0.3
        with pytest.raises(NotOnline):
            await primary.device.probe(0.2)
        stage.emulator.faults.clear()
        await primary.signal(signals.KeepAliveRestored)


async def test_a_nack_that_means_slow_down_is_a_rate_limit(stage: Stage) -> None:
    primary = await stage.online(Slot.PRIMARY)
    await stage.fault(kind="send_nack", code=429)
    chat = ChatId(f"{CONTACT.removeprefix('+')}@s.whatsapp.net")
    await primary.device.send(chat, Text("x"), secrets.token_bytes(32), 10.0)
    assert "429" in (await primary.signal(signals.RateLimited)).detail


async def test_http_429_at_the_upgrade_is_a_rate_limit(stage: Stage) -> None:
    primary = await stage.online(Slot.PRIMARY)
    stage.emulator.clients.begin_fault({"kind": "refuse", "status": 429})
    await stage.fault(kind="drop")
    assert "HTTP 429" in (await primary.signal(signals.RateLimited)).detail
    stage.emulator.faults.clear()


async def test_http_429_at_the_first_dial_is_told_before_the_end(stage: Stage) -> None:
    stage.emulator.clients.begin_fault({"kind": "refuse", "status": 429})
    primary = await stage.begin(Slot.PRIMARY)
    assert "HTTP 429" in (await primary.signal(signals.RateLimited)).detail
    await primary.gone()
