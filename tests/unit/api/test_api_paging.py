"""Paging through a chat: every message exactly once, however many share one of WhatsApp's seconds."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from tandem.api.cursor import Cursor
from tandem.model.ids import AccountId, MessageKey
from tandem.model.message import Message
from unit.api.world import READER, Api, message

CHAT = "12025550188@s.whatsapp.net"
SECOND = 1_750_000_000_000


def _said(account: AccountId, number: int, at: int) -> Message:
    identifier = f"3EB0{number:04}"
    said = message(account, f"text {number}", at)
    return replace(said, message_id=identifier, key=MessageKey(f"{identifier}-in"))


async def _page(api: Api, account: AccountId, query: str, token: str = "") -> dict[str, Any]:
    response = await api("GET", f"/api/whatsapp/messages/{account}/{CHAT}?{query}", token=token)
    body: dict[str, Any] = await response.json()
    assert response.status == 200, body
    return body


async def _pages(api: Api, account: AccountId, limit: int) -> list[list[str]]:
    """All pages, newest first, each oldest first."""
    body = await _page(api, account, f"limit={limit}")
    pages = [[each["body"] for each in body["messages"]]]
    while body["next"] is not None:
        body = await _page(api, account, f"limit={limit}&cursor={body['next']}")
        pages.append([each["body"] for each in body["messages"]])
    return pages


@pytest.mark.parametrize("limit", [1, 2, 7, 20, 49, 50, 51])
async def test_messages_of_one_second_come_exactly_once(api: Api, limit: int) -> None:
    account = await api.world.add()
    said = [_said(account, number, SECOND) for number in range(40)]
    said += [_said(account, number, SECOND + 1000 * (number // 3)) for number in range(40, 50)]
    await api.world.store.write(said)
    pages = await _pages(api, account, limit)
    assert [text for page in reversed(pages) for text in page] == [f"text {number}" for number in range(50)]
    assert all(pages)
    assert len(pages) == -(-50 // limit)


async def test_next_is_null_when_there_is_nothing_older(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([_said(account, number, SECOND) for number in range(3)])
    assert (await _page(api, account, "limit=3"))["next"] is None
    assert (await _page(api, account, ""))["next"] is None
    assert (await _page(api, account, "limit=2"))["next"] is not None
    assert await _page(api, account, "before=1") == {"success": True, "messages": [], "next": None}


async def test_what_comes_in_meanwhile_shifts_no_page(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([_said(account, number, SECOND) for number in range(6)])
    first = await _page(api, account, "limit=2")
    await api.world.store.write([_said(account, number, SECOND) for number in range(6, 9)])
    older = await _page(api, account, f"limit=2&cursor={first['next']}")
    assert [each["body"] for each in older["messages"]] == ["text 2", "text 3"]


async def test_before_still_works_and_gives_a_cursor_too(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([_said(account, number, SECOND + 1000 * number) for number in range(5)])
    body = await _page(api, account, f"limit=2&before={SECOND + 4000}")
    assert [each["body"] for each in body["messages"]] == ["text 2", "text 3"]
    body = await _page(api, account, f"limit=2&cursor={body['next']}")
    assert [each["body"] for each in body["messages"]] == ["text 0", "text 1"]


async def test_a_cursor_whose_message_was_deleted_goes_on_by_its_time(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([_said(account, number, SECOND + 1000 * (number // 2)) for number in range(6)])
    gone = Cursor(SECOND + 1000, MessageKey("gone-in"))
    body = await _page(api, account, f"cursor={gone}")
    assert [each["body"] for each in body["messages"]] == ["text 0", "text 1", "text 2", "text 3"]


async def test_a_cursor_holds_no_number_and_readers_may_use_it(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([_said(account, number, SECOND) for number in range(2)])
    cursor = (await _page(api, account, "limit=1", READER))["next"]
    assert "5550" not in base64.urlsafe_b64decode(cursor + "==").decode()
    body = await _page(api, account, f"cursor={cursor}", READER)
    assert [each["body"] for each in body["messages"]] == ["text 0"]


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "yesterday",
        "%FF%FE",
        "12025550123",
        "a",
        _encoded("1750000000000"),
        _encoded("1750000000000 "),
        _encoded(" key"),
        _encoded("1750000000000 a b"),
        _encoded("1750000000000 " + "k" * 201),
        _encoded("9223372036854775807 key"),
        _encoded("99999999999999999999999 key"),
        _encoded("²  key"),
        "x" * 3000,
    ],
)
async def test_a_wrong_cursor_is_400(api: Api, cursor: str) -> None:
    account = await api.world.add()
    response = await api("GET", f"/api/whatsapp/messages/{account}/{CHAT}?cursor={cursor}")
    body = await response.json()
    assert (response.status, body["error"]) == (400, "invalid_request")
    assert "12025550123" not in body["detail"]


async def test_cursor_and_before_exclude_each_other(api: Api) -> None:
    account = await api.world.add()
    cursor = Cursor(SECOND, MessageKey("3EB00001-in"))
    response = await api("GET", f"/api/whatsapp/messages/{account}/{CHAT}?before={SECOND}&cursor={cursor}")
    assert response.status == 400


@pytest.mark.parametrize("time", [0, -5, SECOND, 2**62])
def test_a_cursor_is_its_text(time: int) -> None:
    cursor = Cursor(time, MessageKey("3EB0-A_b-out-00ff"))
    assert Cursor.parse(str(cursor)) == cursor
