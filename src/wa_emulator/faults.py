"""Faults by name: what can go wrong on purpose, for whom, how often and for how long.

``KINDS`` is the one list. A fault either strikes present connections at once, or is a condition that acts while it
lasts. Both can be limited by ``count`` (times) and ``seconds``; ``number`` and ``device`` say for whom.

* A strike without either limit acts once on every present connection that it is for, and is over. With a limit it
  stays armed and also strikes connections that become active later.
* A condition without a limit lasts until it is deleted.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wa_emulator.directory import Device, canonical

_KEPT: Final = 1_000
_MOST: Final = 10**9

Parameters = dict[str, Any]


class BadFault(ValueError):  # noqa: N818 - named like the control API's error
    """No such fault, or a parameter that it does not take. The text says what would do."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds; ``allowed`` narrows it to a few."""

    default: float | None
    least: float
    most: float
    whole: bool = True
    allowed: tuple[int, ...] = ()

    def check(self, name: str, value: object) -> object:
        right_type = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if not right_type or not self.least <= value <= self.most:  # type: ignore[operator]
            kind = "a whole number" if self.whole else "a number"
            raise BadFault(f"{name} must be {kind} from {self.least:g} to {self.most:g}")
        if self.allowed and value not in self.allowed:
            raise BadFault(f"{name} must be one of {', '.join(map(str, self.allowed))}")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    default: bool

    @staticmethod
    def check(name: str, value: object) -> object:
        if not isinstance(value, bool):
            raise BadFault(f"{name} must be true or false")
        return value


@dataclass(frozen=True, slots=True)
class Text:
    default: str

    @staticmethod
    def check(name: str, value: object) -> object:
        if not isinstance(value, str) or not value:
            raise BadFault(f"{name} must be a text")
        return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of fault."""

    name: str
    strikes: bool
    parameters: Mapping[str, Number | Flag | Text] = field(default_factory=dict)
    before_login: bool = False
    """It acts before the client has said who it is, so it cannot be limited to a number or device."""


_SECONDS: Final = Number(1.0, 0, _MOST, whole=False)
_LOGIN_FAILURES: Final = (400, 401, 402, 403, 405, 406, 409, 413, 414, 415, 418, 500, 503)

KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("drop", strikes=True),
        Kind("close", strikes=True, parameters={"code": Number(1000, 1000, 4999)}),
        Kind(
            "stream_error",
            strikes=True,
            parameters={"code": Number(503, 100, 999), "close": Flag(default=True)},
        ),
        Kind("conflict", strikes=True),
        Kind("device_removed", strikes=True),
        Kind("deaf", strikes=True),
        Kind("unknown_receipt", strikes=True, parameters={"type": Text("view")}),
        Kind("refuse", strikes=False, parameters={"status": Number(503, 400, 599)}, before_login=True),
        Kind("hang_upgrade", strikes=False, before_login=True),
        Kind("stall", strikes=False),
        Kind("slow_pings", strikes=False, parameters={"delay": _SECONDS}),
        Kind("no_pings", strikes=False),
        Kind("no_send_ack", strikes=False, parameters={"deliver": Flag(default=True)}),
        Kind("send_nack", strikes=False, parameters={"code": Number(463, 400, 999)}),
        Kind(
            "login_failure",
            strikes=False,
            parameters={
                "reason": Number(503, 400, 599, allowed=_LOGIN_FAILURES),
                "code": Number(None, 0, 9999),
                "expire": Number(None, 0, _MOST),
            },
        ),
        Kind("passkey", strikes=False),
        Kind("duplicate_delivery", strikes=False),
        Kind("reorder", strikes=False),
        Kind("junk_ciphertext", strikes=False),
        Kind("delay_delivery", strikes=False, parameters={"delay": _SECONDS}),
    )
}

_LIMITS: Final[Mapping[str, Number]] = {
    "device": Number(None, 1, 99),
    "count": Number(None, 1, _MOST),
    "seconds": Number(None, 0, _MOST, whole=False),
}


@dataclass(slots=True, eq=False)
class Fault:
    """One fault as it was asked for, and what it has done."""

    id: int
    kind: Kind
    parameters: Parameters
    number: str | None = None
    device: int | None = None
    remaining: int | None = None
    ends: float | None = None
    """Monotonic seconds."""
    acted: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has run out of time, or was deleted (not when its count is used up)."""

    @property
    def active(self) -> bool:
        in_time = self.ends is None or time.monotonic() < self.ends
        return not self.over.is_set() and self.remaining != 0 and in_time

    def is_for(self, device: Device | None) -> bool:
        """Say whether it concerns ``device`` (None: a client that is not known yet)."""
        if self.number is None:
            return True
        return device is not None and device.account.number == self.number and self.device in (None, device.id)

    def is_for_phone(self, number: str) -> bool:
        """Say whether it concerns the phone that is about to link a device."""
        return self.device is None and self.number in {None, number}

    def act(self) -> None:
        self.acted += 1
        if self.remaining is not None:
            self.remaining -= 1

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.name,
            **self.parameters,
            "number": self.number,
            "device": self.device,
            "remaining": self.remaining,
            "seconds_left": None if self.ends is None else max(0.0, round(self.ends - time.monotonic(), 3)),
            "active": self.active,
            "acted": self.acted,
        }


