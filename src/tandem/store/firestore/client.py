"""Firestore's RPCs on a channel of our own: no retry but ours, a deadline on each, errors as verdicts.

The stock client sends a commit again when its answer was lost, waits up to two minutes before it dials again, and keeps
using a connection on which nothing comes back. So the channel is built here, from public parts: it dials every two
seconds, and an answer that is overdue condemns the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.firestore_v1 import types
from google.cloud.firestore_v1.services.firestore.async_client import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports.grpc_asyncio import FirestoreGrpcAsyncIOTransport

from tandem.errors import StoreUnavailable
from tandem.store.firestore.credentials import Target
from tandem.store.firestore.verdicts import BY_NUMBER, Kind, Verdict, judge, judge_write
from tandem.store.port import Costs

_LONGEST_CALL, _LAST_CALLS, _OPENING = 60.0, 1.0, 10.0
_HOST = "firestore.googleapis.com:443"
_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel is given the condemned connection
)
_BatchWrite: Any = type(types.BatchWriteRequest.pb(types.BatchWriteRequest()))
_Commit: Any = type(types.CommitRequest.pb(types.CommitRequest()))


class Refused(Exception):  # noqa: N818 - the server's verdict, not a failure
    """Not done, and why not may lie in the request itself; the caller knows what to make of it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one write in a batch: None for written, else why not. ``version`` is the document's update time."""

    verdict: Verdict | None
    version: Any = None


