"""Plays a device host badly: run by the link in place of the real one. The first argument says what it does."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from tandem.whatsapp.frames import NOT_AFTER, Decoder, Frame, Kind, encode

HELLO: dict[str, Any] = {
    "pid": os.getpid(),
    "paired": True,
    "library": "0.5.2",
    "keep_alive": None,
    "leftover": 0,
    "torn_bytes": 0,
}
EVENT: dict[str, Any] = {"sequence": 1, "code": 17, "arrived_at": 1.0}


class Impostor:
    def __init__(self, act: str, fd: int) -> None:
        self.act = act
        self.socket = socket.socket(fileno=fd)

    def say(self, kind: Kind, payload: bytes = b"", **header: object) -> None:
        self.socket.sendall(encode(Frame(kind, header, payload)))

    def run(self) -> None:
        getattr(self, self.act)()

    def hello(self) -> None:
        self.say(Kind.HELLO, **HELLO)

    def obey(self) -> None:
        """Answer commands as they come, until told to quit."""
        decoder = Decoder()
        while chunk := self.socket.recv(65_536):
            for frame in decoder.feed(chunk):
                if frame.kind is Kind.QUIT:
                    os._exit(0)
                self.answer(frame)

    def answer(self, frame: Frame) -> None:
        number = frame.header.get("id", 0)
        if frame.kind is Kind.ACK:
            self.say(Kind.LOG, level="WARN", logger="impostor", text=f"acknowledged {frame.header['sequence']}")
        elif frame.header["op"] == "probe":
            self.say(Kind.REPLY, id=number, milliseconds=12.5)
        elif self.act == "punctual":
            self.judge(frame)
        elif frame.header["op"] == "send":
            self.say(Kind.REPLY, id=number, error="the library is not ready yet", refused=True)
        elif frame.header["op"] == "mark_read":
            self.say(Kind.REPLY, id=number, error="websocket not connected")

    def good(self) -> None:
        self.hello()
        self.obey()

    def punctual(self) -> None:
        """Refuse what comes too late, and say of the rest that it found no connection."""
        self.good()

    def judge(self, frame: Frame) -> None:
        number, until = frame.header["id"], frame.header.get(NOT_AFTER)
        late = until is not None and time.monotonic() > frame.real(NOT_AFTER)
        words = "this instance's right to send had run out" if late else f"may be done until {until}"
        self.say(Kind.REPLY, id=number, error=words, refused=late)

    def mute(self) -> None:
        time.sleep(60)

    def silent(self) -> None:
        self.hello()
        time.sleep(60)

    def garbage(self) -> None:
        self.hello()
        self.socket.sendall(b"\xff" * 64)
        time.sleep(60)

    def foreign(self) -> None:
        self.hello()
        self.say(Kind.COMMAND, id=1)
        time.sleep(60)

    def unreadable(self) -> None:
        self.hello()
        self.say(Kind.EVENT, b"\xff\xff", sequence=0, code=8, arrived_at=1.0)
        self.say(Kind.EVENT, b"\xff\xff", **EVENT)
        self.obey()

    def deaf(self) -> None:
        self.hello()
        while True:
            self.say(Kind.HEARTBEAT, journal_bytes=20, unacknowledged=3)
            time.sleep(0.02)

    def chatty(self) -> None:
        self.hello()
        sys.stdout.write("SendMessage: Error sending message to 12025550199@s.whatsapp.net\n" + "x" * 200_000)
        sys.stderr.write("panic: handleConnectFailure\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os.abort()

    def hasty(self) -> None:
        """Be banned at the first word from the daemon, and leave what it says after that unread."""
        self.hello()
        self.socket.recv(1)
        self.tell_of_a_ban()

    def banned(self) -> None:
        self.hello()
        self.tell_of_a_ban()

    def tell_of_a_ban(self) -> None:
        text = 'Temporary ban connect failure: <failure code="105" expire="60"/>'
        self.say(Kind.LOG, level="WARN", logger="Client", text=text)
        self.say(Kind.ENDING, code=22, reason="proto: required field neonize.TemporaryBan.Code not set")
        os._exit(22)

    def logged_out(self) -> None:
        self.hello()
        self.say(Kind.EVENT, b"\x08\x00\x10\x02", sequence=1, code=6, arrived_at=1.0)
        self.obey()

    def showing(self) -> None:
        self.hello()
        for text in (b"2@first", b"2@second"):
            self.say(Kind.QR, text)
        self.obey()

    def unpaired(self) -> None:
        self.say(Kind.ENDING, code=13, reason="")
        os._exit(13)

    def locked(self) -> None:
        os._exit(12)


def main() -> None:
    fd = next(int(argument.removeprefix("--fd=")) for argument in sys.argv if argument.startswith("--fd="))
    Impostor(sys.argv[1], fd).run()


if __name__ == "__main__":
    main()
