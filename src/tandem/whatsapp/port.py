"""A linked device as the rest of Tandem sees it: one device host process, one generation, one connect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Protocol

from tandem.model.account import Account
from tandem.model.ids import ChatId
from tandem.model.message import RawEvent
from tandem.model.outbox import Content, SendResult
from tandem.model.signals import Signal
from tandem.model.states import Slot


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What a device host is started for. ``pairing``: show QR texts; otherwise it refuses an unpaired key store.

    ``timings`` are the library's four keep-alive timings in seconds (answer deadline, shortest and longest wait, forced
    reconnect), set before it connects; empty: its own. ``receipts``: whether it is told of receipts (see ``codes``).
    """

    account: Account
    slot: Slot
    generation: int
    pairing: bool = False
    timings: tuple[float, ...] = ()
    receipts: bool = True


@dataclass(frozen=True, slots=True)
class DeviceListener:
    """Where a device's news goes. Both are called on the event loop, in order, and must not block.

    ``signal`` gets every change of the session's condition, ``HostEnded`` exactly once and last. ``event`` gets the
    journaled events (messages, receipts); each stays in the host's journal until ``Device.acknowledge``.
    """

    signal: Callable[[Signal], None]
    event: Callable[[RawEvent], None]


class Device(Protocol):
    """A running device host. Calls raise NotOnline when the host is gone; none blocks longer than its timeout."""

    @property
    def pid(self) -> int: ...

    def acknowledge(self, sequence: int) -> None:
        """Everything up to this sequence is durable elsewhere: the journal may forget it."""

    async def send(
        self, chat: ChatId, content: Content, secret: bytes, timeout: float, not_after: float = inf
    ) -> SendResult:
        """Send whatever an outbox row holds. Never raises for what the network does: that is in the result.

        ``not_after`` (this machine's monotonic seconds): the host itself refuses to begin later than that, however long
        the command was on its way, or this process stood still.

        A read mark has no answer of its own and becomes no message: accepted means that the server has answered what
        was sent behind it, and there is no message id. ``timeout`` in seconds.
        """
        ...

    async def probe(self, timeout: float) -> float:
        """Round trip of an acknowledged stanza in milliseconds. Raises NotOnline without an answer in time."""
        ...

    async def keep_alive(self, timings: Sequence[float], timeout: float) -> float:
        """Change the library's keep-alive timings while it runs; they count from its next wait on.

        Returns the longest wait as it reads back, in seconds. Raises NotOnline if they cannot be set.
        """
        ...

    async def pair_by_code(self, number: str, timeout: float) -> str:
        """Return the code to type on the phone. Only while pairing. Raises Rejected if the server refuses."""
        ...

    async def logout(self, timeout: float) -> None:
        """Unlink this device from the phone. Called from one place only: the operator's "delete account"."""

    async def stop(self) -> None:
        """Disconnect without logging out, then end the host; kill it after the grace. Returns when it is gone."""

    def kill(self) -> None:
        """End the host at once."""


class DeviceFactory(Protocol):
    """``release`` is that of the WhatsApp library which the hosts run."""

    @property
    def release(self) -> str: ...

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> Device:
        """Spawn a host and return when it said that it is up. Raises NotOnline if it did not come up in time."""
        ...

    def paired_device(self, account: Account, slot: Slot) -> str:
        """JID of the linked device in the slot's key store, empty if unpaired. Raises DataUnusable if corrupt."""
        ...

    def leftover(self, account: Account, slot: Slot) -> Sequence[RawEvent]:
        """Journaled events of a host that ended before they were acknowledged. Only while no host runs."""
        ...

    def forget_leftover(self, account: Account, slot: Slot) -> None:
        """Drop the journal, after its events became durable."""

    def quarantine(self, account: Account, slot: Slot, why: str, *, journal: bool = False) -> Path | None:
        """Move a slot's key store aside, never deleting it. Returns where it is now.

        ``journal``: its journal too, whatever it holds, for it is not this account's.
        """
        ...
