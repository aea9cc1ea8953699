"""Every fault, what is heard of it, and what Tandem does: one table.

It is read three times. ``tests/unit/policy/test_fault_table.py`` holds the policy to it, ``tests/integration/faults``
holds the running whole to it with real processes, and ARCHITECTURE.md shows it to people (``make fault-table``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from support.devices import LOGGED_IN
from tandem.model import signals
from tandem.model.states import SessionState
from tandem.policy import divergence
from tandem.policy import session_machine as machine
from tandem.settings import DeviceSettings, SessionSettings
from tandem.supervision.vitals import VitalLimits

WHERE = ("active", "standby", "both")
MATRIX = "tests/integration/faults/test_every_fault.py"

PASSES = machine.Expired()
"""In ``heard``: nothing comes, and the state's own deadline passes."""

_CUT, _BACK = signals.Disconnected(), LOGGED_IN
_OWN_RETRY = (_CUT, *_BACK)
_NEW_HOST = (PASSES, *_BACK)
_REFUSED = signals.ConnectFailed
_SUSPECT, _PING, _ANSWER = (
    SessionSettings().suspect_after,
    SessionSettings().ping_interval,
    SessionSettings().ping_answer,
)
_HEARTBEAT = DeviceSettings().heartbeat_timeout
_UNWELL = "degraded ((waiting )?connecting )?online"
"""It recovers, is given up, or is ended because a send of it must be settled: each is right, the first comes first."""


@dataclass(frozen=True, slots=True)
class Later:
    """In ``heard``: it comes so many seconds after what was heard before it."""

    seconds: float
    input: machine.Input


class End(Enum):
    """How a slot comes back online."""

    ITSELF = "by itself"
    LINK_AGAIN = "an operator links it again"
    RESTART = "an operator restarts it"


class Act(Enum):
    """What strikes that the emulator cannot do: it hits the device host's process."""

    KILL = "kill -9"
    FREEZE = "kill -STOP"


Heard = machine.Input | Later
Wish = Mapping[str, object]


class Notice(Enum):
    """How the daemon learns of it."""

    AT_ONCE = "at once"
    SEND = "a send goes unanswered"
    PING = "a ping and two questions go unanswered"
    HEARTBEAT = "the host's heartbeat stops"
    PARTNER = "the partner has messages that it has not"

    def seconds(self, ping_interval: float) -> float:
        """How many seconds it takes at most, by the settings' defaults but for the interval between two pings."""
        session, device, vitals = SessionSettings(), DeviceSettings(), VitalLimits()
        return {
            Notice.AT_ONCE: 0.0,
            Notice.SEND: session.suspect_after,
            Notice.PING: ping_interval + session.ping_answer + vitals.confirm,
            Notice.PARTNER: divergence.Limits().deaf,
            Notice.HEARTBEAT: device.heartbeat_timeout + device.heartbeat_interval,
        }[self]


@dataclass(frozen=True, slots=True)
class Row:
    """A fault at one linked device.

    ``strike`` is asked of the emulator for that device, in this order, or done to its host; None: ``test`` names
    another test that makes it. ``heard`` is what the daemon hears if it is the active slot in state ``begins``,
    ``PASSES`` where a deadline passes instead; ``notice`` is how it learns of it, ``quiet`` says that nobody writes
    meanwhile. ``path`` is a pattern of the states the slot then goes through (``syncing``, the catching up on what was
    missed, may stand before any ``online``); ``standby`` is another pattern if a standby fares otherwise, ``partner``
    the pattern of the slot that was not struck. ``moves``: the role leaves an active slot. ``back`` is how many seconds
    at most until the slot has gone down its path. ``refused`` messages are told as failed and never arrive.
    ``primary``: only that slot hears it. ``where``: the places of a pair at which it is tried.
    """

    name: str
    fault: str
    strike: tuple[Wish, ...] | Act | None
    heard: tuple[Heard, ...]
    path: str
    moves: bool = True
    back: float = 5.0
    ends: End = End.ITSELF
    notice: Notice = Notice.AT_ONCE
    standby: str | None = None
    partner: str = ""
    quiet: bool = False
    refused: bool = False
    primary: bool = False
    where: tuple[str, ...] = WHERE
    begins: SessionState = SessionState.ONLINE
    test: str = MATRIX

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """What the emulator is asked for."""
        return self.strike if isinstance(self.strike, tuple) else ()

    def pattern(self, *, active: bool) -> str:
        """The states of a struck slot; ``active``: it had the role."""
        return self.path if active or self.standby is None else self.standby

    def keeps_role(self, ping_interval: float) -> float:
        """How many seconds an active slot may keep the role."""
        slack = {Notice.AT_ONCE: 1.0, Notice.SEND: 0.5, Notice.PING: 0.2, Notice.HEARTBEAT: 0.5, Notice.PARTNER: 1.5}
        return self.notice.seconds(ping_interval) + slack[self.notice]


