"""A gRPC server that refuses everything with one status, as production does when something is set up wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]


class _Refusal(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, code: Any, text: str) -> None:
        self._code = code
        self._text = text

    def service(self, handler_call_details: Any) -> Any:
        del handler_call_details
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    async def _refuse(self, request: bytes, context: Any) -> bytes:
        del request
        await context.abort(self._code, self._text)
        return b""


@asynccontextmanager
async def refusing(code: Any, text: str) -> AsyncIterator[str]:
    """Yield its address."""
    server = grpc.aio.server(handlers=(_Refusal(code, text),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
