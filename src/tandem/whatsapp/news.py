"""A host's frames, turned into what the rest of Tandem hears. No socket, no clock: the link feeds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tandem.errors import PoisonMessage
from tandem.model import signals
from tandem.model.message import RawEvent
from tandem.whatsapp.calls import Calls
from tandem.whatsapp.codes import CONTENT, TERMINAL
from tandem.whatsapp.decode import decode_signal
from tandem.whatsapp.frames import Frame, FrameError, Kind
from tandem.whatsapp.outlet import Tell
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from tandem.whatsapp.reasons import ban_in_log_line, rate_limit

FIRST_QR_SECONDS = 60.0
NEXT_QR_SECONDS = 20.0
"""How long a QR text is good for: WhatsApp gives six, the first is shown for a minute."""

_LEVELS = {"INFO": "info", "WARN": "warning", "ERROR": "error"}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host said of itself when it was up.

    ``library`` is the library's release; ``keep_alive`` its four timings in seconds (answer deadline, shortest and
    longest wait, forced reconnect), None if they were not found in its memory and so cannot be set; ``leftover`` the
    events it found in its journal, ``torn_bytes`` what of the journal it could not read and set aside.
    """

    pid: int
    paired: bool
    library: str
    keep_alive: tuple[float, ...] | None
    leftover: int
    torn_bytes: int


class News:
    """Hears the frames of one host. Raises FrameError for what no host says, and whatever the listener raises."""

    def __init__(self, spec: DeviceSpec, listener: DeviceListener, calls: Calls, tell: Tell) -> None:
        self._spec = spec
        self._listener = listener
        self._tell = tell
        self._qr_texts = 0
        self.facts: HostFacts | None = None
        self.last_words = ""
        self.ban: signals.Banned | None = None
        self.terminal: list[int] = []
        self.journal_bytes = 0
        self.unacknowledged = 0
        self._handlers: dict[Kind, Callable[[Frame], None]] = {
            Kind.HELLO: self._hello,
            Kind.EVENT: self._event,
            Kind.QR: self._qr,
            Kind.LOGIN: self._login,
            Kind.LOG: self._log,
            Kind.PING: self._ping,
            Kind.REPLY: calls.settle,
            Kind.HEARTBEAT: self._heartbeat,
            Kind.ENDING: self._ending,
            Kind.TROUBLE: self._trouble,
        }

    @property
    def showing_qr(self) -> bool:
        """Whether a pairing is so far that a code can be asked for."""
        return self._qr_texts > 0

    def hear(self, frame: Frame) -> None:
        handler = self._handlers.get(frame.kind)
        if handler is None:
            raise FrameError(f"a host sent a {frame.kind.name} frame")
        handler(frame)

    def _hello(self, frame: Frame) -> None:
        timings = frame.header.get("keep_alive")
        self.facts = HostFacts(
            pid=frame.number("pid"),
            paired=bool(frame.header.get("paired")),
            library=frame.text("library"),
            keep_alive=tuple(float(value) for value in timings) if isinstance(timings, list) else None,
            leftover=frame.number("leftover"),
            torn_bytes=frame.number("torn_bytes"),
        )
        if self.facts.torn_bytes:
            self._tell("error", "host", f"{self.facts.torn_bytes} bytes of the journal were torn and are set aside")
        if self.facts.keep_alive is None:
            self._tell("warning", "host", "the library's keep-alive timings were not found and stay as they are")
        longest_wait = self.facts.keep_alive[2] if self.facts.keep_alive else None
        self._listener.signal(signals.Started(self.facts.pid, self.facts.paired, longest_wait))

    def _event(self, frame: Frame) -> None:
        code, sequence = frame.number("code"), frame.number("sequence")
        if code in CONTENT:
            spec = self._spec
            self._listener.event(
                RawEvent(
                    spec.account.id,
                    spec.slot,
                    spec.generation,
                    sequence,
                    code,
                    frame.payload,
                    frame.real("arrived_at"),
                )
            )
            return
        if code in TERMINAL and sequence:
            self.terminal.append(sequence)
        try:
            signal = decode_signal(code, frame.payload)
        except PoisonMessage as error:
            self._tell("error", "host", str(error))
            return
        if signal is not None:
            self._listener.signal(signal)

    def _log(self, frame: Frame) -> None:
        text = frame.text("text")
        self.ban = ban_in_log_line(text) or self.ban
        self._tell(_LEVELS.get(frame.text("level"), "info"), frame.text("logger"), text)
        if detail := rate_limit(text):
            self._listener.signal(signals.RateLimited(detail))

    def _qr(self, frame: Frame) -> None:
        lasts = NEXT_QR_SECONDS if self._qr_texts else FIRST_QR_SECONDS
        self._qr_texts += 1
        self._listener.signal(signals.QrShown(frame.payload.decode(errors="replace"), lasts))

    def _login(self, frame: Frame) -> None:
        self._tell("info", "host", f"pairing: {frame.text('status')}")

    def _ping(self, frame: Frame) -> None:
        self._listener.signal(signals.PingTimed(frame.real("milliseconds")))

    def _heartbeat(self, frame: Frame) -> None:
        self.journal_bytes = frame.number("journal_bytes")
        self.unacknowledged = frame.number("unacknowledged")

    def _ending(self, frame: Frame) -> None:
        self.last_words = frame.text("reason")

    def _trouble(self, frame: Frame) -> None:
        self._tell("error", "host", f"{frame.text('what')}: {frame.text('reason')}")
