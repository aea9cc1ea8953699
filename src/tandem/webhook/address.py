"""Addresses that webhooks may go to. Whoever can set a URL must not reach what only this machine can reach.

The addresses that were looked at are those that are dialled, so that a name cannot show one and mean another.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddress(OSError):  # noqa: N818 - says what is wrong
    """Every address of the name lies inside."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is none that lies inside: loopback, private, shared, reserved …, however it is dressed."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


class PublicResolver(AbstractResolver):
    """Gives the connector public addresses only. Raises PrivateAddress if there is none."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        public = [each for each in found if is_public(ip_address(each["host"].partition("%")[0]))]
        if not public:
            raise PrivateAddress("its address is not public")
        return public

    async def close(self) -> None:
        await self._inner.close()
