"""The page of instances, as people meet it: who runs what, moving it, and what a passive instance looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from browser.conftest import Browse
from browser.page import Page
from tandem.clock import SystemRandom
from tandem.model.cluster import Fitness, InstanceId
from tandem.model.cluster_view import InstanceState, InstanceView, LeaseState, RegionState, RegionView
from tandem.model.event import EventType
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from unit.api.cluster_twin import THERE, THERE_NAME, THERE_URL
from unit.api.twins import RealClock
from unit.api.world import READER, World, settings
from unit.cli.daemon import Running, running

_LOOKS = [(1280, 900, "light"), (1280, 900, "dark"), (390, 844, "light"), (390, 844, "dark")]
_NAMES = ("Front desk", "Repairs", "Night shift")


@pytest.fixture
def daemon() -> Iterator[Running]:
    world = World(settings(api_token=None, read_token=None), clock=RealClock(), random=SystemRandom())
    with running(world) as daemon:
        yield daemon


def _fill(daemon: Running, *, mine: bool) -> list[AccountId]:
    """Three accounts, two instances that share them, and a third one that has fallen silent."""
    world = daemon.world
    accounts = [daemon.do(world.add(f"+1202555012{last}", name)) for last, name in enumerate(_NAMES)]
    for account in accounts:
        for slot in Slot:
            daemon.call(world.accounts.go_online, account, slot)
    world.cluster.share(accounts, mine=mine)
    for account in accounts:
        world.accounts.views[account] = replace(world.accounts.get(account), lease=world.cluster.leases[account])
    silent = InstanceId("00112233445566778899aabb")
    fit = {accounts[0]: Fitness.LINKED, accounts[1]: Fitness.UNLINKED}
    world.cluster.instances[silent] = InstanceView(
        silent, "ap-south", "third", "", "1.2.2", state=InstanceState.SILENT, seen_ago=312.0, accounts=fit
    )
    last = RegionView("third", "https://ap.tandem.example", RegionState.UNHEALTHY, 4, world.clock.now() - 12)
    words = "nothing listens there, or it cannot be reached"
    world.cluster.regions = (*world.cluster.regions, replace(last, detail=words))
    return accounts


@pytest.mark.parametrize(("width", "height", "scheme"), _LOOKS)
def test_every_part_is_seen_at_every_size(
    browse: Browse, daemon: Running, width: int, height: int, scheme: str
) -> None:
    accounts = _fill(daemon, mine=True)
    lease = daemon.world.cluster.leases[accounts[2]]
    nobody = {"holder": InstanceId(""), "holder_name": "", "holder_region": "", "holder_url": ""}
    free = replace(lease, **nobody, mine=False, state=LeaseState.FREE)  # type: ignore[arg-type]
    daemon.world.cluster.leases[accounts[2]] = replace(free, reason="its holder was silent for 10 s")
    page = Page(browse(width, height, scheme), daemon.url)
    page.click("a[href='/instances']")
    page.arrives("/instances")
    assert page.text("#headline") == "1 account run by nobody"
    assert page.count(".instance") == 3
    assert "this one" in page.text(".instance.me")
    for name in _NAMES[:2]:
        assert name in page.text(".instance.me [data-runs]")
    assert _NAMES[2] not in page.text(".instance.me [data-runs]")
    assert "Silent" in page.text("[data-instance=ap-south] [data-state]")
    assert "nobody" in page.text(f"[data-lease='{accounts[2]}']")
    page.keep(f"instances-{width}-{scheme}")
    page.untroubled()


def test_an_account_moves_before_your_eyes(browse: Browse, daemon: Running) -> None:
    accounts = _fill(daemon, mine=True)
    page = Page(browse(), daemon.url)
    page.go("/instances")
    page.says("live", "#link")
    row = f"[data-lease='{accounts[0]}']"
    page.click(f"{row} form button")
    page.says("Front desk goes to us-east.", "#notice")
    page.says(THERE_NAME, row)
    page.says("Front desk", f"[data-instance={THERE_NAME}] [data-runs]")
    assert page.count(f"{row} form") == 0
    assert page.count("[data-key=passive]") == 0
    page.click("form[action='/instances/drain'] button")
    page.says("This instance is passive: us-east runs these accounts", "[data-key=passive]")
    page.says("Draining", ".instance.me [data-state]")
    page.click("form[action='/instances/drain'] button")
    page.says("takes part again", "#notice")
    page.says("Alive", ".instance.me [data-state]")
    page.untroubled()


@pytest.mark.parametrize(("width", "height", "scheme"), _LOOKS)
def test_a_passive_instance_says_whose_turn_it_is(
    browse: Browse, daemon: Running, width: int, height: int, scheme: str
) -> None:
    accounts = _fill(daemon, mine=False)
    view = daemon.world.accounts.get(accounts[0])
    slots = (view.slots[0], replace(view.slots[1], instance=THERE_NAME))
    daemon.world.accounts.views[accounts[0]] = replace(view, slots=slots)
    page = Page(browse(width, height, scheme), daemon.url)
    page.says("This instance is passive: us-east runs these accounts", "[data-key=passive]")
    assert page.find("[data-key=passive] a").get_attribute("href") == f"{THERE_URL}/"
    assert "us-east" in page.text(f"[data-account='{accounts[0]}'] [data-slot=backup]")
    assert page.find(f"[data-account='{accounts[0]}'] form[action$='/switch'] button").get_attribute("disabled")
    page.keep(f"passive-{width}-{scheme}")
    page.untroubled()
    page.go(f"/accounts/{accounts[0]}")
    page.says("run by us-east", ".lead")
    assert page.count(".remove") == 0
    assert page.count("[data-slot=primary] form[action$='/restart']") == 1
    assert page.count("[data-slot=backup] form") == 0
    page.keep(f"passive-account-{width}-{scheme}")
    page.untroubled()


def test_the_banner_goes_when_this_instance_takes_over(browse: Browse, daemon: Running) -> None:
    accounts = _fill(daemon, mine=False)
    page = Page(browse(), daemon.url)
    page.says("This instance is passive", "[data-key=passive]")
    daemon.world.cluster.share(accounts, mine=True)
    daemon.call(daemon.world.events, EventType.LEASE_ACQUIRED, "This instance runs Front desk now")
    page.until(lambda: page.count("[data-key=passive]") == 0)
    page.untroubled()


def test_moving_and_draining_work_without_javascript(browse: Browse, daemon: Running) -> None:
    accounts = _fill(daemon, mine=True)
    page = Page(browse(), daemon.url)
    page.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.chrome.get(f"{daemon.url}instances")
    page.click(f"[data-lease='{accounts[0]}'] form button")
    page.until(lambda: page.count(f"[data-lease='{accounts[0]}'] form") == 0)
    assert page.chrome.current_url.endswith("/instances")
    assert daemon.world.cluster.leases[accounts[0]].holder == THERE
    page.click("form[action='/instances/drain'] button")
    page.says("This instance is passive")
    assert daemon.world.cluster.role() == "passive"


def test_a_single_instance_has_no_such_page_in_its_way(browse: Browse, daemon: Running) -> None:
    daemon.do(daemon.world.add())
    page = Page(browse(), daemon.url)
    assert page.count("a[href='/instances']") == 0
    page.go("/instances")
    page.says("One instance, which runs every account", "#headline")
    page.untroubled()


def test_readers_see_it_without_buttons(browse: Browse) -> None:
    world = World(settings(), clock=RealClock(), random=SystemRandom())
    with running(world) as daemon:
        _fill(daemon, mine=True)
        page = Page(browse(), daemon.url)
        page.find("#token").send_keys(f"{READER}\n")
        page.arrives("/")
        page.go("/instances")
        page.says("us-east")
        assert page.count("#live form") == 0
