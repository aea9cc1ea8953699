"""What can be asked to be sent, how it is followed, and how it is settled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tandem.model.ids import AccountId
from tandem.model.outbox import Content, IfUnknown, MarkRead, Reaction, Reply, Revoke, Target, Text
from tandem.model.states import OutboxState
from unit.api.world import READER, Api, message

CHAT = "12025550188@s.whatsapp.net"
GROUP = "120363041234567890@g.us"
OURS = Target("OURS", "12025550123@s.whatsapp.net", from_me=True, text="what we said")


async def send(api: Api, account: AccountId, chat: str = CHAT, **body: Any) -> Content:
    response = await api("POST", f"/api/whatsapp/send/{account}/{chat}", json=body)
    assert response.status == 202, await response.text()
    return api.world.outgoing.rows[(await response.json())["id"]].content


async def refused(api: Api, account: AccountId, status: int, chat: str = CHAT, **body: Any) -> str:
    response = await api("POST", f"/api/whatsapp/send/{account}/{chat}", json=body)
    assert response.status == status, await response.text()
    return str((await response.json())["detail"])


async def test_every_kind_can_be_sent(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, "how are you?", 1_700_000_000_000)])
    api.world.outgoing.targets["OURS"] = [OURS]
    theirs = Target("3EB01700000000000", CHAT, text="how are you?")
    unquoted = replace(theirs, text="")

    assert await send(api, account, message="hi") == Text("hi")
    assert await send(api, account, message="fine", replyTo=theirs.message_id) == Reply("fine", theirs)
    assert await send(api, account, message="and", replyTo="OURS") == Reply("and", OURS)
    reaction = await send(api, account, reaction={"messageId": theirs.message_id, "emoji": "👍"})
    assert isinstance(reaction, Reaction)
    assert (reaction.emoji, reaction.target) == ("👍", unquoted)
    assert await send(api, account, revoke={"messageId": "OURS"}) == Revoke("OURS")


async def test_what_is_referred_to_must_be_there_and_fit(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, "theirs", 1)])
    assert "no message with that id" in await refused(api, account, 404, message="x", replyTo="NOWHERE")
    assert "no message with that id" in await refused(
        api, account, 404, chat="+12025550199", message="x", replyTo="3EB01"
    )
    assert "only a message of this account" in await refused(api, account, 400, revoke={"messageId": "3EB01"})
    api.world.outgoing.targets["TWICE"] = [Target("TWICE", "a@lid"), Target("TWICE", "b@lid")]
    assert "several" in await refused(api, account, 409, chat=GROUP, reaction={"messageId": "TWICE", "emoji": "x"})
    api.world.store.failing = True
    await refused(api, account, 503, message="x", replyTo="3EB01")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one"),
        ({"message": "x", "revoke": {"messageId": "A"}}, "exactly one"),
        ({"replyTo": "A", "revoke": {"messageId": "A"}}, "replyTo goes with message"),
        ({"message": None}, "instead of null"),
        ({"message": "x", "replyto": "A"}, "replyto"),
        ({"message": "x", "replyTo": "two words"}, "replyTo"),
        ({"message": "x", "expiresInSeconds": 0}, "expiresInSeconds"),
        ({"message": "x", "expiresInSeconds": 8 * 24 * 3600}, "expiresInSeconds"),
        ({"message": "x", "expiresInSeconds": "9"}, "expiresInSeconds"),
        ({"message": "x", "ifUnknown": "hope"}, "ifUnknown"),
        ({"reaction": {"messageId": "A", "emoji": "x" * 33}}, "emoji"),
        ({"reaction": {"messageId": "A"}}, "emoji"),
    ],
)
async def test_what_is_not_clear_is_refused(api: Api, body: dict[str, Any], said: str) -> None:
    account = await api.world.add()
    assert said in await refused(api, account, 400, **body)
    assert api.world.outgoing.rows == {}


async def test_options_are_kept_with_the_message(api: Api) -> None:
    account = await api.world.add()
    await send(api, account, message="x", expiresInSeconds=5, ifUnknown="park")
    row = api.world.outgoing.rows["outbox0"]
    assert (row.if_unknown, row.expires_at - row.created_at) == (IfUnknown.PARK, 5)
    shown = await (await api("GET", "/api/whatsapp/outbox/outbox0")).json()
    assert (shown["ifUnknown"], shown["kind"], shown["refersTo"], shown["sentAt"]) == ("park", "text", [], None)


async def test_the_same_request_is_answered_alike_even_when_the_store_is_gone(api: Api) -> None:
    account = await api.world.add()
    await api.world.store.write([message(account, "theirs", 1)])
    path, key = f"/api/whatsapp/send/{account}/{CHAT}", {"Idempotency-Key": "answer-1"}
    body = {"message": "x", "replyTo": "3EB01"}
    first = await api("POST", path, json=body, headers=key)
    api.world.store.failing = True
    again = await api("POST", path, json=body, headers=key)
    assert (first.status, again.status) == (202, 202)
    assert (await again.json())["id"] == (await first.json())["id"]
    assert (await again.json())["idempotent"] is True
    for other in ({"message": "x"}, {**body, "ifUnknown": "park"}, {"message": "y", "replyTo": "3EB01"}):
        assert (await api("POST", path, json=other, headers=key)).status == 409


async def test_messages_are_marked_as_read(api: Api) -> None:
    account = await api.world.add()
    api.world.outgoing.targets = {"OURS": [OURS], "ANNS": [Target("ANNS", "12025550101@s.whatsapp.net", text="hi")]}
    path = f"/api/whatsapp/messages/{account}"

    direct = await api("POST", f"{path}/{CHAT}/read", json={"messageIds": ["A", "B", "A"]})
    assert direct.status == 202, await direct.text()
    assert api.world.outgoing.rows["outbox0"].content == MarkRead((Target("A", CHAT), Target("B", CHAT)))
    group = await api("POST", f"{path}/{GROUP}/read", json={"messageIds": ["ANNS"]})
    assert group.status == 202
    assert api.world.outgoing.rows["outbox1"].content == MarkRead((Target("ANNS", "12025550101@s.whatsapp.net"),))
    for status, ids in ((400, ["OURS"]), (404, ["NOWHERE"]), (400, []), (400, ["A"] * 101)):
        assert (await api("POST", f"{path}/{GROUP}/read", json={"messageIds": ids})).status == status


async def test_the_list_has_filters_and_pages(api: Api) -> None:
    account = await api.world.add()
    for number in range(5):
        await send(api, account, chat=(CHAT, GROUP)[number % 2], message=str(number))
    await api("DELETE", "/api/whatsapp/outbox/outbox2")

    async def ids(query: str) -> tuple[list[str], str | None]:
        body = await (await api("GET", f"/api/whatsapp/outbox?{query}")).json()
        return [each["id"] for each in body["messages"]], body["next"]

    assert await ids("") == ([f"outbox{number}" for number in (4, 3, 2, 1, 0)], None)
    first, cursor = await ids("limit=3")
    assert first == ["outbox4", "outbox3", "outbox2"]
    assert await ids(f"limit=3&cursor={cursor}") == (["outbox1", "outbox0"], None)
    assert (await ids("state=cancelled"))[0] == ["outbox2"]
    assert (await ids(f"account={account}&chat=%2B12025550188&state=queued"))[0] == ["outbox4", "outbox0"]
    assert (await ids("account=0000000000000000"))[0] == []
    for wrong in ("state=lost", "account=me", "chat=nobody", "cursor=x", "limit=0"):
        assert (await api("GET", f"/api/whatsapp/outbox?{wrong}")).status == 400
    reader = await (await api("GET", "/api/whatsapp/outbox", token=READER)).text()
    assert "2025550188" not in reader


async def test_what_is_queued_is_cancelled_and_what_is_unknown_is_settled(api: Api) -> None:
    account = await api.world.add()
    rows = api.world.outgoing.rows
    for _ in range(3):
        await send(api, account, message="x")
    base = "/api/whatsapp/outbox"
    cancelled = await api("DELETE", f"{base}/outbox0")
    assert (cancelled.status, (await cancelled.json())["status"]) == (200, "cancelled")
    for method, path in (("DELETE", "outbox0"), ("POST", "outbox1/resend"), ("POST", "outbox1/cancel")):
        response = await api(method, f"{base}/{path}")
        assert response.status == 409
        assert "a message that is" in (await response.json())["detail"]
    for identifier, act, state in (("outbox1", "resend", "queued"), ("outbox2", "cancel", "cancelled")):
        rows[identifier] = replace(rows[identifier], state=OutboxState.UNKNOWN)
        settled = await api("POST", f"{base}/{identifier}/{act}")
        assert (settled.status, (await settled.json())["status"]) == (200, state)
    for method, path in (("DELETE", "none"), ("POST", "none/resend"), ("POST", "none/cancel")):
        assert (await api(method, f"{base}/{path}")).status == 404
    assert (await api("DELETE", f"{base}/outbox1", token=READER)).status == 403
