"""Somebody gets other work: the roles change at once, in the town and on the devices."""

from __future__ import annotations

from tests.support.staff_world import StaffWorld


async def test_somebody_gets_other_roles_and_loses_those_that_are_not_named(staff: StaffWorld) -> None:
    browser, user = await staff.browser(), staff.here.users["driver"]

    answer = await browser.call("PUT", f"users/{user}/roles", {"roles": ["dispatcher", "warehouse_staff"]})
    none = await browser.call("PUT", f"users/{user}/roles", {"roles": []})

    assert (answer.status_code, none.status_code) == (200, 400)
    shown = (await browser.get(f"users/{user}")).json()
    assert (shown["roles"], shown["former_roles"]) == (["dispatcher", "warehouse_staff"], ["driver"])
    async with staff.world.parts.towns.reading(staff.here.id) as reader:
        device = await reader.device(staff.here.device)
    assert device is not None
    assert not any(bucket.startswith("driver:") for bucket in device.buckets)
