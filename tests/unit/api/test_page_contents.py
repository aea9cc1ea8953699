"""What the pages say: alerts with their next step, filters and paging of events, the day's report."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from zoneinfo import ZoneInfo

from tandem.api.page_words import code
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.model.states import SessionState, Slot
from tandem.policy import report
from tandem.policy.alert_rules import RULES, Finding
from tandem.policy.alerting import Alert, Phase
from unit.api.world import Api

DAY = date(2025, 6, 15)


async def _page(api: Api, path: str) -> str:
    response = await api("GET", path)
    assert response.status == 200
    return await response.text()


def _messages(page: str) -> list[str]:
    return re.findall(r'<p class="sentence">([^<]*)</p>', page)


async def test_an_alert_says_what_to_do_and_where(open_api: Api) -> None:
    account = await open_api.world.add()
    now = open_api.world.clock.now()
    offline = Alert(Finding(RULES["account_offline"], "no session is online", account), Phase.FIRING, now - 90)
    missing = Alert(Finding(RULES["backup_missing"], "the backup is waiting", account), Phase.FIRING, now - 700)
    open_api.world.alerts[:] = [missing, offline]
    page = await _page(open_api, "/")
    assert "2 alerts firing" in page
    assert page.index("no session is online") < page.index("the backup is waiting")  # the critical one first
    assert f"<code>tandem accounts show {account}</code>" in page
    assert f'<a href="/accounts/{account}">Front desk</a>' in page
    assert "2 alerts firing" in await _page(open_api, f"/accounts/{account}")


async def test_quiet_shows_no_alerts(open_api: Api) -> None:
    account = await open_api.world.add()
    for path in ("/", f"/accounts/{account}"):
        assert "firing" not in await _page(open_api, path)


async def test_the_headline_names_the_one_in_trouble(open_api: Api) -> None:
    first = await open_api.world.add()
    second = await open_api.world.add("+12025550144", "Bookings")
    for account in (first, second):
        for slot in Slot:
            open_api.world.accounts.go_online(account, slot)
    assert "All 2 accounts online" in await _page(open_api, "/")
    view = open_api.world.accounts.get(second)
    open_api.world.accounts.put(second, replace(view.slot(Slot.PRIMARY), state=SessionState.WAITING))
    assert "1 account without a healthy backup: Bookings" in await _page(open_api, "/")


async def test_events_by_type_and_account(open_api: Api) -> None:
    account = await open_api.world.add()
    other = await open_api.world.add("+12025550144", "Bookings")
    events = open_api.world.events
    events(EventType.SESSION_ONLINE, "first online", account=account)
    events(EventType.SESSION_OFFLINE, "first offline", account=account)
    events(EventType.SESSION_ONLINE, "second online", account=other)
    events(EventType.MESSAGE_SENT, "a message", account=account)
    assert "a message" not in await _page(open_api, "/events")
    assert _messages(await _page(open_api, "/events?type=session_online")) == ["second online", "first online"]
    assert _messages(await _page(open_api, f"/events?type=session_online&account={account}")) == ["first online"]
    assert _messages(await _page(open_api, "/events?type=message_sent")) == ["a message"]
    assert "Nothing of this kind" in await _page(open_api, "/events?type=gap")
    selected = re.findall(r'<option value="(\w+)" selected>', await _page(open_api, "/events?type=gap"))
    assert selected == ["gap"]


async def test_older_events_page_by_page_each_once(open_api: Api) -> None:
    for number in range(120):
        open_api.world.events(EventType.GAP, f"gap {number}")
    seen: list[str] = []
    where = "/events?type=gap"
    while where:
        page = await _page(open_api, where)
        seen += _messages(page)
        open_api.world.events(EventType.GAP, "meanwhile")
        found = re.search(r'rel="next" href="([^"]+)"', page)
        where = found[1].replace("&amp;", "&") if found else ""
    assert seen == [f"gap {number}" for number in reversed(range(120))]


async def test_the_report_shows_the_day(open_api: Api) -> None:
    account = await open_api.world.add()
    zone = ZoneInfo("UTC")
    begins, ends = report.bounds(DAY, zone)
    outage = Outage(account, begins + 3600, "both slots lost the network", begins + 3642, 3)
    gone = AccountId("0123456789abcdef")
    figures = {account: {"received": 1234, "inbound_le_0.05": 10}, "": {"writes": 2000, "alerts": 1}}
    outages = {account: [outage], gone: []}
    composed = report.compose(DAY, zone, figures, outages, [Observation(begins, ends)], until=ends)
    open_api.world.reports[DAY] = report.document(composed)
    page = await _page(open_api, f"/report?date={DAY}")
    for told in ("Sunday, 15 June 2025", "1,234", "99.951 %", "both slots lost the network", "50 ms", "removed"):
        assert told in page
    assert 'href="/report?date=2025-06-14"' in page
    assert "date=2025-06-16" not in page  # that day has not begun


async def test_a_day_of_which_nothing_is_known(open_api: Api) -> None:
    assert "Nothing is known of this day" in await _page(open_api, "/report?date=2020-01-01")
    wrong = await open_api("GET", "/report?date=yesterday")
    assert (wrong.status, wrong.content_type) == (400, "text/html")
    assert "YYYY-MM-DD" in await wrong.text()


async def test_an_account_that_is_gone(open_api: Api) -> None:
    response = await open_api("GET", "/accounts/0123456789abcdef")
    assert (response.status, response.content_type) == (404, "text/html")


async def test_outages_and_the_phone_on_the_accounts_page(open_api: Api) -> None:
    account = await open_api.world.add()
    open_api.world.accounts.go_online(account, Slot.PRIMARY)
    now = open_api.world.clock.now()
    open_api.world.outages[:] = [Outage(account, now - 30, "the host died"), Outage(account, 1.0, "before", 2.0, 5)]
    page = await _page(open_api, f"/accounts/{account}")
    assert "out for 30 s: the host died" in page
    assert "not counted yet" in page
    assert "Phone last seen" in page


def test_code_in_words_is_escaped() -> None:
    assert str(code("run `a <b>` & see")) == "run <code>a &lt;b&gt;</code> &amp; see"
