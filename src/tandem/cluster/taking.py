"""The documents of a commit that takes leases."""

from __future__ import annotations

from dataclasses import replace

from tandem.cluster.port import Put
from tandem.model.cluster import Instance, InstanceId, Lease
from tandem.policy.lease import Take, View

_NO_TERM = 2**31
"""No term comes to it: whoever has no document has not begun any, and begins beyond."""


def lease(view: View, take: Take, term: int, now: float) -> Lease:
    """Return a lease as it is once it is taken in this term, under a new generation."""
    before = view.leases[take.account].lease
    return Lease(take.account, view.me, term, before.generation + 1, reason=take.reason, since=now)


def deposing(view: View, name: InstanceId) -> Put:
    """Return what ends the term of an instance, if its heartbeat still is the one that was seen."""
    member = view.members.get(name)
    if member is None:  # it has no document; from now on it has one that ends the term it may have begun
        return Put(Instance(name, name, term=_NO_TERM, beat=0, every=0.0, deposed=True), None)
    return Put(replace(member.instance, deposed=True), member.version)
