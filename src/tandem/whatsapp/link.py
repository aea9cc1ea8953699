"""The daemon's end of a device host: hears it, commands it, watches it, and makes sure that it ends.

Implements ``port.Device``. Whatever goes wrong with the host (silence, garbage, a call that never returns, a listener
that fails) ends it, and its end is told exactly once and last. Signals and events are delivered on the event loop, in
order; the first may come before ``open_link`` returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

from tandem.errors import DataUnusable, Misconfigured, NotOnline, Rejected, TandemError
from tandem.model.ids import ChatId
from tandem.model.outbox import Content, MarkRead, SendOutcome, SendResult
from tandem.model.signals import HostEnded, RateLimited
from tandem.settings import DeviceSettings
from tandem.whatsapp import reasons
from tandem.whatsapp.calls import Answer, CallError, Calls
from tandem.whatsapp.compose import calls_of, pairing_code, pairing_request, send_result
from tandem.whatsapp.exits import ExitCode
from tandem.whatsapp.frames import NOT_AFTER, Decoder, Frame, FrameError, Kind, encode
from tandem.whatsapp.keepalive import KEEP_ALIVE
from tandem.whatsapp.news import HostFacts, News
from tandem.whatsapp.options import HostOptions
from tandem.whatsapp.outlet import Outlet, Tell
from tandem.whatsapp.port import DeviceListener, DeviceSpec
from tandem.whatsapp.reasons import send_failure
from tandem.whatsapp.spawn import Spawned, spawn

_CHUNK = 262_144
_BURIAL_SECONDS = 1.0
_POLL_SECONDS = 0.02

_FATAL_TO_START: dict[int, type[TandemError]] = {
    ExitCode.STORE_UNUSABLE: DataUnusable,
    ExitCode.UNPAIRED: DataUnusable,
    ExitCode.LIBRARY_UNUSABLE: Misconfigured,
    ExitCode.REDIRECT_FAILED: Misconfigured,
}


async def open_link(
    spec: DeviceSpec,
    listener: DeviceListener,
    options_for: Callable[[int], HostOptions],
    settings: DeviceSettings,
    tell: Tell,
) -> Link:
    """Start a host and return when it said hello.

    Raises NotOnline if it did not come up in time or ended before, DataUnusable if its key store is damaged or empty,
    Misconfigured if the library cannot be used. When it raises, the host is gone and no HostEnded was or will be told.
    """
    try:
        spawned = await spawn(options_for)
    except OSError as error:
        raise NotOnline(f"no host could be started: {error.strerror}") from None
    link = Link(spec, listener, spawned, settings, tell)
    try:
        await link.up()
    except BaseException:
        link.kill()
        await link.gone()
        raise
    return link


class Link:
    """A running device host. Made by ``open_link``; ``stop`` it, or it ends with its host."""

    def __init__(
        self, spec: DeviceSpec, listener: DeviceListener, spawned: Spawned, settings: DeviceSettings, tell: Tell
    ) -> None:
        self._process = spawned.process
        self._socket, self._writer = spawned.socket, spawned.writer
        self._listener = listener
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._calls = Calls()
        self._news = News(spec, listener, self._calls, tell)
        self._outlet = Outlet(tell)
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self._heard_at = self._loop.time()
        self._acknowledged = 0
        self._verdict = ""
        self._ended = False
        self._life = asyncio.create_task(self._live(), name=f"host {spec.slot}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def facts(self) -> HostFacts:
        """What the host said of itself."""
        if self._news.facts is None:
            raise NotOnline("the host has not said hello")
        return self._news.facts

    @property
    def journal_bytes(self) -> int:
        """Size of the host's journal at its last heartbeat."""
        return self._news.journal_bytes

    @property
    def unacknowledged(self) -> int:
        """Events in the journal that were not acknowledged at the last heartbeat."""
        return self._news.unacknowledged

    def acknowledge(self, sequence: int) -> None:
        if sequence > self._acknowledged:
            self._acknowledged = sequence
            self._say(Frame(Kind.ACK, {"sequence": sequence}))

    async def send(
        self, chat: ChatId, content: Content, secret: bytes, timeout: float, not_after: float = inf
    ) -> SendResult:
        if self._ended:
            return SendResult(SendOutcome.NOT_SENT, error="the host is gone")
        deadline = self._loop.time() + timeout
        try:
            for operation, parts in calls_of(chat, content, secret):
                answer = await self._call(operation, parts, max(0.0, deadline - self._loop.time()), not_after)
        except Rejected as error:
            return SendResult(SendOutcome.REJECTED, error=str(error))
        except CallError as error:
            outcome = SendOutcome.NOT_SENT if error.refused else send_failure(str(error)).outcome
            return SendResult(outcome, error=str(error))
        except NotOnline as error:
            return SendResult(SendOutcome.UNKNOWN, error=str(error))
        result = SendResult(SendOutcome.ACCEPTED) if isinstance(content, MarkRead) else send_result(answer.payload)
        self._note_rate_limit(result.error, answered_send=True)
        return result

    async def probe(self, timeout: float) -> float:
        return (await self._ask("probe", (), timeout)).milliseconds

    async def keep_alive(self, timings: Sequence[float], timeout: float) -> float:
        values = ",".join(str(value) for value in timings).encode()
        answer = await self._ask(KEEP_ALIVE, (values,), timeout)
        return float(answer.payload.split(b",")[2])

    async def pair_by_code(self, number: str, timeout: float) -> str:
        deadline = self._loop.time() + timeout
        while not self._news.showing_qr:  # a code can be asked for once the library stands before the server
            if self._ended or self._loop.time() > deadline:
                raise NotOnline("WhatsApp did not offer a pairing in time")
            await asyncio.sleep(_POLL_SECONDS)
        request = (pairing_request(number),)
        answer = await self._ask("pair_by_code", request, max(0.0, deadline - self._loop.time()))
        return pairing_code(answer.payload)

    async def logout(self, timeout: float) -> None:
        await self._ask("logout", (), timeout)

    async def stop(self) -> None:
        self._acknowledge_terminal()
        self._say(Frame(Kind.QUIT))
        try:
            async with asyncio.timeout(self._settings.stop_grace):
                await self.gone()
        except TimeoutError:
            self.kill()
            await self.gone()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def up(self) -> None:
        """Wait for the host's hello. Raises as ``open_link`` does."""
        try:
            async with asyncio.timeout(self._settings.hello_timeout):
                await asyncio.shield(self._hello)
        except TimeoutError:
            raise NotOnline(f"the host did not come up within {self._settings.hello_timeout:g} s") from None

    async def gone(self) -> None:
        """Wait until the host is dead, reaped, and its end was told."""
        await asyncio.shield(self._life)

    # Commands

    async def _ask(self, operation: str, parts: Sequence[bytes], timeout: float) -> Answer:
        try:
            return await self._call(operation, parts, timeout)
        except CallError as error:
            raise NotOnline(f"{operation.replace('_', ' ')}: {error}") from None

    async def _call(self, operation: str, parts: Sequence[bytes], timeout: float, not_after: float = inf) -> Answer:
        """Have the host call the library. Raises NotOnline, CallError.

        A caller's ``timeout`` ends its own waiting. The call itself has ``command_timeout``, then its host is ended.
        """
        if self._ended:
            raise NotOnline("the host is gone")
        number, answer = self._calls.begin(self._loop.time() + self._settings.command_timeout)
        header: dict[str, object] = {"id": number, "op": operation, "sizes": [len(part) for part in parts]}
        if not_after < inf:
            header[NOT_AFTER] = not_after
        self._say(Frame(Kind.COMMAND, header, b"".join(parts)))
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise NotOnline(f"no answer within {timeout:.2g} s") from None

    def _note_rate_limit(self, text: str, *, answered_send: bool = False) -> None:
        if detail := reasons.rate_limit(text):
            self._listener.signal(RateLimited(detail, answered_send))

    def _say(self, frame: Frame) -> None:
        if not self._ended and not self._writer.is_closing():
            self._writer.write(encode(frame))

    def _acknowledge_terminal(self) -> None:
        """What the session ended with has been acted upon, or the host would not be stopped: it need not come again."""
        for sequence in self._news.terminal:
            if sequence == self._acknowledged + 1:
                self.acknowledge(sequence)

    # The life of the host

    async def _live(self) -> None:
        outlets = self._drain()
        watch = asyncio.create_task(self._watch())
        try:
            await self._hear()
        except FrameError as error:
            self._condemn(f"the host spoke garbage: {error}")
        except Exception as error:  # noqa: BLE001 - a listener's mistake must not leave an unheard host behind
            self._condemn(f"what the host said could not be handled: {type(error).__name__}")
        finally:
            watch.cancel()
            self._writer.close()
            self._socket.close()
            code = await self._bury(outlets)
        self._tell_the_end(code)

    def _drain(self) -> list[asyncio.Task[None]]:
        streams = {"stdout": self._process.stdout, "stderr": self._process.stderr}
        return [
            asyncio.create_task(self._outlet.drain(stream, name))
            for name, stream in streams.items()
            if stream is not None
        ]

    async def _hear(self) -> None:
        decoder = Decoder()
        while chunk := await self._read():
            self._heard_at = self._loop.time()
            for frame in decoder.feed(chunk):
                self._news.hear(frame)
                if frame.kind is Kind.HELLO and not self._hello.done():
                    self._hello.set_result(None)
            await asyncio.sleep(0)  # a host that never pauses must not keep the loop to itself

    async def _read(self) -> bytes:
        try:
            return await self._loop.sock_recv(self._socket, _CHUNK)
        except ConnectionError:
            return b""

    async def _watch(self) -> None:
        """End a host that fell silent or is stuck in a call, unless it was this daemon that did not run."""
        interval = min(self._settings.heartbeat_interval, self._settings.heartbeat_timeout / 4)
        while True:
            before = self._loop.time()
            await asyncio.sleep(interval)
            now = self._loop.time()
            if now - before > 2 * interval + 1:
                self._heard_at = now
            elif now - self._heard_at > self._settings.heartbeat_timeout:
                self._condemn(f"the host was silent for {now - self._heard_at:.1f} s")
            elif self._calls.overdue(now):
                self._condemn(f"a call of the library did not return for {self._settings.command_timeout:g} s")

    def _condemn(self, why: str) -> None:
        self._verdict = self._verdict or why
        self.kill()

    async def _bury(self, outlets: list[asyncio.Task[None]]) -> int:
        try:
            async with asyncio.timeout(_BURIAL_SECONDS):
                code = await self._process.wait()
        except BaseException as error:
            self.kill()
            code = await self._process.wait()
            if not isinstance(error, TimeoutError):
                raise
        await asyncio.wait(outlets, timeout=_BURIAL_SECONDS)
        return code

    def _tell_the_end(self, code: int) -> None:
        self._ended = True
        news = self._news
        why = self._verdict or reasons.ending(code, news.last_words, self._outlet.last_lines).words
        self._calls.give_up(why)
        if not self._hello.done():
            self._hello.set_exception(_FATAL_TO_START.get(code, NotOnline)(why))
            return
        if self._hello.cancelled():
            return
        self._note_rate_limit(news.last_words)
        if (signal := reasons.last_signal(code, news.last_words, news.ban)) is not None:
            self._listener.signal(signal)
        self._listener.signal(HostEnded(code, why, unreachable=code == ExitCode.DIAL_FAILED))
