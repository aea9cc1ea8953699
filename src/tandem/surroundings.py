"""What has to be right around the daemon before it starts: its data directory, and the emulator if it is to use one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tandem.errors import DataUnusable, Misconfigured
from tandem.model.event import EventType, Publish
from tandem.policy.survival import old_library
from tandem.settings import Settings
from tandem.whatsapp.options import EmulatorEndpoint

_PRIVATE = 0o700
_PATIENCE = 5.0
_POLL = 0.1


def check_data_directory(settings: Settings) -> None:
    """Make the data directory and prove that it can be written. Raises DataUnusable, saying what to do."""
    folder = settings.data_dir
    volume = settings.railway_volume
    if settings.production and not settings.allow_ephemeral and not _inside(folder, volume):
        raise DataUnusable(
            f"{folder} is not on a Railway volume, so every deploy would lose all sessions: attach a volume and set "
            f"TANDEM_DATA_DIR to a folder on it (or TANDEM_ALLOW_EPHEMERAL=true to run without)"
        )
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise DataUnusable(
            f"the data directory {folder} cannot be written ({error.strerror}): give this user the right to, or set "
            "TANDEM_DATA_DIR to another folder"
        ) from None


def tell_of_old_library(released: float, now: float, publish: Publish) -> None:
    """Publish once, at the start, that the library is older than WhatsApp may accept much longer. Unix seconds."""
    problem = old_library(released, now)
    if problem is not None:
        sentence = f"{problem.reason.words}; next: {problem.reason.next_step}"
        publish(EventType.LIBRARY_OLD, sentence, reason=problem.reason.words, next_step=problem.reason.next_step)


def _inside(folder: Path, volume: Path | None) -> bool:
    return volume is not None and folder.resolve().is_relative_to(volume.resolve())


async def find_emulator(settings: Settings) -> EmulatorEndpoint | None:
    """Ask the emulator that the settings name for its root key. Raises Misconfigured if it does not answer in time."""
    if settings.emulator is None:
        return None
    if settings.production:
        raise Misconfigured("TANDEM_EMULATOR is set in production: unset it, nobody would receive a message")
    port = int(settings.emulator.rpartition(":")[2])
    try:
        async with asyncio.timeout(_PATIENCE):
            return EmulatorEndpoint(port, await _root_key(f"http://127.0.0.1:{port}/control/root-key"))
    except TimeoutError:
        raise Misconfigured(
            f"no wa-emulator answers on 127.0.0.1:{port}: start one with `wa-emulator --port {port}`"
        ) from None


async def _root_key(url: str) -> bytes:
    """Return the key that the emulator's certificates are signed with, waiting while the emulator starts."""
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    answer.raise_for_status()
                    return bytes.fromhex((await answer.json())["hex"])
            except (aiohttp.ClientError, ValueError, KeyError):
                await asyncio.sleep(_POLL)


def is_shared(settings: Settings, store: str) -> bool:
    """Whether this instance shares its accounts, with this store. Raises Misconfigured for what cannot be together."""
    cluster, firestore = settings.cluster, store == "firestore"
    if cluster.mode == "on" and not firestore:
        raise Misconfigured("TANDEM_CLUSTER__MODE=on needs Firestore, where instances meet: set its credentials")
    named = settings.primary_region_url or settings.backup_region_url
    shared = firestore and (cluster.mode == "on" or (cluster.mode == "auto" and bool(named)))
    if cluster.slots != "both" and not shared:
        raise Misconfigured(
            f"TANDEM_CLUSTER__SLOTS={cluster.slots} leaves the other slot to another instance, but this one shares "
            "nothing: set TANDEM_CLUSTER__MODE=on (with Firestore), or TANDEM_CLUSTER__SLOTS=both"
        )
    return shared