class Client:
    """Bound to the event loop that ``connect`` runs in. Timeouts in seconds."""

    def __init__(self, target: Target) -> None:
        self.costs = Costs()
        self._target = target
        self._channel: Any = None
        self._api: Any = None
        self._closing: set[asyncio.Task[None]] = set()
        self._streams: set[Any] = set()
        self._metadata = [("google-cloud-resource-prefix", target.path)]
        if target.emulator:
            self._metadata.append(("authorization", "Bearer owner"))

    def connect(self) -> None:
        """Make a channel; it dials by itself, so nothing fails here."""
        # At debug level Google's library logs whole requests, with the messages in them.
        logging.getLogger("google").setLevel(logging.WARNING)
        self._channel = self._new_channel()
        self._api = FirestoreAsyncClient(transport=FirestoreGrpcAsyncIOTransport(channel=self._channel))

    async def close(self) -> None:
        """Waits for the calls under way for at most a second."""
        self._api = None
        self._retire(grace=_LAST_CALLS)
        closing = list(self._closing)
        if closing:
            _, late = await asyncio.wait(closing, timeout=2 * _LAST_CALLS)
            for task in late:
                task.cancel()
            await asyncio.gather(*closing, return_exceptions=True)

    async def batch_write(self, writes: Sequence[Any], timeout: float) -> list[Outcome]:
        """Write each for itself, in no order. Raises Refused for the request as a whole, or StoreUnavailable."""
        request = _BatchWrite(database=self._target.path)
        request.writes.extend(writes)
        self.costs.writes += len(writes)
        wrapped = types.BatchWriteRequest.wrap(request)
        answer = types.BatchWriteResponse.pb(await self._call("batch_write", wrapped, timeout))
        return [
            Outcome(
                judge_write(BY_NUMBER.get(status.code), status.message) if status.code else None, result.update_time
            )
            for status, result in zip(answer.status, answer.write_results, strict=True)
        ]

    async def commit(self, writes: Sequence[Any], timeout: float) -> list[Any]:
        """Write all or nothing. Returns the documents' update times. Raises Refused or StoreUnavailable."""
        request = _Commit(database=self._target.path)
        request.writes.extend(writes)
        self.costs.writes += len(writes)
        answer = types.CommitResponse.pb(await self._call("commit", types.CommitRequest.wrap(request), timeout))
        return [result.update_time for result in answer.write_results]

    async def get(self, names: Iterable[str], timeout: float, fields: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the documents that exist, by name, whole or only these fields."""
        request = types.BatchGetDocumentsRequest(database=self._target.path, documents=list(names))
        if fields:
            request.mask = types.DocumentMask(field_paths=fields)
        found = {}
        async for answer in self._stream("batch_get_documents", request, timeout):
            self.costs.reads += 1  # a document that is missing is billed, too
            if answer.found.name:
                found[answer.found.name] = answer.found
        return found

    async def query(self, parent: str, query: Any, timeout: float) -> list[Any]:
        """Return the documents of a structured query below ``parent``, in its order."""
        request = types.RunQueryRequest(parent=parent, structured_query=query)
        answers = self._stream("run_query", request, timeout)
        found = [answer.document async for answer in answers if answer.document.name]
        self.costs.reads += max(len(found), 1)  # an empty answer is billed as one read
        return found

    async def listen(self, targets: Sequence[Any]) -> AsyncGenerator[Any, None]:
        """Yield what a Listen stream tells of the targets (``ListenResponse``), until it ends: StoreUnavailable.

        Raises Refused for targets that can never be listened to. Each document that is told is billed as one read; one
        that is told again as it was is not counted, for only the emulator tells all of them at every change. A
        connection that swallows everything is noticed by gRPC's keep-alive after a minute, or by another call on it
        that gets no answer in time: that ends the streams, too.
        """
        self.costs.reads += len(targets)  # a query that finds nothing is billed as one read
        api, told = self._api, dict[str, Any]()
        patience: float | None = _OPENING
        call = await self._call("listen", self._requests(targets), None)
        self._streams.add(call)
        try:
            answers = aiter(call)
            while True:
                async with asyncio.timeout(patience):
                    answer = types.ListenResponse.pb(await self._judged(anext(answers), api))
                self.costs.reads += _is_news(answer, told)
                patience = None  # it is open, and may be silent for long
                yield answer
        except StopAsyncIteration:
            raise StoreUnavailable("Firestore ended the stream of changes") from None
        except TimeoutError:
            self._condemn(api)
            raise StoreUnavailable("Firestore did not open the stream of changes in time") from None
        finally:
            self._streams.discard(call)
            call.cancel()  # else it goes on, and is billed, until the channel is closed

    async def _requests(self, targets: Sequence[Any]) -> AsyncIterator[Any]:
        for target in targets:
            yield types.ListenRequest(database=self._target.path, add_target=target)
        await asyncio.Event().wait()  # the stream is open as long as there may be more

    async def _stream(self, method: str, request: Any, timeout: float) -> AsyncIterator[Any]:
        """Yield the answers, all of them received before the first: none of our reads is long."""
        for answer in await self._call(method, request, timeout, whole=True):
            yield type(answer).pb(answer)

    async def _call(self, method: str, request: Any, timeout: float | None, *, whole: bool = False) -> Any:
        api = self._api
        if api is None:
            raise StoreUnavailable("the Firestore store is closed")
        self.costs.calls += 1
        call = getattr(api, method)(request, retry=None, timeout=timeout, metadata=self._metadata)
        return await self._judged(_all(call) if whole else call, api)

    async def _judged(self, answer: Awaitable[Any], api: Any) -> Any:
        """Wait for an answer on this connection; an error becomes our own kind, an overdue one costs the connection."""
        try:
            return _readable(await answer)
        except GoogleAPICallError as error:
            verdict = judge(error.grpc_status_code, error.message or "")
            if verdict.kind is Kind.SLOW:
                self._condemn(api)
            raise (verdict.unavailable() if verdict.kind is Kind.AGAIN else Refused(verdict)) from None
        except grpc.aio.UsageError:
            raise StoreUnavailable("the connection to Firestore was closed under way") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: the channel was closed, and gRPC says so in this way.
            raise StoreUnavailable("the connection to Firestore was closed under way") from None

    def _new_channel(self) -> Any:
        if self._target.emulator:
            return grpc.aio.insecure_channel(self._target.emulator, options=_OPTIONS)
        return FirestoreGrpcAsyncIOTransport.create_channel(
            _HOST, credentials=self._target.credentials, options=_OPTIONS
        )

    def _condemn(self, api: Any) -> None:
        if api is self._api:
            self._replace()

    def _replace(self) -> None:
        """Dial anew: on a connection that swallows everything, TCP itself needs a quarter of an hour to notice."""
        self._retire(grace=_LONGEST_CALL)
        self.connect()

    def _retire(self, grace: float) -> None:
        for stream in list(self._streams):
            stream.cancel()  # it would wait on the condemned connection until the channel's grace is over
        channel, self._channel = self._channel, None
        if channel is not None:
            task = asyncio.get_running_loop().create_task(channel.close(grace))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _all(call: Awaitable[Any]) -> list[Any]:
    return [_readable(answer) async for answer in await call]


def _readable(answer: Any) -> Any:
    """Of bytes that are no answer gRPC makes None. Google's emulator mixes two up at times as a stream begins."""
    if answer is None:
        raise StoreUnavailable("Firestore sent something that cannot be read")
    return answer


def _is_news(answer: Any, told: dict[str, Any]) -> bool:
    """Whether the answer holds a document in a state that was not told yet; ``told`` is brought up to date."""
    kind = answer.WhichOneof("response_type")
    if kind in {"document_delete", "document_remove"}:
        told.pop(getattr(answer, kind).document, None)
    if kind != "document_change":
        return False
    document = answer.document_change.document
    state = (document.update_time.seconds, document.update_time.nanos)
    known, told[document.name] = told.get(document.name), state
    return known != state