def _fault(kind: str, **parameters: object) -> Wish:
    return {"kind": kind, **parameters}


def _login(reason: int, **parameters: object) -> tuple[Wish, ...]:
    """The next login fails, and one is forced."""
    return (_fault("login_failure", reason=reason, count=1, **parameters), _fault("drop"))


ROWS = (
    Row(
        "host-killed",
        "device host killed or crashed",
        Act.KILL,
        (signals.HostEnded(-9, "the host was killed by SIGKILL"), *_NEW_HOST),
        "waiting connecting online",
    ),
    Row(
        "host-frozen",
        "device host hangs, messages being sent",
        Act.FREEZE,
        (
            machine.SendUnanswered(),
            Later(_HEARTBEAT - _SUSPECT, signals.HostEnded(-9, f"the host was silent for {_HEARTBEAT} s")),
            *_NEW_HOST,
        ),
        "degraded waiting connecting online",
        standby="(degraded )?waiting connecting online",
        back=16.0,
        notice=Notice.SEND,
    ),
    Row(
        "host-frozen-quiet",
        "device host hangs, nobody writes",
        Act.FREEZE,
        (signals.HostEnded(-9, f"the host was silent for {_HEARTBEAT} s"), *_NEW_HOST),
        "waiting connecting online",
        back=16.0,
        notice=Notice.HEARTBEAT,
        quiet=True,
    ),
    Row("drop", "connection cut", (_fault("drop"),), _OWN_RETRY, "reconnecting online"),
    Row("close", "WebSocket closed", (_fault("close", code=1000),), _OWN_RETRY, "reconnecting online"),
    Row(
        "close-1011", "WebSocket closed with an error", (_fault("close", code=1011),), _OWN_RETRY, "reconnecting online"
    ),
    Row(
        "stream-error-503",
        "stream error 503",
        (_fault("stream_error", code=503),),
        _OWN_RETRY,
        "reconnecting online",
    ),
    Row(
        "stream-error-unknown",
        "stream error with an unknown code",
        (_fault("stream_error", code=516),),
        (signals.StreamErrored("516"), *_OWN_RETRY),
        "reconnecting online",
    ),
    Row(
        "stream-error-515",
        "stream error 515 (restart, as after a pairing)",
        (_fault("stream_error", code=515),),
        _BACK,
        "",
        moves=False,
    ),
    Row(
        "stream-error-open",
        "stream error 503, connection left open and served",
        (_fault("stream_error", code=503, close=False),),
        (),
        "",
        moves=False,
    ),
    Row(
        "stall",
        "connection open but dead, messages being sent",
        (_fault("stall", seconds=6),),
        (machine.SendUnanswered(), PASSES, *_NEW_HOST),
        _UNWELL,
        standby=f"({_UNWELL}|waiting connecting online)",
        back=16.0,
        notice=Notice.SEND,
    ),
    Row(
        "stall-quiet",
        "connection open but dead, nobody writes",
        (_fault("stall", seconds=9),),
        (signals.KeepAliveTimeout(1), Later(_PING + _ANSWER, signals.KeepAliveTimeout(2)), *_NEW_HOST),
        _UNWELL,
        standby=f"({_UNWELL}|waiting connecting online)",
        back=16.0,
        notice=Notice.PING,
        quiet=True,
    ),
    Row(
        "zombie",
        "stream error 503, connection left open but dead",
        (_fault("stream_error", code=503, close=False), _fault("stall", seconds=6)),
        (machine.SendUnanswered(), PASSES, *_NEW_HOST),
        _UNWELL,
        standby=f"({_UNWELL}|waiting connecting online)",
        back=16.0,
        notice=Notice.SEND,
    ),
    Row(
        "ack-lost",
        "sends delivered, but not acknowledged",
        (_fault("no_send_ack", deliver=True, seconds=4),),
        (machine.SendUnanswered(), Later(_PING, signals.PingTimed(20.0))),
        _UNWELL,
        standby="",
        back=24.0,
        notice=Notice.SEND,
    ),
    Row(
        "send-lost",
        "sends neither delivered nor acknowledged",
        (_fault("no_send_ack", deliver=False, seconds=4),),
        (machine.SendUnanswered(), Later(_PING, signals.PingTimed(20.0))),
        _UNWELL,
        standby="",
        back=24.0,
        notice=Notice.SEND,
    ),
    Row(
        "send-refused",
        "a send refused by WhatsApp (463 and 479 also slow down: see pacing)",
        (_fault("send_nack", code=406, seconds=1.5),),
        (),
        "",
        moves=False,
        refused=True,
    ),
    Row(
        "conflict",
        "somebody else connected with the device's keys, once",
        (_fault("conflict"),),
        (signals.Replaced(), *_NEW_HOST),
        "conflict connecting online",
        back=13.0,
    ),
    Row(
        "device-removed",
        "device unlinked on the phone",
        (_fault("device_removed"),),
        (signals.LoggedOut("the device was unlinked on the phone", on_connect=False),),
        "logged_out",
        ends=End.LINK_AGAIN,
    ),
    *(
        Row(
            f"login-{reason}",
            f"login refused with {reason}: {words}",
            _login(reason),
            (_CUT, signals.LoggedOut(words, on_connect=True)),
            "reconnecting logged_out",
            ends=End.LINK_AGAIN,
        )
        for reason, words in (
            (401, "the device was unlinked on the phone"),
            (403, "the phone's WhatsApp was logged out or re-registered"),
            (406, "WhatsApp logged the device out"),
        )
    ),
    Row(
        "login-402",
        "temporary ban with its reason and end",
        _login(402, code=101, expire=3),
        (_CUT, signals.Banned("101", 3.0), *_NEW_HOST),
        "(reconnecting )?banned connecting online",
        partner="banned connecting online",
        back=8.0,
    ),
    Row(
        "login-402-unknown-code",
        "temporary ban for a reason the library does not know",
        _login(402, code=105, expire=3),
        (_CUT, signals.Banned("105", 3.0), *_NEW_HOST),
        "(reconnecting )?banned connecting online",
        partner="banned connecting online",
        back=8.0,
    ),
    Row(
        "login-402-bare",
        "temporary ban without reason or end",
        _login(402),
        (_CUT, signals.Banned("unknown", 0.0)),
        "(reconnecting )?banned",
        partner="banned",
        ends=End.RESTART,
    ),
    Row(
        "login-405",
        "login refused: the library is outdated",
        _login(405),
        (_CUT, signals.Outdated()),
        "reconnecting outdated",
        ends=End.RESTART,
    ),
    *(
        Row(
            f"login-{reason}",
            f"login refused with {reason}",
            _login(reason),
            (_CUT, _REFUSED(words), *_NEW_HOST),
            "(reconnecting )?waiting connecting online",
        )
        for reason, words in (
            (400, "WhatsApp refused the login without saying why"),
            (409, "WhatsApp refuses how the library presents itself"),
            (415, "WhatsApp refused the login for an unknown reason"),
            (418, "WhatsApp refused the login for an unknown reason"),
        )
    ),
    *(
        Row(
            f"login-{reason}",
            f"login refused with {reason}, on which the library crashes",
            _login(reason),
            (_CUT, signals.HostEnded(-6, "the library crashed on a refusal of the login"), *_NEW_HOST),
            "(reconnecting )?waiting connecting online",
        )
        for reason in (413, 414)
    ),
    *(
        Row(
            f"login-{reason}",
            f"login refused with {reason}, once",
            _login(reason),
            (_CUT, _CUT, *(Later(2.0, _BACK[0]), *_BACK[1:])),
            "reconnecting (waiting connecting )?online",
            back=6.0,
        )
        for reason in (500, 503)
    ),
    Row(
        "unknown-receipt",
        "an event the library's binding cannot express",
        (_fault("unknown_receipt"),),
        (signals.HostEnded(10, "the library's event pump ended"), *_NEW_HOST),
        "waiting connecting online",
        primary=True,
    ),
    Row(
        "junk",
        "messages that cannot be decrypted",
        (_fault("junk_ciphertext", count=3),),
        (),
        "",
        moves=False,
    ),
    Row("duplicates", "every message twice", (_fault("duplicate_delivery", seconds=2),), (), "", moves=False),
    Row("reorder", "messages in the wrong order", (_fault("reorder", seconds=2),), (), "", moves=False),
    Row("delay", "messages a second late", (_fault("delay_delivery", delay=1.0, seconds=2),), (), "", moves=False),
    Row("slow-pings", "pings answered late", (_fault("slow_pings", delay=1.0, seconds=5),), (), "", moves=False),
    Row(
        "no-pings",
        "pings unanswered, all else answered",
        (_fault("no_pings", seconds=5),),
        (),
        "",
        moves=False,
    ),
    Row(
        "deaf",
        "connected and answering, but deaf (both at once: found at the next login only)",
        (_fault("deaf"),),
        (machine.Unwell("its partner has received messages that it has not"), PASSES, *_NEW_HOST),
        "degraded waiting connecting online",
        back=8.0,
        notice=Notice.PARTNER,
        where=("active", "standby"),
    ),
    Row(
        "quality",
        "quality below 0.5 in three of five samples, a minute and more",
        None,
        (machine.Unwell("quality 0.30 (each loss in words)"), PASSES, *_NEW_HOST),
        "degraded waiting connecting online",
        test="tests/integration/test_vitals.py",
    ),
    Row(
        "not-online",
        "a host does not come online",
        None,
        (PASSES, *_NEW_HOST),
        "waiting connecting online",
        begins=SessionState.CONNECTING,
        test="tests/integration/faults/test_outages.py",
    ),
    Row(
        "outage",
        "connection cut, WhatsApp cannot be reached",
        None,
        (_CUT, PASSES, *_NEW_HOST),
        "reconnecting waiting connecting online",
        test="tests/integration/faults/test_outages.py",
    ),
    Row(
        "sync",
        "offline messages announced, but not completed",
        None,
        (PASSES, *_NEW_HOST),
        "waiting connecting online",
        begins=SessionState.SYNCING,
        test="tests/unit/policy/test_session_machine.py",
    ),
    Row(
        "duel",
        "somebody else connects with the device's keys again and again",
        None,
        (*(signals.Replaced(), PASSES, *_BACK) * 3, signals.Replaced()),
        "(conflict connecting online ){3}parked",
        ends=End.RESTART,
        test="tests/integration/faults/test_conflict_duel.py",
    ),
    Row(
        "crashes",
        "device host crashes again and again",
        None,
        (*(signals.HostEnded(-6, "the host crashed"), *_NEW_HOST) * 20, signals.HostEnded(-6, "the host crashed")),
        "(waiting connecting online ){20}parked",
        ends=End.RESTART,
        test="tests/unit/policy/test_session_machine.py",
    ),
    Row(
        "key-store",
        "key store damaged",
        None,
        (signals.LoggedOut("the key store cannot be used", on_connect=False),),
        "logged_out",
        ends=End.LINK_AGAIN,
        begins=SessionState.CONNECTING,
        test="tests/integration/test_end_to_end.py",
    ),
)
