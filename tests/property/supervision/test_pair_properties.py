"""A pair under any interleaving of what its hosts say, what operators do, and time.

The supervisor, the pair and both sessions are the real ones, on virtual time; hosts are twins that log in after 0.2 s
unless the history says otherwise. Whatever happens, the invariants hold, and when the trouble ends all is well again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st

from support.devices import TwinDevice
from support.scripted_devices import Answer, ScriptedDevices, accepted, hanging, refused, unreachable
from support.virtual_time import run_virtually
from tandem.errors import Conflict, NotOnline
from tandem.model import signals
from tandem.model.event import EventType
from tandem.model.ids import ChatId
from tandem.model.outbox import Text
from tandem.model.signals import Signal
from tandem.model.states import Role, SessionState, Slot
from tandem.policy import session_machine as machine
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from unit.supervision.stage import Stage

CHAT = ChatId("13035550100@s.whatsapp.net")
BAN = 120.0
DWELL = 5.0
INSTANT = 0.01
TAKEBACKS, PERIOD = 3, 300.0
ENOUGH = 400.0
"""Seconds after which everything must be well again: the longest backoff, a ban, a conflict's period."""

SIGNALS: list[Signal] = [
    signals.Connected(),
    signals.Disconnected(),
    signals.KeepAliveTimeout(1),
    signals.KeepAliveTimeout(3),
    signals.KeepAliveRestored(),
    signals.PingTimed(3.0),
    signals.SyncPreviewed(4),
    signals.SyncCompleted(4),
    signals.Replaced(),
    signals.ConnectFailed("generic"),
    signals.StreamErrored("516"),
    signals.RateLimited("429"),
    signals.HostEnded(-9, "killed"),
    signals.HostEnded(22, "poisoned"),
    signals.HostEnded(21, "cannot dial", unreachable=True),
]
FINAL: list[Signal] = [
    signals.Banned("101", BAN),
    signals.Replaced(),
    signals.Replaced(),
    signals.LoggedOut("device removed", on_connect=False),
]
CLOSING = (signals.Banned, signals.Replaced, signals.LoggedOut, signals.ConnectFailed)
"""After these the server has closed the connection, and nothing more comes from it."""

COMMANDS: list[machine.Input] = [
    machine.SendUnanswered(),
    machine.Unwell("deaf"),
    machine.Recycle("a send"),
    machine.Hurry(),
    machine.Released(),
    machine.Start(),
]
Step = tuple[str, Any]
_SLOTS = {str(slot): slot for slot in Slot}

says = st.tuples(st.just("says"), st.tuples(st.sampled_from(list(Slot)), st.sampled_from(SIGNALS)))
final = st.tuples(st.just("says"), st.tuples(st.sampled_from(list(Slot)), st.sampled_from(FINAL)))
tells = st.tuples(st.just("tells"), st.tuples(st.sampled_from(list(Slot)), st.sampled_from(COMMANDS)))
passes = st.tuples(st.just("passes"), st.sampled_from([0.0, 0.05, 0.21, 1.0, 3.1, 6.0, 16.0, 61.0]))


def rivalled(device: TwinDevice) -> Answer:
    """The login succeeds, and then a rival logs in with the same keys."""
    return accepted(device)


logins = st.tuples(st.just("logins"), st.sampled_from([accepted, accepted, hanging, refused, unreachable, rivalled]))
operator = st.tuples(st.just("operator"), st.sampled_from(["switch", "restart primary", "restart backup"]))
sends = st.tuples(st.just("sends"), st.none())
histories = st.lists(
    st.one_of(says, says, final, tells, passes, passes, logins, operator, sends, sends), min_size=12, max_size=60
)


