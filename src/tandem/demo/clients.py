"""HTTP clients of the emulator's control API and of the daemon's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from types import TracebackType
from typing import Any, Self

import aiohttp

from tandem.errors import TandemError

_CALL_TIMEOUT = 10.0
_POLL = 0.1


class DemoFailed(TandemError):  # noqa: N818 - a verdict, not a defect
    """The demo could not be carried out; the text says what was waited for."""

    code = "demo_failed"


class JsonClient:
    """A JSON API on a loopback port; ``token`` is its bearer token, if it has one."""

    def __init__(self, port: int, token: str = "") -> None:
        self._session = aiohttp.ClientSession(
            base_url=f"http://127.0.0.1:{port}",
            timeout=aiohttp.ClientTimeout(total=_CALL_TIMEOUT),
            headers={"Authorization": f"Bearer {token}"} if token else None,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return the answer's JSON. Raises aiohttp.ClientError or TimeoutError when there is none or it is an error."""
        data = None if body is None else BytesIO(json.dumps(body).encode())  # a stream: bodies may be large
        sent = {"Content-Type": "application/json", **(headers or {})}
        async with self._session.request(method, path, data=data, headers=sent) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.content_type.endswith("json") else await answer.text()

    async def answers(self, path: str) -> bool:
        try:
            await self.call("GET", path)
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True

    async def wait_until_up(self, path: str, patience: float, who: str) -> None:
        try:
            async with asyncio.timeout(patience):
                while not await self.answers(path):  # noqa: ASYNC110 - another process cannot set an Event
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DemoFailed(f"{who} did not come up within {patience:g} s") from None


class Emulator(JsonClient):
    """The phones, the contacts and the ledger."""

    async def add_phone(self, number: str, name: str) -> None:
        await self.call("POST", "/control/phones", {"number": number, "name": name})

    async def scan(self, number: str, qr: str) -> None:
        await self.call("POST", "/control/scan", {"number": number, "qr": qr})

    async def write(self, sender: str, to: str, text: str) -> Sequence[str]:
        """A contact writes; returns the message ids."""
        answer = await self.call("POST", "/control/messages", {"from": sender, "to": to, "text": text})
        return list(answer["ids"])

    async def read(self, number: str, sender: str, message_id: str) -> None:
        """A message is looked at on its recipient's own phone."""
        await self.call("POST", "/control/reads", {"number": number, "from": sender, "id": message_id})

    async def shown_to(self, number: str) -> Sequence[Mapping[str, Any]]:
        """What the contact's phone shows, ``times`` each."""
        answer = await self.call("GET", f"/control/messages?to={number.removeprefix('+')}")
        return list(answer["messages"])

    async def fault(self, kind: str, **scope: object) -> None:
        await self.call("POST", "/control/faults", {"kind": kind, **scope})

    async def clear_faults(self) -> None:
        await self.call("DELETE", "/control/faults")


class Tandem(JsonClient):
    """The daemon."""

    async def add_account(self, name: str, phone: str) -> str:
        answer = await self.call("POST", "/api/whatsapp/add-account", {"name": name, "phone": phone})
        return str(answer["account"]["id"])

    async def accounts(self) -> Sequence[Mapping[str, Any]]:
        return list((await self.call("GET", "/api/whatsapp/accounts"))["accounts"])

    async def pair(self, account: str, slot: str) -> None:
        await self.call("POST", f"/api/whatsapp/account/{account}/pair", {"slot": slot, "method": "qr"})

    async def qr(self, account: str, slot: str, patience: float = 30.0) -> str:
        """Return the slot's QR text, waiting until there is one."""
        path = f"/api/whatsapp/account/{account}/qr?slot={slot}"
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        text = await self.call("GET", path, headers={"Accept": "text/plain"})
                    except aiohttp.ClientResponseError:
                        text = ""
                    if isinstance(text, str) and text:
                        return text.strip()
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DemoFailed(f"no QR appeared for the {slot} within {patience:g} s") from None

    async def send(self, account: str, chat: str, text: str, key: str) -> str:
        """Return the outbox id of the accepted message; the key makes trying again safe."""
        path = f"/api/whatsapp/send/{account}/{chat}"
        answer = await self.call("POST", path, {"message": text}, {"Idempotency-Key": key})
        return str(answer["id"])

    async def outbox(self, identity: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self.call("GET", f"/api/whatsapp/outbox/{identity}")
        return answer

    async def wait_for(self, what: str, status: str, patience: float) -> None:
        """Wait until every account has the status. Raises DemoFailed, naming ``what`` was waited for."""
        await self._until(what, lambda accounts: all(account["status"] == status for account in accounts), patience)

    async def wait_for_slot(self, account: str, slot: str, state: str, patience: float) -> None:
        """Wait until one slot has the state. Raises DemoFailed."""

        def reached(accounts: Sequence[Mapping[str, Any]]) -> bool:
            slots = [entry for known in accounts if known["id"] == account for entry in known["slots"]]
            return any(entry["slot"] == slot and entry["state"] == state for entry in slots)

        await self._until(f"the {slot} {state}", reached, patience)

    async def _until(self, what: str, reached: Callable[[Sequence[Mapping[str, Any]]], bool], patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while True:
                    with suppress(aiohttp.ClientError, TimeoutError):
                        if reached(await self.accounts()):
                            return
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DemoFailed(f"{what}: not within {patience:g} s") from None
