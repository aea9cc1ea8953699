"""The page of instances and its buttons, without a browser."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tandem.model.cluster import InstanceId
from tandem.model.cluster_view import InstanceState, LeaseState
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from unit.api.cluster_twin import HERE_NAME, THERE, THERE_NAME, THERE_URL
from unit.api.test_page_actions import _press
from unit.api.world import PHONE, READER, Api


async def _shared(api: Api, *, mine: bool) -> AccountId:
    account = await api.world.add()
    for slot in Slot:
        api.world.accounts.go_online(account, slot)
    api.world.cluster.share([account], mine=mine)
    view = api.world.accounts.get(account)
    api.world.accounts.views[account] = replace(view, lease=api.world.cluster.leases[account])
    return account


async def _headline(api: Api) -> str:
    found = re.search(r'id="headline">([^<]*)', await (await api("GET", "/dashboard/live/instances")).text())
    assert found
    return found[1]


async def test_the_worst_comes_first(open_api: Api) -> None:
    assert await _headline(open_api) == "One instance, which runs every account"
    account = await _shared(open_api, mine=True)
    cluster = open_api.world.cluster
    assert await _headline(open_api) == "2 instances, 1 account"
    cluster.instances[THERE] = replace(cluster.instances[THERE], state=InstanceState.SILENT)
    assert await _headline(open_api) == "1 instance not heard of"
    cluster.fenced_for = "no heartbeat was acknowledged for 8 s"
    assert await _headline(open_api) == "This instance may run no account now"
    assert cluster.fenced_for in await (await open_api("GET", "/instances")).text()
    for state in (LeaseState.SILENT, LeaseState.FREE):
        cluster.leases[account] = replace(cluster.leases[account], state=state)
        assert await _headline(open_api) == "1 account run by nobody"


@pytest.mark.parametrize("state", [LeaseState.HANDED_OVER, LeaseState.SILENT, LeaseState.REMOVED])
async def test_a_lease_that_is_not_simply_held_says_how_it_is(open_api: Api, state: LeaseState) -> None:
    account = await _shared(open_api, mine=False)
    lease = open_api.world.cluster.leases[account]
    open_api.world.cluster.leases[account] = replace(lease, state=state)
    row = (await (await open_api("GET", "/instances")).text()).split(f'data-lease="{account}"')[1].split("</tr>")[0]
    words = {LeaseState.HANDED_OVER: "being handed over", LeaseState.SILENT: "holder silent"}
    assert words.get(state, "removed") in row
    assert "<form" not in row


async def test_an_account_goes_only_to_those_that_are_there_and_linked(open_api: Api) -> None:
    account = await _shared(open_api, mine=True)
    cluster = open_api.world.cluster
    there = cluster.instances[THERE]

    async def offered() -> bool:
        return f'value="{THERE}"' in await (await open_api("GET", "/instances")).text()

    assert await offered()
    for unfit in (
        replace(there, draining=True),
        replace(there, state=InstanceState.DEPOSED),
        replace(there, accounts={}),
    ):
        cluster.instances[THERE] = unfit
        assert not await offered()
    assert "no other is linked" in await (await open_api("GET", "/instances")).text()
    assert account in cluster.leases


async def test_an_account_that_is_not_known_here_yet_has_no_page(open_api: Api) -> None:
    await _shared(open_api, mine=False)
    unknown = AccountId("00ff00ff00ff00ff")
    lease = next(iter(open_api.world.cluster.leases.values()))
    open_api.world.cluster.leases[unknown] = replace(lease, account=unknown)
    text = await (await open_api("GET", "/instances")).text()
    assert "account 00ff00…" in text
    assert f"/accounts/{unknown}" not in text


async def test_readers_see_no_number_and_no_button(api: Api) -> None:
    account = await _shared(api, mine=True)
    cluster = api.world.cluster
    cluster.instances[THERE] = replace(cluster.instances[THERE], name=f"desk of {PHONE}")
    cluster.leases[account] = replace(cluster.leases[account], reason=f"{PHONE} was moved")
    text = await (await api("GET", "/dashboard/live/instances", token=READER)).text()
    assert "2025550123" not in text
    assert "<form" not in text
    assert (await api("GET", "/dashboard/live/instances", token=None)).status == 401


async def test_buttons_move_and_drain(open_api: Api) -> None:
    account = await _shared(open_api, mine=True)
    response = await _press(open_api, "/instances/move", account=account, to="")
    assert (response.status, response.headers["Location"]) == (303, "/instances")
    assert open_api.world.cluster.leases[account].holder == THERE
    again = await _press(open_api, "/instances/move", script=True, account=account)
    assert (again.status, (await again.json())["holder"]) == (503, THERE_NAME)
    assert (await _press(open_api, "/instances/move", account="nonsense")).status == 404
    assert (await _press(open_api, "/instances/drain", on="perhaps")).status == 400
    done = await (await _press(open_api, "/instances/drain", script=True, on="true")).json()
    assert (done["words"], done["where"]) == ("This instance hands its accounts over.", "/instances")
    assert "Take part again" in await (await open_api("GET", "/instances")).text()


async def test_a_form_without_its_sessions_token_moves_nothing(open_api: Api) -> None:
    account = await _shared(open_api, mine=True)
    for path, fields in (("move", {"account": account}), ("drain", {"on": "true"})):
        response = await open_api("POST", f"/instances/{path}", data={"csrf": "", **fields})
        assert response.status == 403
    assert open_api.world.cluster.leases[account].mine
    assert open_api.world.cluster.role() == "active"


async def test_buttons_of_an_account_run_elsewhere_lead_there(open_api: Api) -> None:
    account = await _shared(open_api, mine=False)
    text = await (await open_api("GET", f"/accounts/{account}")).text()
    assert f'href="{THERE_URL}/accounts/{account}"' in text
    assert f'action="/accounts/{account}/remove"' not in text
    for path in ("switch", "remove"):
        refused = await _press(open_api, f"/accounts/{account}/{path}", name="Front desk")
        assert (refused.status, THERE_NAME in await refused.text()) == (503, True)
    assert account in open_api.world.accounts.views


async def test_a_passive_instance_names_all_that_run_accounts_once(open_api: Api) -> None:
    account = await _shared(open_api, mine=False)
    lease = open_api.world.cluster.leases[account]
    for last, name in enumerate((THERE_NAME, "ap-south")):
        other = AccountId(f"00000000000000{last:02x}")
        holder = {"holder": InstanceId(name), "holder_name": name, "holder_url": "" if last else THERE_URL}
        open_api.world.cluster.leases[other] = replace(lease, account=other, **holder)  # type: ignore[arg-type]
    banner = (await (await open_api("GET", "/")).text()).split('data-key="passive"')[1].split("</p>")[0]
    assert re.sub(r"<[^>]*>", "", banner).count(THERE_NAME) == 1
    assert "<b>ap-south</b> and " in banner
    assert f"{THERE_NAME}</a> run these accounts" in banner
    open_api.world.cluster.share([account], mine=True)
    assert 'data-key="passive"' not in await (await open_api("GET", "/")).text()
    assert HERE_NAME in await (await open_api("GET", "/instances")).text()