class Faults:
    """All faults since the last ``clear``. ``lifted`` is called with each whose time is over."""

    def __init__(self) -> None:
        self.lifted: Callable[[Fault], None] = lambda _fault: None
        self._ids = itertools.count(1)
        self._all: dict[int, Fault] = {}
        self._conditions: dict[str, list[Fault]] = {}

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._all.values())

    def add(self, wish: Mapping[str, Any]) -> Fault:
        """Begin a fault. Raises BadFault."""
        fault = parse(next(self._ids), wish)
        if fault.kind.strikes and fault.remaining is None and fault.ends is None:
            fault.ends = time.monotonic()  # over, once it has struck what is present
        elif fault.ends is not None:
            asyncio.get_running_loop().call_at(fault.ends, self._lift, fault)
        self._all[fault.id] = fault
        self._conditions.setdefault(fault.kind.name, []).append(fault)
        self._forget_oldest()
        return fault

    def hit(self, kind: str, device: Device | None) -> Fault | None:
        """Return the fault of this kind that acts on ``device`` now, counting the action; None if there is none."""
        faults = self._conditions.get(kind)
        if not faults:
            return None
        fault = next((fault for fault in faults if fault.active and fault.is_for(device)), None)
        if fault is not None:
            fault.act()
        return fault

    def hit_phone(self, kind: str, number: str) -> bool:
        """Say whether a fault of this kind acts on a phone that links a device, counting the action."""
        faults = self._conditions.get(kind, ())
        fault = next((fault for fault in faults if fault.active and fault.is_for_phone(number)), None)
        if fault is not None:
            fault.act()
        return fault is not None

    def clear(self, fault_id: int | None = None) -> int:
        """Delete one fault, or all; return how many."""
        doomed = [fault for fault in self._all.values() if fault_id in (None, fault.id)]
        for fault in doomed:
            del self._all[fault.id]
            self._conditions[fault.kind.name].remove(fault)
            self._lift(fault)
        return len(doomed)

    def _lift(self, fault: Fault) -> None:
        if not fault.over.is_set():
            fault.over.set()
            self.lifted(fault)

    def _forget_oldest(self) -> None:
        for fault in list(self._all.values())[: max(0, len(self._all) - _KEPT)]:
            if not fault.active:
                self.clear(fault.id)


def parse(fault_id: int, wish: Mapping[str, Any]) -> Fault:
    """Read what the control API was given. Raises BadFault, naming what there is."""
    kind = KINDS.get(str(wish.get("kind")))
    if kind is None:
        raise BadFault(f"kind must be one of {', '.join(sorted(KINDS))}")
    known = {"kind", "number", *_LIMITS, *kind.parameters}
    if unknown := sorted(wish.keys() - known):
        raise BadFault(f"{kind.name} does not take {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
    limits = {name: _value(limit, name, wish) for name, limit in _LIMITS.items()}
    number = canonical(str(wish["number"])) if wish.get("number") is not None else None
    if limits["device"] is not None and number is None:
        raise BadFault("device needs a number")
    if number is not None and kind.before_login:
        raise BadFault(f"{kind.name} acts before a client has said who it is: it cannot be for one number only")
    seconds = limits["seconds"]
    return Fault(
        id=fault_id,
        kind=kind,
        parameters={name: _value(parameter, name, wish) for name, parameter in kind.parameters.items()},
        number=number,
        device=limits["device"],
        remaining=limits["count"],
        ends=None if seconds is None else time.monotonic() + seconds,
    )


def _value(parameter: Number | Flag | Text, name: str, wish: Mapping[str, Any]) -> Any:
    value = wish.get(name)
    return parameter.default if value is None else parameter.check(name, value)
