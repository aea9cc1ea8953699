"""``tandem cluster``, and what the other commands say where instances share the accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tandem.cli import main
from tandem.model.ids import AccountId
from tandem.model.states import Slot
from unit.api.cluster_twin import HERE_NAME, THERE, THERE_NAME, THERE_URL
from unit.api.world import ADMIN, PHONE, READER, World, settings
from unit.cli.daemon import Running, running

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with running(World(settings())) as daemon:
        monkeypatch.setenv("TANDEM_URL", daemon.url)
        monkeypatch.setenv("TANDEM_API_TOKEN", ADMIN)
        yield daemon


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def _shared(daemon: Running, *, mine: bool, there_url: str = THERE_URL) -> AccountId:
    world = daemon.world
    account = daemon.do(world.add())
    for slot in Slot:
        daemon.call(world.accounts.go_online, account, slot)
    world.cluster.share([account], mine=mine, there_url=there_url)
    world.accounts.views[account] = replace(world.accounts.get(account), lease=world.cluster.leases[account])
    return account


def test_a_single_instance(daemon: Running, capsys: Capture) -> None:
    code, out, _ = run(capsys, "cluster", "status")
    assert (code, out) == (0, "test-1 is a single instance in region primary: it runs everything.\n")
    assert json.loads(run(capsys, "cluster", "status", "--json")[1])["enabled"] is False
    code, _, err = run(capsys, "cluster", "drain")
    assert code == 1
    assert "TANDEM_CLUSTER__MODE" in err
    daemon.do(daemon.world.add())
    assert "RUN BY" not in run(capsys, "accounts", "list")[1]
    assert "run by" not in run(capsys, "accounts", "show", PHONE)[1]


def test_status_says_who_runs_what(daemon: Running, capsys: Capture) -> None:
    account = _shared(daemon, mine=False)
    daemon.world.cluster.fenced_for = "no heartbeat was acknowledged for 8 s"
    code, out, _ = run(capsys, "cluster", "status", "--token", READER)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == (
        "eu-west in region primary is passive; it may run no account now: no heartbeat was acknowledged for 8 s."
    )
    here, there = (next(line for line in lines if line.startswith(name)).split() for name in (HERE_NAME, THERE_NAME))
    here = next(line for line in lines if "(this one)" in line).split()
    assert here[3:8] == ["primary", "alive", "1.3", "s", "ago"]
    assert (there[1:3], there[6], there[-1]) == (["backup", "alive"], "1", THERE_URL)
    assert next(line for line in lines if line.startswith(account)).split()[1:4] == [THERE_NAME, "held", "1"]
    assert any(line.startswith("backup") and "healthy" in line for line in lines)
    told = json.loads(run(capsys, "cluster", "status", "--json")[1])
    assert told["leases"][0]["holder"] == THERE


def test_what_another_instance_calls_itself_cannot_command_the_terminal(daemon: Running, capsys: Capture) -> None:
    account = _shared(daemon, mine=False)
    lease = daemon.world.cluster.leases[account]
    daemon.world.cluster.leases[account] = replace(lease, holder_name="us\x1b[2Jeast", reason="a\nb")
    daemon.world.cluster.instances[THERE] = replace(daemon.world.cluster.instances[THERE], name="us\x1b[2Jeast")
    daemon.world.accounts.views[account] = replace(
        daemon.world.accounts.get(account), lease=daemon.world.cluster.leases[account]
    )
    for command in (("cluster", "status"), ("accounts", "list"), ("accounts", "show", account), ("check",)):
        out = run(capsys, *command)[1]
        assert "\x1b" not in out
        assert "east" in out


def test_an_account_is_moved_from_here(daemon: Running, capsys: Capture) -> None:
    account = _shared(daemon, mine=True)
    code, out, _ = run(capsys, "cluster", "move", PHONE, "--to", THERE_NAME)
    assert (code, out) == (0, f"Account {account} is held: us-east, generation 2.\n")
    _shared(daemon, mine=True)
    assert json.loads(run(capsys, "cluster", "move", account, "--json")[1])["holder"] == THERE
    _shared(daemon, mine=True)
    code, _, err = run(capsys, "cluster", "move", account, "--to", "nowhere")
    assert (code, err) == (1, "tandem: no such instance; GET /api/cluster lists them\n")


def test_elsewhere_it_says_where_and_how(daemon: Running, capsys: Capture) -> None:
    account = _shared(daemon, mine=False)
    for command in (
        ("cluster", "move", account),
        ("accounts", "switch", account),
        ("accounts", "remove", account, "-y"),
    ):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "us-east runs this account" in err
        assert f"TANDEM_URL={THERE_URL} tandem" in err
    _shared(daemon, mine=False, there_url="javascript:alert(1)")
    code, _, err = run(capsys, "accounts", "switch", account)
    assert code == 1
    assert "javascript" not in err
    assert "call it at us-east, whose address is not known here" in err


def test_draining_and_taking_part_again(daemon: Running, capsys: Capture) -> None:
    _shared(daemon, mine=True)
    assert run(capsys, "cluster", "drain")[:2] == (0, "eu-west hands its accounts over; it runs 0 of 1 now.\n")
    assert run(capsys, "cluster", "drain", "--off")[:2] == (0, "eu-west takes part again; it runs 0 of 1 now.\n")
    assert json.loads(run(capsys, "cluster", "drain", "--json")[1])["me"]["role"] == "passive"
    code, _, err = run(capsys, "cluster", "drain", "--token", READER)
    assert code == 1
    assert "admin token" in err


def test_accounts_and_check_name_the_holder(daemon: Running, capsys: Capture) -> None:
    account = _shared(daemon, mine=False)
    header, row = run(capsys, "accounts", "list")[1].splitlines()
    assert header.split()[-2:] == ["RUN", "BY"]
    assert row.split()[-1] == THERE_NAME
    assert "  run by   us-east, generation 1, since " in run(capsys, "accounts", "show", account)[1]
    assert run(capsys, "check")[:2] == (0, "healthy: 1 account online; passive, us-east runs them\n")
    assert json.loads(run(capsys, "check", "--json")[1])["role"] == "passive"
    view = daemon.world.accounts.get(account)
    daemon.world.accounts.views[account] = replace(view, slots=(view.slots[0], replace(view.slots[1], instance="box")))
    assert "online (standby) at box" in run(capsys, "accounts", "list")[1]
    daemon.world.cluster.share([account], mine=True)
    assert run(capsys, "check")[:2] == (0, "healthy: 1 account online; active, runs 1 of 1 account\n")
    daemon.world.accounts.views[account] = replace(view, lease=daemon.world.cluster.leases[account])
    assert run(capsys, "accounts", "list")[1].splitlines()[1].endswith("eu-west (this instance)")
    daemon.world.cluster.free(account)
    assert run(capsys, "check")[1] == "healthy: 1 account online; passive, nobody runs them\n"


def test_check_without_a_token_does_not_fail_for_it(
    daemon: Running, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _shared(daemon, mine=False)
    monkeypatch.delenv("TANDEM_API_TOKEN")
    assert run(capsys, "check")[:2] == (0, "healthy: 1 account online\n")


@pytest.mark.parametrize("command", ["status", "move", "drain"])
def test_help_has_an_example(command: str, capsys: Capture) -> None:
    code, out, _ = run(capsys, "cluster", command, "--help")
    assert code == 0
    assert f"tandem cluster {command}" in out.split("xample", 1)[1]
