from __future__ import annotations

import pytest

from tandem.errors import StoreUnavailable
from tandem.model.states import Slot
from unit.api.world import READER, Api, message, serving, settings

CHAT = "12025550188@s.whatsapp.net"


@pytest.mark.parametrize(
    ("written", "chat"),
    [
        ("+12025550188", CHAT),
        ("12025550188", CHAT),
        ("%2B1%20(202)%20555-0188", CHAT),
        (CHAT, CHAT),
        ("12025550188:3@s.whatsapp.net", CHAT),
        ("12025550188@c.us", CHAT),
        ("123456789012345@lid", "123456789012345@lid"),
        ("120363041234567890@g.us", "120363041234567890@g.us"),
        ("120363041234567890", "120363041234567890@g.us"),
        ("12025550188-1600000000@g.us", "12025550188-1600000000@g.us"),
    ],
)
async def test_a_chat_may_be_written_in_many_ways(api: Api, written: str, chat: str) -> None:
    account = await api.world.add()
    response = await api("POST", f"/api/whatsapp/send/{account}/{written}", json={"message": "hello"})
    assert response.status == 202, await response.text()
    assert [row.chat for row in api.world.outgoing.rows.values()] == [chat]


@pytest.mark.parametrize("written", ["nobody", "123", "x@s.whatsapp.net", "12025550188@example.org", "@g.us", "status"])
async def test_what_is_no_chat_is_refused(api: Api, written: str) -> None:
    account = await api.world.add()
    response = await api("POST", f"/api/whatsapp/send/{account}/{written}", json={"message": "hello"})
    assert response.status == 400
    assert "country code" in (await response.json())["detail"]


async def test_send_answers_202_with_where_to_follow_it(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    response = await api("POST", f"/api/whatsapp/send/{account}/{CHAT}", json={"message": "hello"})
    body = await response.json()
    assert response.status == 202
    assert body == {"success": True, "id": "outbox0", "status": "queued", "accountStatus": "degraded", "online": True}
    assert response.headers["Location"] == "/api/whatsapp/outbox/outbox0"
    row = await (await api("GET", response.headers["Location"])).json()
    assert row["status"] == "queued"
    assert row["chat"] == CHAT
    assert row["account"] == account
    assert row["messageId"] is None
    assert "hello" not in str(row)


async def test_sending_while_offline_is_accepted_and_says_so(api: Api) -> None:
    account = await api.world.add()
    body = await (await api("POST", f"/api/whatsapp/send/{account}/{CHAT}", json={"message": "hello"})).json()
    assert body["status"] == "queued"
    assert "not paired" in body["note"]


async def test_idempotency_key_sends_once(api: Api) -> None:
    account = await api.world.add()
    path, key = f"/api/whatsapp/send/{account}/{CHAT}", {"Idempotency-Key": "order-17"}
    first = await api("POST", path, json={"message": "hello"}, headers=key)
    again = await api("POST", path, json={"message": "hello"}, headers=key)
    assert (first.status, again.status) == (202, 202)
    assert (await again.json())["id"] == (await first.json())["id"]
    assert (await again.json())["idempotent"] is True
    other = await api("POST", path, json={"message": "something else"}, headers=key)
    assert other.status == 409
    assert len(api.world.outgoing.rows) == 1


async def test_a_full_backlog_is_429_with_retry_after(api: Api) -> None:
    account = await api.world.add()
    api.world.outgoing.full = True
    response = await api("POST", f"/api/whatsapp/send/{account}/{CHAT}", json={"message": "hello"})
    assert (response.status, response.headers["Retry-After"]) == (429, "8")
    assert (await response.json())["error"] == "overloaded"


async def test_chats_and_messages_come_from_the_store(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, f"text {at}", 1000 + at) for at in range(3)])
    chats = (await (await api("GET", f"/api/whatsapp/chats/{account}")).json())["chats"]
    assert chats == [
        {"id": CHAT, "name": "Ada", "isGroup": False, "timestamp": 1002, "lastMessage": "text 2", "unreadCount": None}
    ]
    answer = await (await api("GET", f"/api/whatsapp/messages/{account}/+12025550188?limit=2")).json()
    assert [each["body"] for each in answer["messages"]] == ["text 1", "text 2"]
    assert set(answer["messages"][0]) == {
        "id",
        "chatId",
        "from",
        "to",
        "body",
        "fromMe",
        "hasMedia",
        "kind",
        "timestamp",
        "storedAt",
        "status",
        "deliveredAt",
        "readAt",
    }
    assert [answer["messages"][0][name] for name in ("status", "deliveredAt", "readAt")] == ["received", None, None]
    older = await (await api("GET", f"/api/whatsapp/messages/{account}/{CHAT}?before=1001")).json()
    assert [each["timestamp"] for each in older["messages"]] == [1000]


async def test_a_removed_accounts_conversations_stay_readable(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, "kept", 1)])
    await api("DELETE", f"/api/whatsapp/account/{account}")
    assert (await api("GET", f"/api/whatsapp/messages/{account}/{CHAT}")).status == 200
    assert (await api("GET", f"/api/whatsapp/messages/{account}/+12025550199")).status == 404


async def test_readers_see_numbers_masked_in_conversations(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, "call +1 202 555 0144", 1)])
    for path in (f"chats/{account}", f"messages/{account}/{CHAT}"):
        text = await (await api("GET", f"/api/whatsapp/{path}", token=READER)).text()
        assert "5550188" not in text
        assert "0144" not in text


async def test_store_trouble_is_503(api: Api) -> None:
    account = await api.world.add()
    api.world.store.broken = StoreUnavailable("the store does not answer", 3.0)
    response = await api("GET", f"/api/whatsapp/chats/{account}")
    assert (response.status, response.headers["Retry-After"]) == (503, "3")
    assert (await response.json())["error"] == "store_unavailable"


async def test_a_store_that_hangs_is_503() -> None:
    async with serving(settings(writer={"deadline": 0.05})) as api:
        account = await api.world.add()
        api.world.store.hangs = True
        assert (await api("GET", f"/api/whatsapp/chats/{account}")).status == 503
