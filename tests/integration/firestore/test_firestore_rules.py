from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from integration.firestore.scene import ACCOUNT, CHAT, Scene, message
from tandem.model.account import Account
from tandem.model.event import Event, EventType
from tandem.model.ids import Number
from tandem.store.firestore.documents import merge
from tandem.store.firestore.store import FirestoreStore

RULES = Path(__file__).parents[3] / "config" / "firestore.rules"
ALL: dict[str, object] = {"tandem_reader": True}
ONE: dict[str, object] = {"tandem_accounts": [ACCOUNT]}
OTHER: dict[str, object] = {"tandem_accounts": ["other"]}
PLACES = {
    "account": f"accounts/{ACCOUNT}",
    "chats": f"accounts/{ACCOUNT}/chats",
    "message": f"accounts/{ACCOUNT}/chats/{CHAT}/messages/{message(1).key}",
    "messages": f"accounts/{ACCOUNT}/chats/{CHAT}/messages",
    "accounts": "accounts",
    "event": "monitoring_events/event-1",
    "lease": f"leases/{ACCOUNT}",
    "leases": "leases",
    "instance": "instances/north",
    "instances": "instances",
    "outgoing": f"accounts/{ACCOUNT}/outbox/row-1",
    "outbox": f"accounts/{ACCOUNT}/outbox",
    "key": f"accounts/{ACCOUNT}/outboxKeys/digest-1",
}
OWN = {"account", "chats", "message", "messages"}


class Browser:
    """A client of Firebase, signed in with these claims, or not at all."""

    def __init__(self, scene: Scene, session: aiohttp.ClientSession) -> None:
        self._root = f"http://{scene.address}/v1/projects/{scene.project}/databases/(default)/documents"
        self._project = scene.project
        self._session = session

    async def get(self, place: str, uid: str | None, claims: Mapping[str, object]) -> int:
        async with self._session.get(f"{self._root}/{place}", headers=self._headers(uid, claims)) as answer:
            return answer.status

    async def write(self, place: str, uid: str | None, claims: Mapping[str, object]) -> set[int]:
        """Try to overwrite and to delete."""
        url, headers = f"{self._root}/{place}", self._headers(uid, claims)
        async with self._session.patch(url, headers=headers, json={"fields": {}}) as patched:
            pass
        async with self._session.delete(url, headers=headers) as deleted:
            return {patched.status, deleted.status}

    def _headers(self, uid: str | None, claims: Mapping[str, object]) -> dict[str, str]:
        """The emulator believes tokens without a signature."""
        if uid is None:
            return {}
        issuer = f"https://securetoken.google.com/{self._project}"
        identity = {"sub": uid, "user_id": uid, "iss": issuer, "aud": self._project, "iat": 0, "exp": 4_000_000_000}
        header, body = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in ({"alg": "none", "typ": "JWT"}, identity | dict(claims))
        )
        return {"Authorization": f"Bearer {header}.{body}."}


@pytest.fixture
async def browser(scene: Scene) -> AsyncIterator[Browser]:
    store = await scene.store()
    await _fill(store)
    async with aiohttp.ClientSession() as session:
        rules = {"rules": {"files": [{"name": "firestore.rules", "content": RULES.read_text()}]}}
        url = f"http://{scene.address}/emulator/v1/projects/{scene.project}:securityRules"
        async with session.put(url, json=rules) as answer:
            assert answer.status == 200, await answer.text()
        yield Browser(scene, session)


async def _fill(store: FirestoreStore) -> None:
    await store.write([message(1)])
    await store.save_account(Account(ACCOUNT, Number("+12025550101"), "Shop", 1.0))
    await store.save_event(Event("event-1", EventType.ALERT, "text", 1_795_000_000.0))
    names = store._names
    values: dict[str, Any] = {"owner": "uid-owner"}
    await store._client.commit([merge(names.account(ACCOUNT), values)], 5.0)
    between = [
        merge(f"{names.root}/{PLACES[place]}", {"generation": 1}) for place in ("lease", "instance", "outgoing", "key")
    ]
    await store._client.commit(between, 5.0)


@pytest.mark.parametrize(
    ("uid", "claims", "readable"),
    [
        (None, {}, set()),
        ("uid-anybody", {}, set()),
        ("uid-anybody", OTHER, set()),
        ("uid-anybody", {"tandem_reader": "true"}, set()),
        ("uid-anybody", ONE, OWN),
        ("uid-owner", {}, OWN),
        ("uid-anybody", ALL, {*OWN, "accounts", "event"}),
    ],
)
async def test_everybody_reads_what_the_operator_allows_and_nobody_writes(
    browser: Browser, uid: str | None, claims: dict[str, object], readable: set[str]
) -> None:
    answers = {name: await browser.get(place, uid, claims) for name, place in PLACES.items()}
    assert {name for name, status in answers.items() if status == 200} == readable
    assert set(answers.values()) <= {200, 403}
    for name in ("account", "message", "event", "lease", "instance", "outgoing", "key"):
        assert await browser.write(PLACES[name], uid, claims) == {403}
