"""Several instances over the API: who runs what, what only the holder may change, and what anybody may."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tandem.errors import InstancePassive
from tandem.model.cluster import InstanceId
from tandem.model.ids import AccountId
from tandem.model.states import SessionState, Slot
from unit.api.cluster_twin import HERE, HERE_NAME, THERE, THERE_NAME, THERE_URL
from unit.api.world import PHONE, READER, Api

CHAT = "12025550188"


async def _shared(api: Api, *, mine: bool = False, there_url: str = THERE_URL) -> AccountId:
    account = await api.world.add()
    for slot in Slot:
        api.world.accounts.go_online(account, slot)
    api.world.cluster.share([account], mine=mine, there_url=there_url)
    return account


async def test_a_single_instance_says_so(api: Api) -> None:
    cluster = (await (await api("GET", "/api/cluster")).json())["cluster"]
    assert (cluster["enabled"], cluster["leases"], cluster["regions"]) == (False, [], [])
    assert cluster["me"]["role"] == "active"
    assert [each["name"] for each in cluster["instances"]] == ["test-1"]
    for path, body in (("move", {"account": "0" * 16}), ("drain", {"on": True})):
        response = await api("POST", f"/api/cluster/{path}", json=body)
        assert response.status in {404, 409}
    account = await api.world.add()
    response = await api("POST", "/api/cluster/move", json={"account": account})
    assert (response.status, (await response.json())["error"]) == (409, "conflict")
    assert "TANDEM_CLUSTER__MODE" in (await response.json())["detail"]
    assert (await (await api("GET", "/", headers={"Accept": "application/json"})).json())["region"] == "primary"
    health = await (await api("GET", "/health")).json()
    assert (health["role"], {"shared", "region"} & set(health)) == ("active", set())
    shown = (await (await api("GET", f"/api/whatsapp/account/{account}")).json())["account"]
    assert shown["lease"] is None
    assert [slot["instance"] for slot in shown["slots"]] == [None, None]


async def test_who_runs_what_is_shown_without_numbers(api: Api) -> None:
    account = await _shared(api)
    cluster = api.world.cluster
    cluster.instances[THERE] = replace(cluster.instances[THERE], name=f"box of {PHONE}")
    response = await api("GET", "/api/cluster", token=READER)
    assert response.status == 200
    assert "2025550123" not in await response.text()
    told = (await response.json())["cluster"]
    assert (told["me"]["id"], told["me"]["role"], told["ttlSeconds"]) == (HERE, "passive", 10.0)
    there = next(each for each in told["instances"] if each["id"] == THERE)
    assert (there["holds"], there["state"], there["seenSecondsAgo"]) == (1, "alive", 2.5)
    assert there["accounts"] == {account: "online"}
    (lease,) = told["leases"]
    assert (lease["account"], lease["holder"], lease["mine"], lease["state"]) == (account, THERE, False, "held")
    assert (told["regions"][0]["state"], told["regions"][0]["latencyMs"]) == ("healthy", 41.2)


async def test_the_part_it_has_is_public_and_does_not_make_it_unready(api: Api) -> None:
    await _shared(api)
    health = await (await api("GET", "/health", token=None)).json()
    assert (health["role"], health["shared"], health["region"]) == ("passive", True, "primary")
    assert (await api("GET", "/readyz", token=None)).status == 200
    api.world.cluster.fenced_for = "no heartbeat was acknowledged for 8 s"
    assert (await api("GET", "/readyz", token=None)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/whatsapp/account/{account}/switch"),
        ("DELETE", "/api/whatsapp/account/{account}"),
        ("DELETE", "/api/whatsapp/outbox/{outbox}"),
        ("POST", "/api/whatsapp/outbox/{outbox}/resend"),
        ("POST", "/api/whatsapp/outbox/{outbox}/cancel"),
    ],
)
async def test_changes_are_left_to_the_instance_that_runs_the_account(api: Api, method: str, path: str) -> None:
    account = await _shared(api)
    sent = await api("POST", f"/api/whatsapp/send/{account}/{CHAT}", json={"message": "hello"})
    outbox = (await sent.json())["id"]
    before = dict(api.world.outgoing.rows), dict(api.world.accounts.views)
    response = await api(method, path.format(account=account, outbox=outbox))
    problem = await response.json()
    assert (response.status, problem["error"]) == (503, "instance_passive")
    assert response.headers["Retry-After"] == "5"
    assert (problem["holder"], problem["holderUrl"]) == (THERE_NAME, THERE_URL)
    assert THERE_NAME in problem["detail"]
    assert (dict(api.world.outgoing.rows), dict(api.world.accounts.views)) == before
    api.world.cluster.share([account], mine=True)
    response = await api(method, path.format(account=account, outbox=outbox))
    assert response.status == (409 if path.endswith(("resend", "outbox}/cancel")) else 200)


async def test_sending_pairing_and_restarting_are_open_everywhere(api: Api) -> None:
    account = await _shared(api)
    sent = await api("POST", f"/api/whatsapp/send/{account}/{CHAT}", json={"message": "hello"})
    assert sent.status == 202
    restart = await api("POST", f"/api/whatsapp/account/{account}/restart", json={"slot": "primary"})
    assert restart.status == 200
    backup = api.world.accounts.get(account).slot(Slot.BACKUP)
    api.world.accounts.put(account, replace(backup, device="", state=SessionState.UNPAIRED))
    assert (await api("POST", f"/api/whatsapp/account/{account}/pair", json={"slot": "backup"})).status == 202
    assert (await api("DELETE", f"/api/whatsapp/account/{account}/pair?slot=backup")).status == 200


async def test_an_instance_that_may_add_nothing_names_the_one_that_may(api: Api) -> None:
    api.world.accounts.broken = InstancePassive("us-east adds accounts", 2.0, holder=THERE_NAME, url=THERE_URL)
    response = await api("POST", "/api/whatsapp/add-account", json={"phone": PHONE})
    problem = await response.json()
    assert (response.status, problem["error"], problem["holderUrl"]) == (503, "instance_passive", THERE_URL)


@pytest.mark.parametrize(
    "url",
    ["", "javascript:alert(1)", "https://user:pass@us.example", "us.example", "https://us.example/?token=x", "ftp://x"],
)
async def test_an_address_that_must_not_be_followed_is_not_told(api: Api, url: str) -> None:
    account = await _shared(api, there_url=url)
    problem = await (await api("POST", f"/api/whatsapp/account/{account}/switch")).json()
    assert (problem["error"], problem["holder"], "holderUrl" in problem) == ("instance_passive", THERE_NAME, False)
    told = (await (await api("GET", "/api/cluster")).json())["cluster"]
    assert [each["url"] for each in told["instances"] if each["id"] == THERE] == [None]
    assert told["leases"][0]["holderUrl"] is None
    for page in ("/instances", "/", f"/accounts/{account}"):
        assert f'href="{url}' not in await (await api("GET", page)).text() or not url


async def test_an_account_is_moved_by_the_one_that_runs_it(api: Api) -> None:
    account = await _shared(api, mine=True)
    for wrong, status in (("nowhere", 404), (HERE_NAME, 409)):
        assert (await api("POST", "/api/cluster/move", json={"account": account, "to": wrong})).status == status
    assert (await api("POST", "/api/cluster/move", json={"account": account}, token=READER)).status == 403
    lease = (await (await api("POST", "/api/cluster/move", json={"account": account, "to": THERE_NAME})).json())[
        "lease"
    ]
    assert (lease["holder"], lease["generation"], lease["mine"]) == (THERE, 2, False)
    again = await api("POST", "/api/cluster/move", json={"account": account})
    assert (again.status, (await again.json())["holder"]) == (503, THERE_NAME)
    assert (await api("POST", "/api/cluster/move", json={"account": "0" * 16})).status == 404
    for body in ({}, {"account": "nonsense"}, {"account": account, "to": 5}):
        assert (await api("POST", "/api/cluster/move", json=body)).status == 400


async def test_draining_hands_everything_over_and_can_be_undone(api: Api) -> None:
    await _shared(api, mine=True)
    assert (await api("POST", "/api/cluster/drain", json={"on": True}, token=READER)).status == 403
    assert (await api("POST", "/api/cluster/drain", json={"on": "yes"})).status == 400
    cluster = (await (await api("POST", "/api/cluster/drain", json={"on": True})).json())["cluster"]
    assert (cluster["me"]["role"], [lease["holder"] for lease in cluster["leases"]]) == ("passive", [THERE])
    assert [each["draining"] for each in cluster["instances"] if each["me"]] == [True]
    cluster = (await (await api("POST", "/api/cluster/drain", json={"on": False})).json())["cluster"]
    assert [each["draining"] for each in cluster["instances"] if each["me"]] == [False]


async def test_an_account_tells_who_runs_it_and_its_slots_where(api: Api) -> None:
    account = await _shared(api)
    view = api.world.accounts.get(account)
    slots = (view.slots[0], replace(view.slots[1], instance=THERE_NAME))
    lease = api.world.cluster.leases[account]
    api.world.accounts.views[account] = replace(view, slots=slots, lease=lease)
    shown = (await (await api("GET", f"/api/whatsapp/account/{account}")).json())["account"]
    assert [slot["instance"] for slot in shown["slots"]] == [None, THERE_NAME]
    assert shown["lease"] == {
        "holder": THERE,
        "holderName": THERE_NAME,
        "mine": False,
        "generation": 1,
        "since": round(lease.since * 1000),
    }
    nobody = replace(lease, holder=InstanceId(""), holder_name="", since=0.0)
    api.world.accounts.views[account] = replace(api.world.accounts.views[account], lease=nobody)
    listed = (await (await api("GET", "/api/whatsapp/accounts")).json())["accounts"][0]["lease"]
    assert (listed["holder"], listed["since"]) == (None, None)
