"""Regions as they look from outside: which one this is, and whether another answers. Never who runs an account."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tandem.errors import Misconfigured
from tandem.model.cluster_view import RegionState
from tandem.settings import Settings

PRIMARY, BACKUP = "primary", "backup"
_VARIABLES = {PRIMARY: "PRIMARY_REGION_URL", BACKUP: "BACKUP_REGION_URL"}
_LONGEST = 500
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PLAIN = re.compile(r"[\x21-\x7e]+")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """A region and where its API is found, without a slash at the end."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Standing:
    """``failures`` in a row, up to the last look."""

    state: RegionState = RegionState.UNKNOWN
    failures: int = 0


def after_look(before: Standing, *, answered: bool, patience: int) -> Standing:
    """Return how a region stands after a look: unhealthy after ``patience`` failures in a row."""
    if answered:
        return Standing(RegionState.HEALTHY)
    failures = before.failures + 1
    return Standing(RegionState.UNHEALTHY if failures >= patience else before.state, failures)


def region_of(settings: Settings) -> str:
    """Return the region that this instance is in: as set, else the one whose URL is its own, else the primary.

    Raises Misconfigured for a URL that cannot be one.
    """
    mine = _own_servers(settings)
    here = [place.name for place in _places(settings) if _server(place.url) in mine]
    return settings.cluster.region.strip() or next(iter(here), PRIMARY)


def other_regions(settings: Settings) -> tuple[Place, ...]:
    """Return the regions to look at: all that have a URL, but not the one that this instance is known to be in.

    Raises Misconfigured for a URL that cannot be one.
    """
    told, mine = settings.cluster.region.strip(), _own_servers(settings)
    return tuple(place for place in _places(settings) if place.name != told and _server(place.url) not in mine)


def own_url(settings: Settings) -> str:
    """Return where others find this instance's API, empty if nobody said. Raises Misconfigured."""
    if settings.cluster.url:
        return _address(settings.cluster.url, "TANDEM_CLUSTER__URL")
    return _address(settings.railway_domain, "RAILWAY_PUBLIC_DOMAIN") if settings.railway_domain else ""


def public_url(url: str) -> str:
    """Return what another instance calls its address if it can be followed from a page without harm, else nothing."""
    try:
        return _address(url, "") if _SCHEME.match(url) and "://" in url else ""
    except Misconfigured:
        return ""


def _places(settings: Settings) -> list[Place]:
    written = {PRIMARY: settings.primary_region_url, BACKUP: settings.backup_region_url}
    return [Place(name, _address(url, _VARIABLES[name])) for name, url in written.items() if url.strip()]


def _own_servers(settings: Settings) -> set[tuple[str, int | None]]:
    """A Railway domain may stand beside an address that was set: either tells which region this is."""
    domain = settings.railway_domain
    mine = [own_url(settings), _address(domain, "RAILWAY_PUBLIC_DOMAIN") if domain else ""]
    return {_server(url) for url in mine if url}


def _server(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return (parts.hostname or "").lower().rstrip("."), parts.port or _PORTS.get(parts.scheme)


def _address(written: str, variable: str) -> str:
    """Return an address as it is called; a bare host gets https. Raises Misconfigured, and never repeats it."""
    text = written.strip()
    text = text if "://" in text else f"https://{text}"
    problem = _problem(text)
    if problem:
        raise Misconfigured(f"{variable} {problem}: write a host such as tandem-eu.up.railway.app, or an https URL")
    return text.rstrip("/")


def _problem(text: str) -> str:
    if len(text) > _LONGEST or not _PLAIN.fullmatch(text):
        return "is no address"
    try:
        parts = urlsplit(text)
        usable = parts.hostname and parts.port != 0
    except ValueError:
        return "is no address"
    if not usable or parts.scheme not in _PORTS:
        return "is no address of an API"
    return _too_much(parts)


def _too_much(parts: SplitResult) -> str:
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password, which must not be shown"
    return "holds more than an address" if parts.query or parts.fragment else ""
