"""A daemon of one host, to be killed: starts it, prints its pid, and sleeps. argv: data dir, port, root key, number."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tandem.model.account import Account
from tandem.model.ids import Number, account_id
from tandem.model.signals import Connected, Signal
from tandem.model.states import Slot
from tandem.settings import DeviceSettings
from tandem.whatsapp.factory import HostFactory
from tandem.whatsapp.options import EmulatorEndpoint
from tandem.whatsapp.port import DeviceListener, DeviceSpec


async def main(folder: str, port: str, root_key: str, written: str) -> None:
    connected = asyncio.Event()

    def hear(signal: Signal) -> None:
        if isinstance(signal, Connected):
            connected.set()

    number = Number(written)
    account = Account(account_id(number), number, "Ann", 0.0)
    factory = HostFactory(Path(folder), DeviceSettings(), EmulatorEndpoint(int(port), bytes.fromhex(root_key)))
    link = await factory.start(DeviceSpec(account, Slot.PRIMARY, 1), DeviceListener(hear, lambda _event: None))
    await connected.wait()
    print(json.dumps({"pid": link.pid}), flush=True)
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
