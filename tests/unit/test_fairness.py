"""Who gets the next slot, and that none is lost, whatever is cancelled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.serving.fairness import FairGate


async def test_the_owner_with_the_fewest_slots_gets_the_next_one():
    gate, order, free = FairGate(2), [], asyncio.Event()

    async def hold(owner: str) -> None:
        async with gate.slot(owner):
            order.append(owner)
            await free.wait()

    busy = [asyncio.create_task(hold("busy")) for _ in range(6)]
    await asyncio.sleep(0)
    newcomer = [asyncio.create_task(hold("new")) for _ in range(2)]
    await asyncio.sleep(0)
    assert order == ["busy", "busy"]
    free.set()
    await asyncio.gather(*busy, *newcomer)
    assert order[2] == "new"


@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 9))
def test_owners_that_have_enough_to_do_take_turns(num_slots: int, num_owners: int, seed: int):
    served: Counter[str] = Counter()

    async def main() -> None:
        gate, rng = FairGate(num_slots), random.Random(seed)

        async def work(owner: str) -> None:
            async with gate.slot(owner):
                served[owner] += 1
                assert max(served.values()) - min(served.values()) <= num_slots + 1
                await asyncio.sleep(0)

        owners = [str(i) for i in range(num_owners) for _ in range(10)]
        rng.shuffle(owners)
        served.update(dict.fromkeys(owners, 0))
        await asyncio.gather(*(work(owner) for owner in owners))

    asyncio.run(main())
    assert set(served.values()) == {10}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.integers(0, 9))
def test_no_slot_is_lost_whatever_is_cancelled(plan, seed):
    async def main() -> None:
        gate, rng = FairGate(3), random.Random(seed)

        async def work(owner: str) -> None:
            async with gate.slot(owner):
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(work(owner)) for owner, _ in plan]
        for task, (_, cancelled) in zip(tasks, plan, strict=True):
            for _ in range(rng.randint(0, 2)):
                await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate._num_free == 3
        assert not gate._waiting and not gate._held

    asyncio.run(main())
