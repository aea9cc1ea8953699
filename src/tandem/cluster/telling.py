"""What is told of leases that come and go."""

from __future__ import annotations

from functools import partial

from tandem.cluster.part import Self
from tandem.model.cluster import Instance, Lease
from tandem.model.event import EventType, Publish
from tandem.model.ids import AccountId


def acquired(publish: Publish, lease: Lease, me: Self, last: Instance | None) -> None:
    """This instance runs an account now, that ``last`` ran before."""
    tell = partial(publish, account=lease.account, generation=lease.generation, reason=lease.reason)
    tell(EventType.LEASE_ACQUIRED, f"this instance runs the account now: {lease.reason}", region=me.region)
    if last is not None and last.region != me.region:
        sentence = f"switched to region {me.region}: {lease.reason}"
        tell(EventType.SWITCHED_REGION, sentence, from_region=last.region, to_region=me.region)


def lost(publish: Publish, account: AccountId, generation: int, reason: str, taker: Instance | None) -> None:
    """This instance does not run an account any more; ``taker`` is to, if it was handed to anybody."""
    publish(
        EventType.LEASE_LOST,
        f"this instance does not run the account any more: {reason}",
        account=account,
        generation=generation,
        reason=reason,
        to=taker.name if taker else "",
    )
