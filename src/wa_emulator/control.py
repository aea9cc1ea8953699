"""The control API: JSON over HTTP on the same port, for tests, demos and checkers. Errors are ``{error, detail}``."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from wa_emulator.directory import UnknownNumber, canonical
from wa_emulator.pairing import ScanRefused

if TYPE_CHECKING:
    from wa_emulator.server import Emulator

_MOST_MESSAGES: Final = 100_000
_LONGEST_TEXT: Final = 2_000_000  # a phone writes 65,536 at most; who means ill is not bound by that
_TRANSCRIPT_LINES: Final = 200
_LEDGER_PIECE: Final = 200

_log = logging.getLogger("wa_emulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequest(Exception):  # noqa: N818 - named after the HTTP status
    """The request's body or query is not what the path takes."""


class Body:
    """A JSON object whose members are asked for by type. Raises BadRequest for what is missing or wrong."""

    def __init__(self, values: object) -> None:
        if not isinstance(values, Mapping):
            raise BadRequest("the body must be a JSON object")
        self.values: Mapping[str, Any] = values

    def text(self, name: str, default: str | None = None) -> str:
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string")
        if len(value) > _LONGEST_TEXT:
            raise BadRequest(f"{name} is longer than {_LONGEST_TEXT} characters")
        return value

    def count(self, name: str, default: int, most: int) -> int:
        value = self.values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise BadRequest(f"{name} must be a whole number from 1 to {most}")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false")
        return value

    def items(self, name: str) -> list[Body]:
        value = self.values[name]
        if not isinstance(value, list):
            raise BadRequest(f"{name} must be a list")
        return [Body(item) for item in value]


async def body_of(request: web.Request) -> Body:
    """Return the request's JSON object. Raises BadRequest."""
    try:
        return Body(json.loads(await request.read()))
    except ValueError as error:
        raise BadRequest("the body is not JSON") from error


