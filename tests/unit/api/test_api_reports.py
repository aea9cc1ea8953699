from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date

from tandem.model.ids import AccountId
from tandem.model.outage import Observation, Outage
from tandem.policy.alert_rules import RULES, Finding
from tandem.policy.alerting import Alert, Phase
from tandem.policy.report import bounds, compose, document
from unit.api.world import READER, Api

ACCOUNT = AccountId("0123456789abcdef")
DAY = date(2026, 3, 3)
BEGIN, END = bounds(DAY, UTC)


async def test_alerts_say_since_when_what_and_what_to_do(api: Api) -> None:
    finding = Finding(RULES["slot_stopped"], "the backup is logged_out: the phone removed it", f"{ACCOUNT}/backup")
    api.world.alerts = [Alert(finding, Phase.FIRING, 1_750_000_000.5)]
    (alert,) = (await (await api("GET", "/api/alerts", token=READER)).json())["alerts"]
    assert alert["rule"] == "slot_stopped"
    assert (alert["severity"], alert["account"], alert["slot"]) == ("critical", ACCOUNT, "backup")
    assert alert["since"] == 1_750_000_000_500
    assert "link it again" in alert["todo"]


async def test_the_report_of_a_day(api: Api) -> None:
    outage = Outage(ACCOUNT, BEGIN + 5, "both slots were killed", BEGIN + 6.5, 2, finished=True)
    report = compose(DAY, UTC, {ACCOUNT: {"received": 3}}, {ACCOUNT: [outage]}, [Observation(BEGIN, END)], until=END)
    api.world.reports[DAY] = document(report)
    body = await (await api("GET", "/api/report/daily?date=2026-03-03", token=READER)).json()
    assert body["report"]["date"] == "2026-03-03"
    (account,) = body["report"]["accounts"]
    assert account["counts"]["received"] == 3
    assert account["incidents"] == [
        {
            "began": round((BEGIN + 5) * 1000),
            "ended": round((BEGIN + 6.5) * 1000),
            "seconds": 1.5,
            "cause": "both slots were killed",
            "recovered": 2,
        }
    ]
    assert account["inbound"] == {"count": 0, "p50": None, "p90": None, "p99": None}


async def test_without_a_date_it_is_todays(api: Api) -> None:
    api.world.reports[api.world.today] = document(
        replace(compose(api.world.today, UTC, {}, {}, [], until=END), accounts=())
    )
    body = await (await api("GET", "/api/report/daily")).json()
    assert body["report"]["date"] == api.world.today.isoformat()


async def test_an_unknown_day_and_no_date_are_said(api: Api) -> None:
    assert (await api("GET", "/api/report/daily?date=2001-01-01")).status == 404
    wrong = await api("GET", "/api/report/daily?date=yesterday")
    assert wrong.status == 400
    assert "YYYY-MM-DD" in (await wrong.json())["detail"]
