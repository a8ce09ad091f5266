"""Engine slots between requests: nobody starves, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import TraceRequest, TraceUpdate
from actors.serving import capacity_shares
from actors.serving.capacity_shares import CapacityShares, share_by_need
from actors.serving.fairness import FairGate, FairGenerators, FairShare, owner_of
from deepprune.config import SamplingConfig

OWNERS = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "release", "withdraw", "grant"]), OWNERS), max_size=200
)


@given(STEPS, st.integers(1, 8), st.integers(0, 3))
def test_whoever_waits_holds_no_less_than_who_was_served_before_him(steps, num_slots, reserved):
    share: FairShare[int] = FairShare(num_slots, reserved)
    held: Counter[str] = Counter()
    waiting: dict[str, list[int]] = {}
    for number, (step, owner) in enumerate(steps):
        if step == "ask":
            share.enqueue(owner, number)
            waiting.setdefault(owner, []).append(number)
        elif step == "release" and held[owner]:
            share.release(owner)
            held[owner] -= 1
        elif step == "withdraw" and waiting.get(owner):
            share.withdraw(owner, waiting[owner].pop())
        elif step == "grant":
            granted = share.grant()
            who_waits = [name for name, tickets in waiting.items() if tickets]
            if granted is None:
                free = num_slots - held.total()
                assert not who_waits or free <= reserved
                continue
            name, ticket = granted
            assert ticket == waiting[name].pop(0), "in the order they were asked for"
            assert all(held[name] <= held[other] for other in who_waits)
            held[name] += 1
        assert share.num_held == held.total() <= num_slots
        assert share.num_waiting == sum(map(len, waiting.values()))


@given(st.integers(1, 64), st.integers(2, 5))
def test_requests_that_have_enough_to_do_hold_equal_numbers(num_slots, num_owners):
    share: FairShare[None] = FairShare(num_slots)
    held: Counter[str] = Counter()
    for owner in map(str, range(num_owners)):
        for _ in range(num_slots):
            share.enqueue(owner, None)
    while (granted := share.grant()) is not None:
        held[granted[0]] += 1
    assert held.total() == num_slots
    assert max(held.values()) - min(held[str(i)] for i in range(num_owners)) <= 1


def test_a_newcomer_finds_slots_that_a_large_request_may_not_take():
    share: FairShare[int] = FairShare(32, num_reserved=2)
    for ticket in range(512):
        share.enqueue("large", ticket)
    while share.grant() is not None:
        pass
    assert share.num_held == 30
    for ticket in range(4):
        share.enqueue("small", ticket)
    assert [share.grant(), share.grant(), share.grant()] == [("small", 0), ("small", 1), None]
    share.release("large")
    assert share.grant() == ("small", 2), "and is served first when one is given back"


async def test_coroutines_that_are_cancelled_give_their_slots_back():
    gate = FairGate(2)
    held = asyncio.Event()

    async def hold(owner: str) -> None:
        async with gate.slot(owner):
            held.set()
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(hold("a")) for _ in range(5)]
    await held.wait()
    assert (gate.share.num_held, gate.share.num_waiting) == (2, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (gate.share.num_held, gate.share.num_waiting) == (0, 0)
    async with asyncio.timeout(1), gate.slot("b"), gate.slot("b"):
        assert gate.share.num_held == 2
    assert gate.take_waited_s("a") >= 0.0 and not gate._waited_s.get("a")


@given(st.lists(st.tuples(OWNERS, st.integers(0, 3), st.booleans()), max_size=20))
def test_whatever_is_cancelled_when_everything_comes_to_rest(plan):
    async def play() -> None:
        gate = FairGate(2)

        async def work(owner: str, turns: int) -> None:
            async with gate.slot(owner):
                for _ in range(turns):
                    await asyncio.sleep(0)

        tasks = []
        for owner, turns, cancel in plan:
            tasks.append(asyncio.create_task(work(owner, turns)))
            await asyncio.sleep(0)
            if cancel:
                tasks[len(tasks) // 2].cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert (gate.share.num_held, gate.share.num_waiting) == (0, 0)

    asyncio.run(play())


class Endless:
    """Traces that never end, and are counted."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()

    async def stream(self, request: TraceRequest):
        owner = owner_of(request.request_id)
        self.running[owner] += 1
        try:
            while True:
                yield TraceUpdate("", (), 1)
                await asyncio.sleep(0)
        finally:
            self.running[owner] -= 1


async def test_a_small_request_runs_beside_one_with_hundreds_of_traces():
    engines = Endless()
    generators = FairGenerators(engines, FairGate(64))

    async def follow(name: str) -> None:
        request = TraceRequest(name, "?", SamplingConfig(), seed=0)
        async for _ in generators.stream(request):
            pass

    large = [asyncio.create_task(follow(f"large/{i}/0")) for i in range(512)]
    await asyncio.sleep(0.05)
    small = [asyncio.create_task(follow(f"small/{i}/0")) for i in range(4)]
    await asyncio.sleep(0.05)
    assert engines.running == {"large": 60, "small": 4}
    for task in [*large, *small]:
        task.cancel()
    await asyncio.wait([*large, *small])
    assert engines.running.total() == 0


def test_the_owner_of_a_trace_is_its_request():
    assert owner_of("abc/7/0-0") == owner_of("abc/8/judge-3") == "abc"


@pytest.mark.parametrize(("slots", "reserved"), [(0, 0), (15, 0), (16, 1), (128, 8)])
def test_a_sixteenth_is_kept(slots, reserved):
    assert FairGate(slots).share.num_reserved == reserved


NEEDS = st.lists(st.integers(0, 300), min_size=1, max_size=6)


@given(st.integers(0, 400), NEEDS)
def test_replicas_of_the_ingress_share_slots_by_need(total, needs):
    shares = [share_by_need(total, n, needs[:i] + needs[i + 1 :]) for i, n in enumerate(needs)]
    floor = max(1, total // (4 * len(needs)))
    above = [share for share in shares if share > floor]
    assert sum(above) <= total
    assert min(shares) >= floor
    # None has more than it needs while another lacks, but for the floor and what does not divide.
    if any(share < need for share, need in zip(shares, needs, strict=True)):
        assert all(share <= max(need, floor) for share, need in zip(shares, needs, strict=True))
        assert sum(shares) > total - len(needs)
    assert share_by_need(total, 10_000, [0] * len(needs)) >= total - len(needs)


async def test_the_census_forgets_an_ingress_that_is_gone(monkeypatch):
    counted = CapacityShares()
    assert await counted.report("a", {"m": 3}) == {"m": []}
    assert await counted.report("b", {"m": 5}) == {"m": [3]}
    monkeypatch.setattr(capacity_shares, "FORGET_S", 0.0)
    assert await counted.report("a", {"m": 4}) == {"m": []}
