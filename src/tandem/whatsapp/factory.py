"""Device hosts and what is kept for them: ``sessions/<account>/<slot>.db`` and its companions in the data directory.

<slot>.db, -wal, -shm   the key store, SQLite, written by the library
<slot>.journal          events that are not durable in the daemon yet (``.torn``: what could not be read of it)
<slot>.lock             held by the host that runs the slot
quarantine/<slot>-<UTC time>/   key stores put aside; nothing here is ever deleted
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from tandem.errors import DataUnusable
from tandem.model.account import Account
from tandem.model.event import EventType, Publish
from tandem.model.message import RawEvent
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp import keystore, protos
from tandem.whatsapp.codes import CONTENT, subscriptions
from tandem.whatsapp.compose import device_props
from tandem.whatsapp.journal import Journal
from tandem.whatsapp.link import Link, open_link
from tandem.whatsapp.options import EmulatorEndpoint, HostOptions
from tandem.whatsapp.outlet import Tell
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from tandem.whatsapp.records import read
from wa_library import package

_PRIVATE = 0o700
_LOCK_POLL = 0.02
_STORE_SUFFIXES = (".db", ".db-wal", ".db-shm")

_log = structlog.get_logger()


class HostFactory:
    """Implements ``port.DeviceFactory`` with one process per slot.

    ``emulator``: hosts talk to it and to nothing else, or do not run. ``timings``: the library's keep-alive timings in
    seconds, instead of those that a spec asks for, for tests. ``publish`` is told what hosts print and log; without
    it, warnings go to the log.
    """

    def __init__(
        self,
        data_dir: Path,
        settings: DeviceSettings,
        emulator: EmulatorEndpoint | None = None,
        *,
        timings: tuple[float, ...] = (),
        publish: Publish | None = None,
    ) -> None:
        self.region = ""
        """Part of the devices' names on the phone, where there are several instances."""
        self._sessions = data_dir.absolute() / "sessions"
        self._settings = settings
        self._emulator = emulator
        self._timings = timings
        self._publish = publish
        self._checked: set[Path] = set()

    @property
    def release(self) -> str:
        return package.VERSION

    async def vacated(self, patience: float) -> None:
        """Return when no host of an earlier daemon runs any more: until then it may write to its journal.

        A killed daemon's hosts outlive its lock by moments. Raises DataUnusable after ``patience`` seconds.
        """
        locks = list(self._sessions.glob("*/*.lock"))
        try:
            async with asyncio.timeout(patience):
                while held := [path for path in locks if _is_held(path)]:  # noqa: ASYNC110 - no Event of dead daemons
                    await asyncio.sleep(_LOCK_POLL)
        except TimeoutError:
            slots = ", ".join(f"{path.parent.name}/{path.stem}" for path in held)
            raise DataUnusable(
                f"device hosts of an earlier tandem still run ({slots}): end them, then start this one again"
            ) from None

    async def start(self, spec: DeviceSpec, listener: DeviceListener) -> Link:
        """Spawn a host. Raises NotOnline, DataUnusable, Misconfigured, as ``open_link`` says."""
        store = self._store(spec.account, spec.slot)
        _make_private(store.parent)
        await asyncio.to_thread(protos.load)

        def options(fd: int) -> HostOptions:
            return HostOptions(
                fd=fd,
                parent=os.getpid(),
                store=store,
                uuid=f"{spec.account.id}-{spec.slot}",
                props=device_props(spec.slot, self.region),
                subscriptions=subscriptions(receipts=spec.receipts),
                heartbeat=self._settings.heartbeat_interval,
                pairing=spec.pairing,
                emulator=self._emulator,
                timings=self._timings or spec.timings,
            )

        return await open_link(spec, listener, options, self._settings, self._teller(spec))

    def paired_device(self, account: Account, slot: Slot) -> str:
        store = self._store(account, slot)
        try:
            if store not in self._checked:
                keystore.check(store)
                self._checked.add(store)
            return keystore.linked_device(store)
        except (keystore.KeyStoreUnusable, OSError) as error:
            raise DataUnusable(
                f"the {slot}'s key store cannot be used ({error}): put it aside and link the slot again"
            ) from None

    def departures(self, account: Account, secret: bytes) -> set[str]:
        """Return the ids under which a message with this secret was about to leave, from either slot.

        Key stores that were set aside are asked too: a slot that was linked again must not forget what it sent.
        Raises DataUnusable if one of them cannot be read, for then nothing is proven.
        """
        folder = self._sessions / account.id
        stores = [path for slot in Slot for path in (folder / f"{slot}.db", *folder.glob(f"quarantine/{slot}-*/*.db"))]
        try:
            return {found for store in stores for found in keystore.departures(store, secret)}
        except (keystore.KeyStoreUnusable, OSError) as error:
            raise DataUnusable(f"a key store cannot be read: {error}") from None

    def leftover(self, account: Account, slot: Slot) -> Sequence[RawEvent]:
        try:
            contents = read(self._journal(account, slot))
        except OSError as error:
            raise DataUnusable(f"the {slot}'s journal cannot be read: {error.strerror or error}") from None
        return [
            RawEvent(account.id, slot, 0, record.sequence, record.code, record.payload, record.arrived_at)
            for record in contents.records
        ]

    def forget_leftover(self, account: Account, slot: Slot) -> None:
        """Drop the journal's events. Its file stays, so that sequences go on growing; a torn tail is set aside."""
        path = self._journal(account, slot)
        if not path.exists():
            return
        try:
            journal = Journal(path)
            try:
                journal.acknowledge(journal.last)
                journal.tidy()
            finally:
                journal.close()
        except OSError as error:
            raise DataUnusable(f"the {slot}'s journal cannot be emptied: {error.strerror or error}") from None

    def quarantine(self, account: Account, slot: Slot, why: str, *, journal: bool = False) -> Path | None:
        """Move a slot's key store aside. A journal that holds messages stays: they are the account's, not the keys'.

        ``journal``: it goes as well, for the keys were somebody else's.
        """
        store = self._store(account, slot)
        files = [store.with_suffix(suffix) for suffix in _STORE_SUFFIXES]
        if journal or not self._holds_messages(account, slot):
            files.append(self._journal(account, slot))
        files = [file for file in files if file.exists()]
        if not files:
            return None
        folder = _fresh_folder(store.parent / "quarantine", slot)
        for file in files:
            file.rename(folder / file.name)
        _leave_note(folder / "why.txt", why)
        self._checked.discard(store)
        return folder

    def _holds_messages(self, account: Account, slot: Slot) -> bool:
        try:
            return any(event.code in CONTENT for event in self.leftover(account, slot))
        except DataUnusable:
            return False

    def _store(self, account: Account, slot: Slot) -> Path:
        return self._sessions / account.id / f"{slot}.db"

    def _journal(self, account: Account, slot: Slot) -> Path:
        return self._store(account, slot).with_suffix(".journal")

    def _teller(self, spec: DeviceSpec) -> Tell:
        def tell(level: str, source: str, text: str) -> None:
            names = {"account": spec.account.id, "slot": spec.slot, "generation": spec.generation}
            if self._publish is not None:
                self._publish(EventType.HOST_LOG, text, **names, level=level, source=source)  # type: ignore[arg-type]
            elif level in {"warning", "error"}:
                _log.warning("host_log", message=text, level_of_host=level, source=source, **names)

        return tell


def _is_held(lock: Path) -> bool:
    file = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _make_private(folder: Path) -> None:
    for part in (folder.parent, folder):
        part.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        with suppress(PermissionError):  # a volume that another user made: what is in it is private all the same
            part.chmod(_PRIVATE)


def _fresh_folder(parent: Path, slot: Slot) -> Path:
    parent.mkdir(mode=_PRIVATE, exist_ok=True)
    name = f"{slot}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    for attempt in range(1, 1000):
        folder = parent / (name if attempt == 1 else f"{name}-{attempt}")
        with suppress(FileExistsError):
            folder.mkdir(mode=_PRIVATE)
            return folder
    raise DataUnusable("the quarantine is full: look through it")


def _leave_note(path: Path, why: str) -> None:
    path.touch(mode=0o600)
    path.write_text(why + "\n")
