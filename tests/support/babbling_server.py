"""A gRPC server that answers everything with half a message, as Firestore's emulator does when it mixes up two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]

_HALF = b'\x12\x1b"\x0b\n\t\x08'


class _Babble(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "Listen":
            return grpc.stream_stream_rpc_method_handler(self._stream)
        if method in {"BatchGetDocuments", "RunQuery"}:
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._once)

    async def _once(self, _request: Any, _context: Any) -> bytes:
        return _HALF

    async def _stream(self, _request: Any, _context: Any) -> AsyncIterator[bytes]:
        yield _HALF


@asynccontextmanager
async def babbling() -> AsyncIterator[str]:
    """Yield its address."""
    server = grpc.aio.server(handlers=(_Babble(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
