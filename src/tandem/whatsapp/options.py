"""How a device host is told what to do: its command line, written by the daemon and read by the host.

Standard library only. No secret stands in it: command lines are public on the machine.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class EmulatorEndpoint(NamedTuple):
    """A wa-emulator on this machine's loopback, and the 32-byte public key that its certificates are signed with."""

    port: int
    root_key: bytes


class HostOptions(NamedTuple):
    """``fd`` is the socket to the daemon, ``parent`` its pid; ``store`` the key store; ``uuid`` names the client.

    ``props`` is a serialised DeviceProps; ``subscriptions`` the event numbers wanted; ``heartbeat`` is in seconds;
    ``timings`` are the library's four keep-alive timings in seconds.
    """

    fd: int
    parent: int
    store: Path
    uuid: str
    props: bytes
    subscriptions: bytes
    heartbeat: float
    pairing: bool = False
    emulator: EmulatorEndpoint | None = None
    timings: tuple[float, ...] = ()

    def arguments(self) -> list[str]:
        """Return the command line that ``parse`` reads back."""
        line = [f"--fd={self.fd}", f"--parent={self.parent}", f"--store={self.store}", f"--uuid={self.uuid}"]
        line += [f"--props={self.props.hex()}", f"--subscribe={_joined(self.subscriptions)}"]
        line += [f"--heartbeat={self.heartbeat}", *(["--pair"] if self.pairing else [])]
        if self.emulator is not None:
            line.append(f"--emulator={self.emulator.port}:{self.emulator.root_key.hex()}")
        return [*line, f"--timings={_joined(self.timings)}"] if self.timings else line

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> HostOptions:
        """Read a command line. Ends the process with code 2 if it is wrong, as argparse does.

        By hand, for argparse would cost each host half a megabyte.
        """
        read = dict(argument.removeprefix("--").partition("=")[::2] for argument in arguments)
        try:
            options = cls(
                fd=int(read.pop("fd")),
                parent=int(read.pop("parent")),
                store=Path(read.pop("store")),
                uuid=read.pop("uuid"),
                props=bytes.fromhex(read.pop("props")),
                subscriptions=bytes(int(part) for part in read.pop("subscribe").split(",")),
                heartbeat=float(read.pop("heartbeat")),
                pairing=read.pop("pair", None) is not None,
                emulator=_endpoint(read.pop("emulator", "")),
                timings=tuple(float(part) for part in read.pop("timings", "").split(",") if part),
            )
        except (KeyError, ValueError) as error:
            raise _wrong(f"{type(error).__name__}: {error}") from None
        if read:
            raise _wrong(f"unknown: {', '.join(sorted(read))}")
        return options


def _wrong(what: str) -> SystemExit:
    print(f"tandem.whatsapp.host: it is started by the daemon only; {what}", file=sys.stderr)  # noqa: T201 - the daemon reads it
    return SystemExit(2)


def _joined(values: Sequence[float]) -> str:
    return ",".join(str(value) for value in values)


def _endpoint(written: str) -> EmulatorEndpoint | None:
    port, _, key = written.partition(":")
    return EmulatorEndpoint(int(port), bytes.fromhex(key)) if written else None
