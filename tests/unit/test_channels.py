"""Channels over real sockets, with replicas in this process: what the cluster may do to them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from actors.channels import client, pool
from actors.channels.pool import ReplicaPool
from actors.messages import EngineGone, PromptTooLong, RequestRefused
from tests.support.channel_replicas import STALL_S, Ask, Handle, Replica, connected, result, until


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setattr("actors.channels.server.replica_name", lambda: "unnamed")


async def test_requests_share_the_replicas_evenly():
    one, two = Replica("one"), Replica("two")
    async with connected(one, two) as made:
        made.start()
        await until(lambda: made.num_replicas == 2)
        asks = [Ask(f"r{i}") for i in range(8)]
        assert await asyncio.gather(*(result(made, ask) for ask in asks)) == [("done", 3)] * 8
    assert len(one.asked) == len(two.asked) == 4


async def test_a_resumed_trace_goes_to_the_replica_that_holds_its_prefix():
    one, two = Replica("one"), Replica("two")
    async with connected(one, two) as made:
        made.start()
        await until(lambda: made.num_replicas == 2)
        for i in range(4):
            await result(made, Ask(f"r{i}", replica="two"))
    assert (len(one.asked), len(two.asked)) == (0, 4)


async def test_an_aborted_request_ends_with_its_exact_count():
    replica = Replica("one")
    async with connected(replica) as made:
        running = asyncio.create_task(result(made, Ask("long", num_tokens=10**9)))
        await until(lambda: made.abort("unknown") == 0 and bool(replica.asked))
        await asyncio.sleep(0.2)
        work = next(iter(next(iter(replica.server._channels))._work.values()))
        heard = made.abort("long")
        verdict, num_tokens = await running
        assert verdict == "aborted"
        assert 0 < heard <= num_tokens == work.num_tokens


async def test_what_waits_for_a_replica_is_aborted_without_one():
    made = ReplicaPool(Handle(), STALL_S)
    made._handle.replicas.append(busy := Replica("one", capacity=1, tick_s=0.01))
    async with connected(busy):
        running = [asyncio.create_task(result(made, Ask(f"r{i}", 10**9))) for i in range(3)]
        await until(lambda: len(busy.asked) == pool.OVERCOMMIT)
        assert made.num_waiting == 1
        waits = next(i for i in range(3) if f"r{i}" not in {ask.request_id for ask in busy.asked})
        assert made.abort(f"r{waits}") == 0
        assert await running[waits] is None
        for i in range(3):
            made.abort(f"r{i}")
        await asyncio.gather(*running)
        await made.close()


async def test_the_least_number_is_served_first():
    replica = Replica("one", capacity=1, tick_s=0.005)
    async with connected(replica) as made:
        asks = [Ask(f"r{i}", priority=-i) for i in range(6)]
        await asyncio.gather(*(result(made, ask) for ask in asks))
    assert [ask.request_id for ask in replica.asked] == ["r5", "r4", "r3", "r2", "r1", "r0"]


async def test_a_replica_that_dies_is_gone_for_all_its_requests_and_the_next_one_serves():
    one, two = Replica("one", tick_s=0.01), Replica("two")
    handle = Handle(one)
    made = ReplicaPool(handle, STALL_S)
    running = [asyncio.create_task(result(made, Ask(f"r{i}", 10**9))) for i in range(3)]
    await until(lambda: len(one.asked) == 3)
    handle.replicas = [two]
    await one.server.close()
    for task in running:
        with pytest.raises(EngineGone, match="replica lost"):
            await task
    assert await result(made, Ask("again")) == ("done", 3)
    await made.close()
    await two.server.close()


async def test_the_requests_of_a_driver_that_dies_end_in_the_middle():
    replica = Replica("one", tick_s=0.01)
    async with connected(replica) as made:
        running = asyncio.create_task(result(made, Ask("long", num_tokens=10**9)))
        await until(lambda: replica.server.num_open == 1)
        await asyncio.sleep(0.1)
        (channel,) = made._channels.values()
        channel._writer.transport.abort()  # as the kernel does when the process is killed
        await until(lambda: replica.server.num_open == 0)
        with pytest.raises(EngineGone):
            await running


async def test_closing_a_stream_ends_its_work():
    replica = Replica("one")
    async with connected(replica) as made:
        async with aclosing(made.stream(Ask("long", num_tokens=10**9))) as items:
            reading = asyncio.ensure_future(anext(items))
            await until(lambda: replica.server.num_open == 1)
            reading.cancel()
            await asyncio.wait([reading])
        await until(lambda: replica.server.num_open == 0)


async def test_a_draining_replica_ends_what_it_has_and_takes_no_more():
    one, two = Replica("one", tick_s=0.01), Replica("two")
    async with connected(one, two) as made:
        made.start()
        await until(lambda: made.num_replicas == 2)
        running = asyncio.create_task(result(made, Ask("r0", 20, replica="one")))
        await until(lambda: bool(one.asked))
        draining = asyncio.create_task(one.server.drain())
        await until(lambda: made.num_replicas == 1)
        for i in range(1, 4):
            await result(made, Ask(f"r{i}", replica="one"))
        assert await running == ("done", 20)
        await draining
    assert (len(one.asked), len(two.asked)) == (1, 3)


async def test_an_aborted_request_does_not_wait_for_a_silent_replica(monkeypatch):
    monkeypatch.setattr(client, "SILENT_S", 0.2)
    replica = Replica("one")
    async with connected(replica) as made:
        running = asyncio.create_task(result(made, Ask("long", num_tokens=10**9)))
        await until(lambda: bool(replica.asked))
        (channel,) = replica.server._channels
        channel._writer.transport.pause_reading()
        monkeypatch.setattr("actors.channels.server.write_frame", lambda *_: None)
        made.abort("long")
        with pytest.raises(EngineGone, match="nothing received for"):
            await running


@pytest.mark.parametrize("error", [PromptTooLong("too long"), RequestRefused("no such model")])
async def test_a_refusal_reaches_the_driver_as_it_is(error):
    async with connected(Replica("one")) as made:
        with pytest.raises(type(error), match=str(error)):
            await result(made, Ask("r", error=error))


async def test_a_defect_under_one_request_leaves_the_others_alone():
    async with connected(Replica("one")) as made:
        fine = asyncio.create_task(result(made, Ask("fine", 50)))
        with pytest.raises(RequestRefused, match="ZeroDivisionError"):
            await result(made, Ask("r", error=ZeroDivisionError()))
        assert await fine == ("done", 50)


async def test_without_a_deployment_requests_fail_instead_of_waiting_for_ever():
    made = ReplicaPool(Handle(), STALL_S)
    with pytest.raises(EngineGone, match="no replica"):
        await result(made, Ask("r"))
    await made.close()


async def test_a_defect_of_the_discovery_is_not_hidden(monkeypatch):
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    made = ReplicaPool(Handle(Replica("one")), STALL_S)
    monkeypatch.setattr(made, "_discover", broken)
    with pytest.raises(ZeroDivisionError):
        await result(made, Ask("r"))
    await made.close()
