"""Which region this is, which others are looked at, and when one of them counts as unhealthy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import Misconfigured
from tandem.model.cluster_view import RegionState
from tandem.policy.regions import Place, Standing, after_look, other_regions, own_url, public_url, region_of
from tandem.settings import Settings

EU, US = "https://eu.tandem.example", "https://us.tandem.example"


def _settings(**values: object) -> Settings:
    names = {"primary": "PRIMARY_REGION_URL", "backup": "BACKUP_REGION_URL", "domain": "RAILWAY_PUBLIC_DOMAIN"}
    return Settings(**{names.get(name, name): value for name, value in values.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "region", "others"),
    [
        ({}, "primary", []),
        ({"primary": EU, "backup": US, "domain": "us.tandem.example"}, "backup", ["primary"]),
        ({"primary": EU, "backup": US, "domain": "eu.tandem.example"}, "primary", ["backup"]),
        ({"primary": "eu.tandem.example/", "backup": US, "domain": "EU.tandem.example."}, "primary", ["backup"]),
        ({"primary": EU, "backup": US, "cluster": {"url": f"{US}:443/"}}, "backup", ["primary"]),
        (
            {"primary": EU, "backup": US, "cluster": {"url": "http://us.tandem.example"}},
            "primary",
            ["primary", "backup"],
        ),
        ({"primary": EU, "backup": US, "cluster": {"region": "backup"}}, "backup", ["primary"]),
        ({"primary": EU, "backup": US, "cluster": {"region": "third"}}, "third", ["primary", "backup"]),
        ({"primary": EU, "backup": US}, "primary", ["primary", "backup"]),
        ({"backup": US, "cluster": {"region": " primary "}}, "primary", ["backup"]),
        (
            {"primary": EU, "backup": US, "domain": "us.tandem.example", "cluster": {"url": "https://10.example"}},
            "backup",
            ["primary"],
        ),
    ],
)
def test_a_region_is_told_or_known_by_its_own_address(
    values: dict[str, object], region: str, others: list[str]
) -> None:
    settings = _settings(**values)
    assert region_of(settings) == region
    assert [place.name for place in other_regions(settings)] == others


def test_a_bare_host_is_called_with_https() -> None:
    assert other_regions(_settings(backup="us.tandem.example:8443/tandem/")) == (
        Place("backup", "https://us.tandem.example:8443/tandem"),
    )
    assert own_url(_settings(domain="us.tandem.example")) == US
    assert own_url(_settings(domain="us.tandem.example", cluster={"url": EU})) == EU
    assert own_url(_settings()) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://", "no address of an API"),
        ("ftp://us.example", "no address of an API"),
        ("https://us.example:99999", "no address"),
        ("https://us .example", "no address"),
        ("https://[::1", "no address"),
        ("https://operator:canary@us.example", "user name or password"),
        ("https://us.example/?token=canary", "more than an address"),
        ("https://us.example/#canary", "more than an address"),
        ("https://" + "a" * 600, "no address"),
    ],
)
@pytest.mark.parametrize("name", ["primary", "backup", "url"])
def test_an_address_that_cannot_be_one_stops_the_start_without_being_repeated(name: str, url: str, why: str) -> None:
    values: dict[str, object] = {"cluster": {"url": url}} if name == "url" else {name: url}
    told = {"region": "primary", **values.get("cluster", {})}  # type: ignore[dict-item]
    for each in (values, {**values, "cluster": told}):
        with pytest.raises(Misconfigured) as refused:
            region_of(_settings(**each))
    variable = {"primary": "PRIMARY_REGION_URL", "backup": "BACKUP_REGION_URL", "url": "TANDEM_CLUSTER__URL"}[name]
    assert str(refused.value).startswith(variable)
    assert why in str(refused.value)
    assert url not in str(refused.value)
    assert "canary" not in str(refused.value)


@given(st.text(max_size=80))
def test_whatever_another_instance_calls_its_address_is_followed_only_as_http(text: str) -> None:
    assert public_url(text) == "" or public_url(text).startswith(("http://", "https://"))


def test_three_failures_in_a_row_are_unhealthy_and_one_answer_is_well() -> None:
    standing = Standing()
    seen = []
    for answered in (False, False, False, False, True, False, False, True, False, False, False):
        standing = after_look(standing, answered=answered, patience=3)
        seen.append((standing.state, standing.failures))
    unknown, healthy, unhealthy = RegionState.UNKNOWN, RegionState.HEALTHY, RegionState.UNHEALTHY
    assert seen == [
        (unknown, 1), (unknown, 2), (unhealthy, 3), (unhealthy, 4), (healthy, 0), (healthy, 1), (healthy, 2),
        (healthy, 0), (healthy, 1), (healthy, 2), (unhealthy, 3),
    ]  # fmt: skip


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_unhealthy_is_exactly_that_many_failures_without_an_answer(looks: list[bool], patience: int) -> None:
    standing = Standing()
    for answered in looks:
        standing = after_look(standing, answered=answered, patience=patience)
    since = len(looks) - 1 - looks[::-1].index(True) if True in looks else -1
    assert standing.failures == len(looks) - 1 - since
    assert (standing.state is RegionState.UNHEALTHY) == (standing.failures >= patience)
