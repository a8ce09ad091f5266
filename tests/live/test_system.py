"""Policies on real engines: what a user counts on when traces, judge and cancels are real."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from actors.deploy.app_names import generator_app_name
from actors.encoder_config import EncoderSettings
from actors.judges.prefix_encoder import SavedEncoder
from deepprune.config import EncoderJudgeConfig, FeatureJudgeConfig
from deepprune.feature_judge import learn, sampled
from deepprune.ledger import Fate
from deepprune.policy_config import ConsConfig, PlusConfig
from deepprune.statistics import sigmoid
from tests.support.engines import num_unfinished
from tests.support.judge_training import made_pairs, train_encoder
from tests.support.waiting import HANG_S, wait_for
from training.config import TrainConfig
from training.offline.scoring import open_judge
from training.pairs.data import PairSet, Prefix

pytestmark = pytest.mark.live

CPU = torch.device("cpu")


def assert_adds_up(solved) -> None:
    outcome = solved.outcome
    samples = Counter(end.sample for end in outcome.ends)
    assert set(samples) == set(solved.traces), "every launched trace ends"
    assert set(samples.values()) == {1}, "and ends once"
    assert outcome.ledger.generated_tokens == sum(end.num_tokens for end in outcome.ends)
    assert outcome.ledger.launched_traces == len(solved.traces)
    for end in outcome.ends:
        assert end.num_tokens == solved.traces[end.sample].num_tokens


def test_self_consistency_finishes_every_trace(live_system, problems):
    for solved in live_system.solve(problems, ConsConfig(num_traces=32)):
        assert_adds_up(solved)
        assert solved.outcome.complete
        assert solved.outcome.ledger.finished_traces == 32
        votes = sum(len(samples) for _, samples in solved.outcome.decision.votes)
        assert votes == sum(trace.answer is not None for trace in solved.traces.values())


def test_deepprune_pauses_at_the_checkpoint_and_spends_less(live_system, problems):
    baseline = live_system.solve(problems, ConsConfig(num_traces=32))
    pruned = live_system.solve(problems, live_system.config.policy)
    checkpoint = int(live_system.config.policy.checkpoint.removeprefix("tokens:"))
    for solved in pruned:
        assert_adds_up(solved)
        assert solved.outcome.complete
        assert solved.outcome.ledger.judge_pairs > 0
        assert solved.outcome.ledger.judge_computed_tokens > 0
        for end in solved.outcome.ends:
            if end.fate is Fate.CANCELLED_AFTER_CHECKPOINT and end.reason != "decided":
                assert end.num_tokens == checkpoint, "a paused trace costs its prefix, no more"
    spent = sum(solved.outcome.ledger.generated_tokens for solved in pruned)
    assert spent < sum(solved.outcome.ledger.generated_tokens for solved in baseline)


def test_the_served_judge_says_what_its_weights_say(live_system, problems):
    """The engine's P(same), by a prefix cache, beside that of the same model by itself."""
    (solved,) = live_system.solve(problems[:1], live_system.config.policy)
    samples = sorted({sample for pair in solved.scores for sample in pair})
    place = {sample: i for i, sample in enumerate(samples)}
    prefixes = [
        Prefix("b", "p", "m", s, solved.outcome.problem.text, solved.traces[s].prefix, False)
        for s in samples
    ]
    # The judge reads the new prefix first, then the member that it is compared with.
    shown = [(place[second], place[first]) for first, second in solved.scores]
    first, second = np.array(shown).T
    unknown = np.zeros(len(shown), dtype=np.bool_)
    pairs = PairSet(prefixes, first, second, unknown, np.ones(len(shown), dtype=np.int64))
    again = sigmoid(open_judge("miniature/judge", pairs, None).score(pairs, lambda count: None))
    np.testing.assert_allclose(again, list(solved.scores.values()), atol=0.03)


def test_a_resumed_trace_is_one_text(live_system, problems):
    from actors.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(live_system.config.generator.engine.model)
    (solved,) = live_system.solve(problems[:1], live_system.config.policy)
    finished = [end.sample for end in solved.outcome.ends if end.fate is Fate.FINISHED]
    assert finished
    for sample in finished:
        trace = solved.traces[sample]
        assert tokenizer.decode(list(trace.token_ids), skip_special_tokens=True) == trace.text
        assert len(trace.token_ids) == trace.num_tokens
        assert trace.text.startswith(trace.prefix)


