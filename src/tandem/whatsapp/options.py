"""How a device host is told what to do: its command line, written by the daemon and read by the host.

Standard library only. No secret stands in it: command lines are public on the machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EmulatorEndpoint:
    """A wa-emulator on this machine's loopback, and the 32-byte public key that its certificates are signed with."""

    port: int
    root_key: bytes


@dataclass(frozen=True, slots=True)
class HostOptions:
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
            line += ["--emulator", str(self.emulator.port), self.emulator.root_key.hex()]
        return [*line, f"--timings={_joined(self.timings)}"] if self.timings else line

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> HostOptions:
        """Read a command line. Ends the process with code 2 if it is wrong, as argparse does."""
        read = _parser().parse_args(arguments)
        return cls(
            fd=read.fd,
            parent=read.parent,
            store=read.store,
            uuid=read.uuid,
            props=read.props,
            subscriptions=bytes(read.subscribe),
            heartbeat=read.heartbeat,
            pairing=read.pair,
            emulator=_endpoint(read.emulator),
            timings=tuple(read.timings),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tandem.whatsapp.host", description=__doc__, allow_abbrev=False)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--uuid", required=True)
    parser.add_argument("--props", type=bytes.fromhex, required=True)
    parser.add_argument("--subscribe", type=_integers, required=True)
    parser.add_argument("--heartbeat", type=float, required=True)
    parser.add_argument("--pair", action="store_true")
    parser.add_argument("--emulator", nargs=2, metavar=("PORT", "ROOTKEYHEX"))
    parser.add_argument("--timings", type=_numbers, default=())
    return parser


def _joined(values: Sequence[float]) -> str:
    return ",".join(str(value) for value in values)


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _endpoint(written: list[str] | None) -> EmulatorEndpoint | None:
    return EmulatorEndpoint(int(written[0]), bytes.fromhex(written[1])) if written else None
