from __future__ import annotations

from dataclasses import replace

from tandem.model.ids import AccountId
from tandem.model.outage import Outage
from tandem.model.states import SendingState, SessionState, Slot
from tandem.model.views import PairMethod, SendingView
from unit.api.twins import CODE, QR
from unit.api.world import PHONE, READER, Api

ACCOUNT_KEYS = {"id", "name", "phone", "status", "createdAt", "slots", "sending", "lease"}
SLOT_KEYS = {
    "slot",
    "device",
    "role",
    "state",
    "reason",
    "since",
    "generation",
    "quality",
    "qualityDetail",
    "pingMs",
    "keepAliveSeconds",
    "qrExpiresAt",
    "nextStep",
    "pairing",
    "instance",
}


async def test_add_account_answers_with_the_account(api: Api) -> None:
    response = await api("POST", "/api/whatsapp/add-account", json={"name": "Desk", "phone": "+1 (202) 555-0123"})
    body = await response.json()
    assert response.status == 200
    assert set(body) == {"success", "account"}
    assert body["success"] is True
    assert set(body["account"]) == ACCOUNT_KEYS
    assert body["account"]["phone"] == PHONE
    assert body["account"]["status"] == "unpaired"
    assert [set(slot) for slot in body["account"]["slots"]] == [SLOT_KEYS, SLOT_KEYS]
    assert [slot["slot"] for slot in body["account"]["slots"]] == ["primary", "backup"]
    assert body["account"]["slots"][0]["state"] == "pairing"


async def test_an_account_says_at_what_pace_it_sends(api: Api) -> None:
    added = await (await api("POST", "/api/whatsapp/add-account", json={"phone": PHONE})).json()
    assert added["account"]["sending"] == {"state": "normal", "perMinute": None, "pausedUntil": None, "reason": ""}
    account = AccountId(added["account"]["id"])
    banned = SendingView(SendingState.BANNED, 0.0, 1_700_000_000.0, "banned")
    api.world.accounts.views[account] = replace(api.world.accounts.views[account], sending=banned)
    body = await (await api("GET", f"/api/whatsapp/account/{account}")).json()
    until = 1_700_000_000_000
    assert body["account"]["sending"] == {
        "state": "banned", "perMinute": 0, "pausedUntil": until, "reason": "banned",
    }  # fmt: skip


async def test_the_same_number_again_is_the_same_account(api: Api) -> None:
    first = await (await api("POST", "/api/whatsapp/add-account", json={"phone": PHONE})).json()
    again = await (await api("POST", "/api/whatsapp/add-account", json={"phone": "001 202 555 01 23"})).json()
    assert again["account"]["id"] == first["account"]["id"]
    assert again["idempotent"] is True
    assert len(api.world.accounts.views) == 1


async def test_a_nameless_account_gets_a_name_that_does_not_show_the_number(api: Api) -> None:
    body = await (await api("POST", "/api/whatsapp/add-account", json={"phone": PHONE})).json()
    assert body["account"]["name"] == "Account …23"


async def test_no_more_accounts_than_allowed(api: Api) -> None:
    for last in range(3):
        await api.world.add(f"+1202555010{last}")
    response = await api("POST", "/api/whatsapp/add-account", json={"phone": PHONE})
    assert response.status == 409
    assert "TANDEM_API__MAX_ACCOUNTS" in (await response.json())["detail"]
    known = await api("POST", "/api/whatsapp/add-account", json={"phone": "+12025550102"})
    assert known.status == 200