def test_confidence_is_recorded_when_asked_for(live_system, problems):
    (solved,) = live_system.solve(problems[:1], ConsConfig(num_traces=4))
    window = live_system.config.generator.confidence_window
    for trace in solved.traces.values():
        # One when the window is full, then one every sixteenth of it, and one at the end.
        later = max(0, trace.num_tokens - window)
        assert len(trace.confidence) == 1 + -(-later // (window // 16))
        assert all(value > 0 for value in trace.confidence)


def test_a_decided_vote_leaves_nothing_in_the_engine(live_system, problems):
    policy = ConsConfig(num_traces=64, stop_when_decided=True)
    for solved in live_system.solve(problems, policy):
        assert_adds_up(solved)
    app = generator_app_name(live_system.config)
    assert app is not None
    wait_for(lambda: num_unfinished(app) == 0, every=0.2)  # cancelled traces left the engines


def test_traces_may_run_on_while_they_are_judged(live_system, problems):
    policy = live_system.config.policy.model_copy(
        update={"checkpoint": "reasoning_words:3", "at_checkpoint": "run"}
    )
    for solved in live_system.solve(problems[:2], policy):
        assert_adds_up(solved)
        assert solved.outcome.complete
        for trace in solved.traces.values():
            if trace.prefix_chars is not None:
                assert trace.prefix_chars <= len(trace.text)


def test_an_interrupted_problem_hands_over_its_vote_so_far(live_system, problems):
    import ray

    # So many that they last for minutes.
    refs = live_system.start(problems, ConsConfig(num_traces=1024), seed=1)
    wait_for(live_system.coordinator.watch)
    live_system.coordinator.interrupt("interrupted")
    try:
        results = ray.get(refs, timeout=HANG_S)
        assert not all(solved.outcome.complete for solved in results)
        for solved in results:
            assert_adds_up(solved)
    finally:
        live_system.coordinator.resume()


def learned_from(solved):
    """A feature judge from the prefixes of traces that finished, half of each."""
    samples = []
    for one in solved:
        traces = [trace for trace in one.traces.values() if trace.answer is not None]
        prefixes = [trace.text[: len(trace.text) // 2] for trace in traces]
        answers = np.array([trace.answer for trace in traces])
        first, second = np.triu_indices(len(traces), 1)
        same = answers[first] == answers[second]
        samples.append(sampled(one.outcome.problem.text, prefixes, first, second, same))
    return learn(samples)


def solved_with(judge, live_system, problems):
    """What problems come to when another judge scores for the same engines, with `deepprune+`."""
    import ray
    from ray import serve

    from actors.deploy.applications import judge_app
    from actors.deploy.preflight import check, with_calibration
    from actors.driver.coordinator import JUDGE
    from actors.driver.shards import Shards

    policy = PlusConfig(name="deepprune+", num_traces=32, checkpoint="tokens:54")
    run = live_system.config.model_copy(update={"judge": judge, "policy": policy})
    check(run, problems)
    run = with_calibration(run)
    serve.run(judge_app(judge, 60, JUDGE), name="another", route_prefix=None)
    shards = Shards.start(run, generator_app_name(run), "another")
    try:
        refs = [shards.solve(problem, run.policy, 0) for problem in problems]
        results = ray.get(refs, timeout=HANG_S)
    finally:
        shards.stop()
        serve.delete("another")
    assert sum(solved.outcome.ledger.judge_pairs for solved in results) > 0
    for solved in results:
        assert_adds_up(solved)
        assert solved.outcome.complete
    return run.policy, results


def test_a_feature_judge_prunes_and_reads_no_token(live_system, problems, tmp_path):
    judge = learned_from(live_system.solve(problems, ConsConfig(num_traces=16)))
    assert judge is not None, "the traces of some problem disagree"
    judge.save(tmp_path)
    config = FeatureJudgeConfig(kind="features", folder=str(tmp_path), cpus=0)
    policy, results = solved_with(config, live_system, problems)
    assert policy.base_rate == judge.calibration.base_rate
    for solved in results:
        ledger = solved.outcome.ledger
        assert ledger.judge_computed_tokens == ledger.judge_cached_tokens == 0
        for (first, second), score in solved.scores.items():
            one, other = solved.traces[first].prefix, solved.traces[second].prefix
            (again,) = judge.p_same(solved.outcome.problem.text, [one], other)
            assert score == pytest.approx(again)


def test_an_encoder_judge_reads_each_prefix_once(live_system, problems, tmp_path):
    config = TrainConfig(
        kind="encoder",
        model="miniature/reasoner",
        precision="fp32",
        learning_rate=3e-4,
        pairs_per_step=120,
        pairs_per_batch=120,
        epochs=4,
    )
    pairs = made_pairs(8, 6)
    train_encoder(config, pairs, pairs, tmp_path, "tokens:54")
    found = EncoderSettings.load(tmp_path)
    judge = EncoderJudgeConfig(kind="encoder", folder=str(tmp_path), cpus=0)
    policy, results = solved_with(judge, live_system, problems)
    assert policy.base_rate == found.base_rate
    encoder = SavedEncoder(tmp_path, CPU)
    for solved in results:
        problem, ledger = solved.outcome.problem.text, solved.outcome.ledger
        prefix = {sample: solved.traces[sample].prefix for pair in solved.scores for sample in pair}
        prompts = {text: encoder.token_ids(problem, text) for text in prefix.values()}
        assert ledger.judge_computed_tokens == sum(map(len, prompts.values()))
        texts = list(prompts)
        vectors = dict(zip(texts, encoder.encode(list(prompts.values())), strict=True))
        for (first, second), score in solved.scores.items():
            one, other = vectors[prefix[first]], vectors[prefix[second]]
            (again,) = sigmoid(encoder.log_odds(one[None], other[None]))
            assert score == pytest.approx(again, abs=1e-3)
