"""The encoder judge's replica: every prefix read once, and billed once, whoever gives up."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from actors.judges.encoder import EncoderJudge
from actors.judges.replica import JudgeWork
from actors.messages import JudgeReply, JudgeRequest
from actors.models import encoder_judge
from deepprune.config import EncoderJudgeConfig
from deepprune.errors import UserError
from deepprune.statistics import sigmoid
from tests.support.judge_training import MODEL, made_pairs, train_encoder
from training.config import TrainConfig
from training.offline.scoring import open_judge

CONFIG = TrainConfig(
    kind="encoder", model=MODEL, max_tokens=64, learning_rate=3e-4,
    pairs_per_step=128, pairs_per_batch=128, precision="fp32",
)  # fmt: skip
MADE = made_pairs(2, 5)
TEXTS = tuple(f"{prefix.text} {prefix.sample}" for prefix in MADE.prefixes[:5])
ONE_PROBLEM = MADE[:10]
PAIRS = replace(ONE_PROBLEM, prefixes=[
    replace(prefix, text=text) for prefix, text in zip(MADE.prefixes, TEXTS, strict=False)
])  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "judge"
    train_encoder(CONFIG, MADE, MADE, folder, "tokens:9")
    return folder


@pytest.fixture
def replica(folder):
    """A replica that counts how often it has read each prompt."""
    replica = EncoderJudge(EncoderJudgeConfig(kind="encoder", folder=str(folder)), 60)
    encode, replica.read = replica._encoder.encode, Counter()

    def counted(prompts):
        replica.read.update(prompt.tobytes() for prompt in prompts)
        return encode(prompts)

    replica._encoder.encode = counted
    return replica


def request(second: int, firsts: range) -> JudgeRequest:
    texts = tuple(TEXTS[i] for i in firsts)
    return JudgeRequest(f"p/{second}", "What?", texts, TEXTS[second])


async def asked(replica, request: JudgeRequest) -> JudgeReply:
    return await replied(replica._open(request))


async def replied(work: JudgeWork) -> JudgeReply:
    ((reply, urgent),) = [item async for item in work.items()]
    assert urgent
    return reply


def num_tokens(replica, places) -> int:
    return sum(len(replica._encoder.token_ids("What?", TEXTS[i])) for i in places)


def test_it_says_what_an_evaluation_says_and_bills_each_prefix_once(replica, folder):
    async def all_pairs():
        calls = [asked(replica, request(second, range(second))) for second in range(1, 5)]
        return await asyncio.gather(*calls)

    replies = asyncio.run(all_pairs())
    again = sigmoid(open_judge(str(folder), MADE, None).score(PAIRS, lambda count: None))
    expected = {(i, j): p for i, j, p in zip(PAIRS.first, PAIRS.second, again, strict=True)}
    for place, reply in enumerate(replies, start=1):
        wanted = [expected[i, place] for i in range(place)]
        np.testing.assert_allclose(reply.p_same, wanted, atol=1e-4)
    assert set(replica.read.values()) == {1}
    assert sum(reply.computed_tokens for reply in replies) == num_tokens(replica, range(5))


def test_every_vote_bears_what_it_has_read(replica):
    async def two_votes():
        ours = request(1, range(1))
        return [await asked(replica, replace(ours, request_id=f"{vote}/1")) for vote in "pqp"]

    first, other, again = asyncio.run(two_votes())
    assert first.p_same == other.p_same == again.p_same
    assert first.computed_tokens == other.computed_tokens == num_tokens(replica, [0, 1])
    assert again.computed_tokens == 0


def test_a_call_that_is_given_up_before_its_turn_reads_nothing(replica):
    async def given_up():
        async with replica._turn:  # another batch is being read
            call = replica._open(request(1, range(1)))
            await asyncio.sleep(0.01)
            call.abort()
            bill = await replied(call)
        return bill, await asked(replica, request(3, range(2, 3)))

    bill, reply = asyncio.run(given_up())
    assert bill == JudgeReply((), 0, 0)
    assert reply.computed_tokens == num_tokens(replica, [2, 3])
    assert len(replica.read) == 2 and not replica._waiting


def test_a_call_that_is_given_up_leaves_what_others_wait_for(replica):
    async def given_up():
        async with replica._turn:
            leaves = replica._open(request(2, range(2)))
            stays = asyncio.create_task(asked(replica, request(1, range(1))))
            await asyncio.sleep(0.01)
            leaves.abort()
            bill = await replied(leaves)
        return bill, await stays

    bill, reply = asyncio.run(given_up())
    assert bill == JudgeReply((), 0, 0)
    assert len(reply.p_same) == 1
    assert reply.computed_tokens == num_tokens(replica, [0, 1])
    assert len(replica.read) == 2


def test_a_call_that_is_given_up_while_it_is_read_has_it_on_its_bill(replica):
    begun, encode = asyncio.Event(), replica._encoder.encode

    async def given_up():
        loop = asyncio.get_running_loop()

        def tells(prompts):
            loop.call_soon_threadsafe(begun.set)
            return encode(prompts)

        replica._encoder.encode = tells
        call = replica._open(request(1, range(1)))
        await begun.wait()
        call.abort()
        return await replied(call), await asked(replica, request(1, range(1)))

    bill, reply = asyncio.run(given_up())
    assert bill == JudgeReply((), num_tokens(replica, [0, 1]), 0)
    assert reply.computed_tokens == 0
    assert set(replica.read.values()) == {1}


def test_the_vectors_unused_for_longest_are_forgotten(replica, monkeypatch):
    monkeypatch.setattr("actors.judges.encoder.MAX_KEPT", 2)

    async def in_turn():
        for pair in ((0, 1), (2, 3), (0, 1)):
            await asked(replica, request(pair[1], range(pair[0], pair[0] + 1)))

    asyncio.run(in_turn())
    assert sorted(replica.read.values()) == [1, 1, 2, 2]
    assert len(replica._known) == 2


def test_a_folder_that_is_not_whole_is_refused_before_anything_starts(folder, tmp_path):
    assert encoder_judge(EncoderJudgeConfig(kind="encoder", folder=str(folder))).tau is not None
    with pytest.raises(UserError, match=r"no config\.json in"):
        encoder_judge(EncoderJudgeConfig(kind="encoder", folder=str(tmp_path)))