@dataclass
class CheckedDevices(ScriptedDevices):
    """Holds every login against what is known of its slot."""

    banned_until: float = 0.0
    logged_out: set[Slot] = field(default_factory=set)
    replaced: set[Slot] = field(default_factory=set)
    takebacks: dict[Slot, list[float]] = field(default_factory=lambda: {slot: [] for slot in Slot})
    by_operator: set[Slot] = field(default_factory=set)
    unbanned_by_operator: bool = False
    closed: set[int] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)
    """What went wrong in an actor's task, where an assertion would only end the task."""

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> TwinDevice:
        slot, now = spec.slot, asyncio.get_running_loop().time()
        self.must(not any(device.spec.slot is slot for device in self.alive()), "two hosts on one key store")
        self.must(slot not in self.logged_out, "a login after being logged out")
        if slot in self.by_operator:
            self.by_operator.discard(slot)
            self.unbanned_by_operator = True
            self.takebacks[slot].clear()
        else:
            known = self.banned_until - BAN + INSTANT  # a host that starts in the same instant is ended in the next
            banned = known < now < self.banned_until - INSTANT
            self.must(self.unbanned_by_operator or not banned, "a login during a ban")
            if slot in self.replaced:
                self.takebacks[slot].append(now)
                recent = [time for time in self.takebacks[slot] if now - time < PERIOD]
                self.must(len(recent) <= TAKEBACKS, "a duel for the keys")
        self.replaced.discard(slot)
        device = await super().start(spec, listener)
        if self.answer is rivalled:
            asyncio.get_running_loop().call_later(0.7, self.hear, slot, signals.Replaced(), device)
        return device

    def must(self, right: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion
        if not right:
            self.violations.append(otherwise)

    def hear(self, slot: Slot, signal: Signal, only: TwinDevice | None = None) -> None:
        """The server says something to the host of a slot (or to this one only), if it is there and connected."""
        device = next((each for each in self.alive() if each.spec.slot is slot), None)
        if device is None or device.pid in self.closed or (only is not None and only is not device):
            return
        if isinstance(signal, CLOSING):
            self.closed.add(device.pid)
        if isinstance(signal, signals.HostEnded):
            device.alive = False
        if isinstance(signal, signals.Replaced):
            self.replaced.add(slot)
        if isinstance(signal, signals.LoggedOut):
            self.logged_out.add(slot)
        if isinstance(signal, signals.Banned):
            self.banned_until = asyncio.get_running_loop().time() + BAN
            self.unbanned_by_operator = False
        device.says(signal)


@dataclass
class Checked(Stage):
    """Holds every move of the role against the dwell."""

    devices: CheckedDevices = field(default_factory=CheckedDevices)
    moved_at: float = float("-inf")

    def _publish(self, type: EventType, message: str, **data: object) -> None:  # noqa: A002
        super()._publish(type, message, **data)
        if type not in {EventType.SWITCHED_TO_BACKUP, EventType.SWITCHED_TO_PRIMARY}:
            return
        now, pair = asyncio.get_running_loop().time(), self.pair
        left_behind = pair.sessions[pair.active.partner].state
        if data["reason"] != "an operator asked for it" and left_behind.connected:
            self.devices.must(now - self.moved_at >= DWELL - 0.001, "the role flaps")
        self.moved_at = now
        taker = pair.sessions[pair.active].state
        self.devices.must(taker.connected or taker is SessionState.SYNCING, "the role went to a slot that is not there")

    def check(self) -> None:
        assert not self.devices.violations
        roles = [slot.role for slot in self.run.get(self.pair.account.id).slots]
        assert roles.count(Role.ACTIVE) <= 1
        linked = any(session.paired for session in self.pair.sessions.values())
        active = self.pair.sessions[self.pair.active]
        assert not linked or active.paired or not self.pair.sessions[self.pair.active.partner].state.connected


async def _play(stage: Checked, history: list[Step]) -> None:
    for kind, detail in history:
        match kind, detail:
            case "says", (slot, signal):
                stage.devices.hear(slot, signal)
                if isinstance(signal, signals.Banned):
                    await asyncio.sleep(INSTANT / 10)  # it ends the partner's host, and what that would hear in it
            case "tells", (slot, command):
                stage.session(slot).tell(command)
                await asyncio.sleep(INSTANT / 10)  # a verdict behind it is repeated by the server at the next login
            case "passes", float(seconds):
                await asyncio.sleep(seconds)
            case "logins", answer:
                stage.devices.answer = answer
            case "operator", str(act):
                await _operate(stage, act)
            case "sends", _:
                await _send(stage)
        stage.check()


async def _operate(stage: Checked, act: str) -> None:
    try:
        if act == "switch":
            stage.pair.switch()
        else:
            slot = _SLOTS[act.split()[1]]
            stage.pair.restart(slot)
            stage.devices.by_operator.add(slot)
            await asyncio.sleep(0.01)
    except Conflict:
        pass


async def _send(stage: Checked) -> None:
    await asyncio.sleep(0.001)  # what was said has been heard
    banned = asyncio.get_running_loop().time() < stage.devices.banned_until
    try:
        await stage.pair.send(stage.pair.active, CHAT, Text("hello"), b"", 1.0)
    except NotOnline:
        return
    assert not banned or stage.devices.unbanned_by_operator, "a send during a ban"


@settings(max_examples=200, deadline=None)
@given(histories)
def test_no_interleaving_breaks_the_pair_and_it_always_heals(history: list[Step]) -> None:
    note(str(history))

    async def run() -> None:
        stage = Checked()
        await stage.up()
        await _play(stage, history)
        stage.devices.answer = accepted
        await asyncio.sleep(ENOUGH)
        stage.check()
        for slot, session in stage.pair.sessions.items():
            if slot in stage.devices.logged_out:
                assert session.state is SessionState.LOGGED_OUT
            elif session.state is not SessionState.PARKED:
                assert session.state is SessionState.ONLINE, f"the {slot} is stuck: {session.state} ({session.reason})"
        active = stage.session(stage.pair.active)
        partner = stage.session(stage.pair.active.partner)
        assert active.state.connected or not partner.state.connected
        await stage.run.stop()
        assert not stage.devices.alive()

    run_virtually(run())