async def test_list_and_get_show_both_slots(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    listed = (await (await api("GET", "/api/whatsapp/accounts")).json())["accounts"]
    got = (await (await api("GET", f"/api/whatsapp/account/{account}")).json())["account"]
    assert listed == [{name: got[name] for name in listed[0]}]
    assert got["status"] == "degraded"
    primary, backup = got["slots"]
    assert (primary["state"], primary["role"], primary["pingMs"]) == ("online", "active", 42.4)
    assert primary["device"] == "12025550123:1@s.whatsapp.net"
    assert (backup["state"], backup["role"], backup["device"]) == ("unpaired", "none", None)
    assert got["createdAt"] == 1_750_000_000_000


async def test_an_account_tells_since_when_it_is_out_and_its_last_outages(api: Api) -> None:
    account = await api.world.add()
    now = api.world.clock.now()
    over = Outage(account, now - 100, "connection lost by +12025550123", now - 90, 7, finished=True)
    api.world.outages = [over]
    got = (await (await api("GET", f"/api/whatsapp/account/{account}", token=READER)).json())["account"]
    assert (got["outage"], got["since"]) == (None, round((now - 90) * 1000))
    [shown] = got["outages"]
    assert "12025550123" not in str(shown)
    assert (shown["from"], shown["to"], shown["seconds"], shown["recovered"]) == (
        round((now - 100) * 1000),
        round((now - 90) * 1000),
        10.0,
        7,
    )
    api.world.outages = [Outage(account, now - 5, "both are parked"), over]
    got = (await (await api("GET", f"/api/whatsapp/account/{account}")).json())["account"]
    assert got["since"] == got["outage"]["from"] == round((now - 5) * 1000)
    assert (got["outage"]["to"], got["outage"]["seconds"], len(got["outages"])) == (None, 5.0, 2)


async def test_qr_expiry_is_told_while_a_qr_is_shown(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.show_code(account, Slot.PRIMARY)
    got = (await (await api("GET", f"/api/whatsapp/account/{account}")).json())["account"]
    assert got["slots"][0]["qrExpiresAt"] == 1_750_000_020_000
    assert QR not in str(got)


async def test_pair_starts_once(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    started = await api("POST", f"/api/whatsapp/account/{account}/pair", json={"slot": "backup", "method": "qr"})
    again = await api("POST", f"/api/whatsapp/account/{account}/pair")
    assert (started.status, again.status) == (202, 200)
    pairing = (await again.json())["pairing"]
    assert pairing["slot"] == "backup"
    assert pairing["qr"] == f"/api/whatsapp/account/{account}/qr?slot=backup"
    assert pairing["code"] is None
    assert (await again.json())["idempotent"] is True


async def test_pair_of_a_paired_slot_is_a_conflict(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    response = await api("POST", f"/api/whatsapp/account/{account}/pair", json={"slot": "primary"})
    assert response.status == 409


async def test_pair_by_code_tells_the_code_once_there_is_one(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    path = f"/api/whatsapp/account/{account}/pair"
    await api("POST", path, json={"slot": "backup", "method": "code"})
    api.world.accounts.show_code(account, Slot.BACKUP, CODE)
    body = await (await api("POST", path, json={"slot": "backup", "method": "code"})).json()
    assert body["pairing"]["code"] == CODE
    assert body["pairing"]["qr"] is None


async def test_switch_moves_the_role_or_says_why_not(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.go_online(account, Slot.PRIMARY)
    refused = await api("POST", f"/api/whatsapp/account/{account}/switch")
    assert refused.status == 409
    assert "not paired" in (await refused.json())["detail"]
    api.world.accounts.go_online(account, Slot.BACKUP)
    body = await (await api("POST", f"/api/whatsapp/account/{account}/switch")).json()
    assert [slot["role"] for slot in body["account"]["slots"]] == ["standby", "active"]


async def test_remove_forgets_the_account(api: Api) -> None:
    account = await api.world.add()
    response = await api("DELETE", f"/api/whatsapp/account/{account}")
    assert (response.status, await response.json()) == (200, {"success": True})
    assert (await api("DELETE", f"/api/whatsapp/account/{account}")).status == 404


async def test_readers_see_numbers_masked(api: Api) -> None:
    account = await api.world.add(name="Desk +1 202 555 0123")
    api.world.accounts.go_online(account, Slot.PRIMARY)
    text = await (await api("GET", "/api/whatsapp/accounts", token=READER)).text()
    assert "2025550123" not in text.replace(" ", "")
    assert "+120****23" in text


class TestQr:
    async def test_as_png_svg_and_text(self, api: Api) -> None:
        account = await api.world.add()
        api.world.accounts.show_code(account, Slot.PRIMARY)
        path = f"/api/whatsapp/account/{account}/qr?slot=primary"
        png = await api("GET", path)
        assert (png.status, png.content_type) == (200, "image/png")
        assert (await png.read()).startswith(b"\x89PNG")
        svg = await api("GET", path, headers={"Accept": "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"})
        assert svg.content_type == "image/svg+xml"
        assert b"<svg" in await svg.read()
        text = await api("GET", path, headers={"Accept": "text/plain"})
        assert await text.text() == QR
        assert {each.headers["Cache-Control"] for each in (png, svg, text)} == {"no-store"}

    async def test_slot_defaults_to_the_one_that_is_paired_now(self, api: Api) -> None:
        account = await api.world.add()
        api.world.accounts.go_online(account, Slot.PRIMARY)
        await api.world.accounts.pair(account, Slot.BACKUP, PairMethod.QR)
        api.world.accounts.show_code(account, Slot.BACKUP, QR)
        response = await api("GET", f"/api/whatsapp/account/{account}/qr", headers={"Accept": "text/plain"})
        assert await response.text() == QR

    async def test_not_there_yet_or_expired_is_202(self, api: Api) -> None:
        account = await api.world.add()
        path = f"/api/whatsapp/account/{account}/qr"
        soon = await api("GET", path)
        assert (soon.status, soon.headers["Retry-After"]) == (202, "1")
        assert (await soon.json())["status"] == "pending"
        api.world.accounts.show_code(account, Slot.PRIMARY)
        api.world.clock.advance(20)
        assert (await api("GET", path)).status == 202

    async def test_paired_is_409_and_nothing_under_way_is_404(self, api: Api) -> None:
        account = await api.world.add()
        api.world.accounts.go_online(account, Slot.PRIMARY)
        assert (await api("GET", f"/api/whatsapp/account/{account}/qr?slot=primary")).status == 409
        assert (await api("GET", f"/api/whatsapp/account/{account}/qr?slot=backup")).status == 404

    async def test_other_forms_are_406(self, api: Api) -> None:
        account = await api.world.add()
        response = await api("GET", f"/api/whatsapp/account/{account}/qr", headers={"Accept": "application/pdf"})
        assert response.status == 406

    async def test_readers_get_none(self, api: Api) -> None:
        account = await api.world.add()
        api.world.accounts.show_code(account, Slot.PRIMARY)
        response = await api("GET", f"/api/whatsapp/account/{account}/qr", token=READER)
        assert response.status == 403
        assert QR not in await response.text()

    async def test_a_code_is_text_only(self, api: Api) -> None:
        account = await api.world.add()
        api.world.accounts.go_online(account, Slot.PRIMARY)
        await api.world.accounts.pair(account, Slot.BACKUP, PairMethod.CODE)
        api.world.accounts.show_code(account, Slot.BACKUP, CODE)
        path = f"/api/whatsapp/account/{account}/qr?slot=backup"
        assert (await api("GET", path)).status == 409
        assert await (await api("GET", path, headers={"Accept": "text/plain"})).text() == CODE


async def test_restart_brings_a_parked_slot_back(api: Api) -> None:
    account = await api.world.add()
    path = f"/api/whatsapp/account/{account}/restart"
    assert (await api("POST", path, json={"slot": "primary"})).status == 409
    api.world.accounts.go_online(account, Slot.PRIMARY)
    parked = replace(api.world.accounts.get(account).slot(Slot.PRIMARY), state=SessionState.PARKED)
    api.world.accounts.put(account, parked)
    body = await (await api("POST", path, json={"slot": "primary"})).json()
    assert body["account"]["slots"][0]["state"] == "connecting"
    assert (await api("POST", path)).status == 400


async def test_pair_too_soon_says_when_to_come_again(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.too_soon = 6.3
    response = await api("POST", f"/api/whatsapp/account/{account}/pair", json={"method": "code"})
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert (await response.json())["error"] == "rate_limited"


async def test_a_pairing_can_be_cancelled_once(api: Api) -> None:
    account = await api.world.add()
    path = f"/api/whatsapp/account/{account}/pair"
    cancelled = await api("DELETE", path)
    slot = (await cancelled.json())["account"]["slots"][0]
    assert (cancelled.status, slot["state"], slot["pairing"]) == (200, "unpaired", None)
    assert (await api("DELETE", path)).status == 404


async def test_a_slot_tells_how_its_pairing_stands(api: Api) -> None:
    account = await api.world.add()
    api.world.accounts.show_code(account, Slot.PRIMARY)
    answer = await (await api("GET", f"/api/whatsapp/account/{account}")).json()
    pairing = answer["account"]["slots"][0]["pairing"]
    assert pairing["method"] == "qr"
    assert pairing["expiresAt"] < pairing["deadline"]