def control_routes(application: web.Application, emulator: Emulator) -> None:
    """Add the control API to an application that holds nothing else."""
    api = Control(emulator)
    application.middlewares.append(_errors)
    application.add_routes([
        web.get("/control/health", api.health),
        web.get("/control/root-key", api.root_key),
        web.get("/control/phones", api.phones),
        web.post("/control/phones", api.add_phone),
        web.post("/control/contacts", api.configure_contact),
        web.post("/control/scan", api.scan),
        web.post("/control/messages", api.send),
        web.get("/control/messages", api.messages),
        web.post("/control/reads", api.read),
        web.post("/control/faults", api.add_fault),
        web.get("/control/faults", api.faults),
        web.delete("/control/faults", api.clear_faults),
        web.get("/control/ledger", api.ledger),
        web.get("/control/transcript", api.transcript),
    ])  # fmt: skip


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into a JSON problem; never show a stack trace."""
    try:
        return await handler(request)
    except (BadRequest, ValueError) as error:
        return _problem(HTTPStatus.BAD_REQUEST, str(error))
    except UnknownNumber as error:
        return _problem(HTTPStatus.NOT_FOUND, str(error))
    except ScanRefused as error:
        return _problem(HTTPStatus(error.status), str(error))
    except web.HTTPException as error:
        return _problem(HTTPStatus(error.status), error.reason)
    except Exception:  # noqa: BLE001 - the boundary: callers get JSON
        _log.exception("the control API failed")
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of the emulator; its log says more")


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    return web.json_response({"error": status.name.lower(), "detail": detail}, status=status)


class Control:
    """The handlers. Numbers are digits with an optional leading +; times are wall seconds."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def health(self, _request: web.Request) -> web.Response:
        emulator = self._emulator
        devices = [device for account in emulator.directory for device in account.devices.values()]
        return web.json_response({
            "status": "ok",
            "devices": len(devices),
            "connected": sum(device.connection is not None for device in devices),
            "messages": len(emulator.ledger),
            "counters": dict(emulator.clients.counters),
        })  # fmt: skip

    async def root_key(self, _request: web.Request) -> web.Response:
        return web.json_response({"hex": self._emulator.root_key.hex()})

    async def phones(self, _request: web.Request) -> web.Response:
        phones = [
            {
                "number": account.number,
                "name": account.name,
                "lid": str(account.lid_jid),
                "devices": [
                    {
                        "id": device.id,
                        "jid": str(device.jid),
                        "name": device.name,
                        "connected": device.connection is not None,
                        "active": device.connection is not None and device.connection.active,
                        "queue": len(device.queue),
                    }
                    for device in account.devices.values()
                ],
            }
            for account in self._emulator.directory.phones()
        ]
        return web.json_response({"phones": phones})

    async def add_phone(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        number = canonical(body.text("number"))
        await self._emulator.add_phone(number, body.text("name", ""))
        return web.json_response({"number": number}, status=HTTPStatus.CREATED)

    async def configure_contact(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        settings: dict[str, str | bool] = {}
        settings |= {name: body.text(name) for name in ("name", "reply") if name in body.values}
        settings |= {name: body.flag(name) for name in ("reads", "on_whatsapp") if name in body.values}
        account = await self._emulator.configure_contact(body.text("number"), settings)
        return web.json_response(
            {
                "number": account.number,
                "name": account.name,
                "reply": account.reply,
                "reads": account.reads,
                "on_whatsapp": account.on_whatsapp,
            }
        )

    async def scan(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        if "code" in body.values:
            jid = await self._emulator.type_code(body.text("number"), body.text("code"))
        else:
            jid = await self._emulator.scan(body.text("number"), body.text("qr"))
        return web.json_response({"jid": jid})

    async def send(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        wanted = body.items("messages") if "messages" in body.values else [body]
        ids: list[str] = []
        for message in wanted:
            count = message.count("count", 1, _MOST_MESSAGES)
            texts = message.text("from"), message.text("to"), message.text("text")
            ids += await self._emulator.send(*texts, count=count)
        return web.json_response({"ids": ids})

    async def messages(self, request: web.Request) -> web.Response:
        ledger, number = self._emulator.ledger, canonical(_query(request, "to"))
        shown = [
            {
                "id": entry.id,
                "from": entry.sender,
                "text": entry.text,
                "times": entry.times_shown,
                "replyTo": entry.about or None,
                "reactions": ledger.reactions(number, entry.id),
                "revoked": ledger.is_revoked(number, entry),
            }
            for entry in ledger.shown(number)
        ]
        return web.json_response({"messages": shown})

    async def read(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        await self._emulator.read(body.text("number"), body.text("from"), body.text("id"))
        return web.json_response({"id": body.text("id")})

    async def add_fault(self, request: web.Request) -> web.Response:
        fault = self._emulator.clients.begin_fault((await body_of(request)).values)
        return web.json_response(fault.describe(), status=HTTPStatus.CREATED)

    async def faults(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.describe() for fault in self._emulator.faults]})

    async def clear_faults(self, request: web.Request) -> web.Response:
        cleared = self._emulator.faults.clear(_whole(request, "id"))
        return web.json_response({"cleared": cleared})

    async def ledger(self, request: web.Request) -> web.StreamResponse:
        """Write the ledger piece by piece: it can be long, and messages go on meanwhile."""
        ledger, number = self._emulator.ledger, request.query.get("number")
        entries = list(ledger) if number is None else ledger.of(canonical(number))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"clock": ' + json.dumps(ledger.clock()).encode() + b', "messages": [')
        for start in range(0, len(entries), _LEDGER_PIECE):
            piece = [json.dumps(ledger.describe(entry)) for entry in entries[start : start + _LEDGER_PIECE]]
            await response.write((", " if start else "").encode() + ", ".join(piece).encode())
            await asyncio.sleep(0)
        await response.write_eof(b"]}")
        return response

    async def transcript(self, request: web.Request) -> web.Response:
        limit = _whole(request, "limit") or _TRANSCRIPT_LINES
        return web.json_response({"stanzas": self._emulator.transcript.last(limit)})


def _whole(request: web.Request, name: str) -> int | None:
    """Return a positive number of the query, None if absent. Raises BadRequest."""
    value = request.query.get(name)
    if value is None:
        return None
    if not value.isdecimal() or int(value) == 0:
        raise BadRequest(f"{name} must be a whole number from 1")
    return int(value)


def _query(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if not value:
        raise BadRequest(f"the query needs {name}")
    return value
