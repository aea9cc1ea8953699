"""An account that is deleted in one region is deleted in all, devices unlinked; one that is added is known in all."""

from __future__ import annotations

import pytest

from integration.cluster.stage import Stage
from support.firestore_emulator import FirestoreEmulator

pytestmark = pytest.mark.timeout(120)


async def test_a_deleted_account_is_unlinked_in_every_region_and_can_be_added_again(
    firestore: FirestoreEmulator,
) -> None:
    async with Stage(firestore, {"primary": {}, "backup": {}}) as stage:
        [talk] = stage.talks
        primary, backup = stage.regions["primary"], stage.regions["backup"]
        await stage.run_by(talk, "primary", 10)
        await primary.tandem.call("DELETE", f"/api/whatsapp/account/{talk.account}")

        async def gone() -> bool:
            return not await backup.tandem.accounts() and not await primary.tandem.accounts()

        await stage.until(gone, 15, "both regions have forgotten the account")
        state = await stage.emulator.call("GET", "/control/transcript")
        removed = [each for each in state["stanzas"] if "remove-companion-device" in each["stanza"]]
        assert len([each for each in removed if each["direction"] == "in"]) == 4
        assert await primary.tandem.add_account("Shop", talk.number) == talk.account
        await stage.until(lambda: stage._knows(backup, talk), 15, "the other region knows it again")
        leases = (await primary.cluster())["leases"]
        assert [(each["account"], each["generation"]) for each in leases] == [(talk.account, 2)]
