"""Two regions with a pair of devices each share accounts: whatever happens to one, the other goes on.

One stage, under traffic in both directions all the time; each test leaves both regions well. What was said is judged
after the last of them: nothing lost, nothing doubled, nobody sent what another region ran (see ``Stage.verdict``).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

import aiohttp
import pytest
import pytest_asyncio

from integration.cluster.stage import TTL, Region, Stage
from support.fault_proxy import Latency, Way
from support.firestore_emulator import FirestoreEmulator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
REGIONS: dict[str, dict[str, str]] = {"primary": {}, "backup": {}}
_CLI = "import sys; from tandem.cli import main; sys.exit(main())"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(firestore: FirestoreEmulator) -> AsyncIterator[Stage]:
    async with Stage(firestore, REGIONS, accounts=2) as stage:
        stage.talk_on()
        yield stage


async def held_by(stage: Stage, name: str, patience: float = 30.0) -> None:
    for talk in stage.talks:
        await stage.run_by(talk, name, patience)


async def refused(
    region: Region, method: str, path: str, body: Mapping[str, object] | None = None
) -> aiohttp.ClientResponse:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{region.port}") as session,
        session.request(method, path, json=body) as answer,
    ):
        await answer.read()
        return answer


async def run_cli(region: Region, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "TANDEM_URL": f"http://127.0.0.1:{region.port}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CLI, *words, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_the_passive_region_serves_reads_takes_messages_and_refuses_changes(stage: Stage) -> None:
    await held_by(stage, "primary")
    talk, backup = stage.talks[0], stage.regions["backup"]
    health = await backup.tandem.call("GET", "/health")
    assert (health["role"], health["region"], health["status"]) == ("passive", "backup", "healthy")
    assert (await stage.regions["primary"].tandem.call("GET", "/health"))["role"] == "active"
    for method, path, body in (
        ("POST", f"/api/whatsapp/account/{talk.account}/switch", None),
        ("DELETE", f"/api/whatsapp/account/{talk.account}", None),
        ("POST", "/api/whatsapp/add-account", {"name": "Other", "phone": "+12025550190"}),
    ):
        answer = await refused(backup, method, path, body)
        problem = await answer.json()
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE, path
        assert int(answer.headers["Retry-After"]) >= 1
        assert (problem["error"], problem["holder"]) == ("instance_passive", "primary")
        assert problem["holderUrl"] == f"http://127.0.0.1:{stage.regions['primary'].port}"
    [account] = [each for each in await backup.tandem.accounts() if each["id"] == talk.account]
    assert {slot["role"] for slot in account["slots"]} == {"standby"}
    assert account["lease"]["holderName"] == "primary"
    identity = await backup.tandem.send(talk.account, talk.contact, "by way of the other region", "way-1")
    talk.accepted[identity] = "by way of the other region"

    async def sent() -> bool:
        return (await backup.tandem.outbox(identity))["status"] in {"sent", "delivered", "read"}

    await stage.until(sent, 10, "a message accepted by the passive region is sent by the active one")


async def test_a_deploy_hands_over_within_a_second_and_does_not_come_back_by_itself(stage: Stage) -> None:
    """The seed's region test: stop primary's service, the backup takes over, messages continue; start it again."""
    await held_by(stage, "primary")
    primary, since = stage.regions["primary"], time.time()
    assert await primary.end() == 0
    await held_by(stage, "backup")
    lost, acquired = stage.events("lease_lost", since), stage.events("lease_acquired", since)
    switched = stage.events("switched_region", since)
    assert {each.account for each in lost} == {each.account for each in acquired} == {t.account for t in stage.talks}
    gaps = [next(b.at for b in acquired if b.account == a.account) - a.at for a in lost]
    print(f"deploy: lease given up to lease acquired {max(gaps) * 1000:.0f} ms at most")
    assert max(gaps) < 1.0
    assert {each.line["from_region"] for each in switched} == {"primary"}
    assert {each.line["to_region"] for each in switched} == {"backup"}
    assert all(each.line["reason"] == "its instance stops" for each in (*lost, *acquired, *switched))
    again = time.time()
    await primary.start()
    await asyncio.sleep(8)
    assert stage.events("lease_acquired", again) == []
    await held_by(stage, "backup")


async def test_a_region_cut_off_from_firestore_falls_silent_before_another_takes_over(stage: Stage) -> None:
    await held_by(stage, "backup")
    backup, since = stage.regions["backup"], time.time()
    backup.proxy.strand()
    await backup.proxy.down()
    await held_by(stage, "primary")
    lost, acquired = stage.events("lease_lost", since), stage.events("lease_acquired", since)
    fenced, taken = max(each.at for each in lost) - since, max(each.at for each in acquired) - since
    print(f"partition: fenced after {fenced:.2f} s, taken over after {taken:.2f} s")
    assert {each.region for each in lost} == {"backup"}
    assert fenced <= TTL * 0.8 + 0.5
    assert fenced < taken <= TTL + 1
    assert (await backup.tandem.call("GET", "/readyz"))["ready"] is True
    await backup.proxy.up()
    await asyncio.sleep(3)
    await held_by(stage, "primary")


async def test_a_region_lost_is_taken_over_in_the_time_to_live_and_a_second(stage: Stage) -> None:
    await held_by(stage, "primary")
    primary = stage.regions["primary"]
    killed = primary.kill()
    await held_by(stage, "backup")
    acquired = stage.events("lease_acquired", killed)
    taken = max(each.at for each in acquired) - killed
    print(f"region killed: taken over after {taken:.2f} s")
    assert taken <= TTL + 1
    assert all("no sign of life" in each.line["reason"] for each in acquired)
    await primary.end()
    await primary.start()
    await asyncio.sleep(3)
    await held_by(stage, "backup")


async def test_a_region_paused_for_half_a_minute_sends_nothing_when_it_wakes(stage: Stage) -> None:
    await held_by(stage, "backup")
    backup, paused = stage.regions["backup"], time.time()
    pids = backup.pause()
    try:
        await held_by(stage, "primary")
        taken = max(each.at for each in stage.events("lease_acquired", paused)) - paused
        print(f"region paused: taken over after {taken:.2f} s")
        assert taken <= TTL + 1
        await asyncio.sleep(max(0.0, 30 - (time.time() - paused)))
    finally:
        Region.resume(pids)
    resumed = time.time()

    async def aware() -> bool:
        return bool(stage.events("lease_lost", resumed))

    await stage.until(aware, 10, "the paused region has noticed that it runs nothing any more")
    await asyncio.sleep(3)
    await held_by(stage, "primary")
    for slot in ("primary", "backup"):
        for talk in stage.talks:
            await backup.tandem.wait_for_slot(talk.account, slot, "online", 30)


async def test_a_slow_firestore_moves_nothing(stage: Stage) -> None:
    await held_by(stage, "primary")
    since, primary = time.time(), stage.regions["primary"]
    for way in (Way.UP, Way.DOWN):
        primary.proxy.add(Latency(0.4, 0.2), way)
    await asyncio.sleep(8)
    primary.proxy.heal()
    assert stage.events("lease_lost", since) == []
    await held_by(stage, "primary")


async def test_an_operator_sees_moves_and_drains(stage: Stage) -> None:
    await held_by(stage, "primary")
    talk, primary, backup = stage.talks[0], stage.regions["primary"], stage.regions["backup"]
    code, output = await run_cli(backup, "cluster", "status", "--json")
    assert code == 0, output
    assert {each["name"] for each in json.loads(output)["instances"]} == {"primary", "backup"}
    code, output = await run_cli(backup, "cluster", "move", talk.account)
    assert code != 0
    assert "primary" in output
    since = time.time()
    code, output = await run_cli(primary, "cluster", "move", talk.account, "--to", "backup")
    assert code == 0, output
    await stage.run_by(talk, "backup", 5)
    moved = stage.events("lease_acquired", since)
    assert [each.line["reason"] for each in moved] == ["an operator moved it"]
    assert (await run_cli(primary, "cluster", "drain"))[0] == 0
    await held_by(stage, "backup", 10)
    assert (await run_cli(primary, "cluster", "drain", "--off"))[0] == 0
    await asyncio.sleep(2)
    await held_by(stage, "backup")


async def test_in_all_that_nothing_was_lost_or_doubled_and_nobody_sent_what_was_not_his(stage: Stage) -> None:
    await stage.quiet()
    figures = await stage.verdict()
    print(f"judged: {figures}")
    assert min(figures.values()) > 100
