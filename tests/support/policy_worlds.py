"""Traces, judges and settings that policies are tried on."""

from __future__ import annotations

from random import Random

from hypothesis import settings
from hypothesis import strategies as st

from deepprune.policy_config import DeepPruneConfig
from tests.support.memory_driver import PSame, SimulatedTrace

SEEDS = st.integers(0, 2**32)
untimed = settings(deadline=None)


def traces(*answers: str | None) -> list[SimulatedTrace]:
    return [SimulatedTrace(answer) for answer in answers]


def perfect(plans: list[SimulatedTrace]) -> PSame:
    """A judge that knows the answers."""
    return lambda a, b: 0.999 if plans[a].answer == plans[b].answer else 0.001


def noisy(seed: int) -> PSame:
    """A judge whose verdict on a pair is random, but always the same."""
    return lambda a, b: Random(f"{seed}/{min(a, b)}/{max(a, b)}").random()


def majority(answers: dict[int, str | None]) -> str | None:
    """The plain majority; a tie goes to the answer of the earliest sample."""
    given = [answers[sample] for sample in sorted(answers) if answers[sample] is not None]
    return max(given, key=given.count, default=None)


def everything_allowed(num_traces: int, **settings: object) -> DeepPruneConfig:
    """Settings under which chance has no part in who is compared and who finishes."""
    return DeepPruneConfig(
        num_traces=num_traces,
        **{
            "tau": 0.5,
            "max_members": num_traces,
            "singletons_finish": num_traces,
            **settings,
        },
    )


@st.composite
def worlds(draw: st.DrawFn, *, all_answer: bool = False, longest: int = 14) -> list[SimulatedTrace]:
    """Traces of one problem: long and short ones, with answers and without, some of them doomed."""
    num_traces = draw(st.integers(1, 40))
    num_answers = draw(st.integers(1, 5))
    random = Random(draw(SEEDS))
    if all_answer:
        no_answer = failing = 0.0
    else:
        no_answer, failing = draw(st.sampled_from([(0, 0), (0.2, 0), (0, 0.2), (0.3, 0.3), (1, 0)]))
    return [
        SimulatedTrace(
            answer=None if random.random() < no_answer else str(random.randrange(num_answers)),
            num_tokens=random.randint(5 if all_answer else 1, longest),
            checkpoint=4,
            fails_at=random.randint(1, longest) if random.random() < failing else None,
        )
        for _ in range(num_traces)
    ]


@st.composite
def deepprune_settings(draw: st.DrawFn) -> dict[str, object]:
    return {
        "tau": draw(st.sampled_from([0.1, 0.5, 0.9])),
        "max_clusters": draw(st.integers(1, 16)),
        "max_members": draw(st.integers(1, 20)),
        "max_finish": draw(st.integers(1, 20)),
        "singletons_finish": draw(st.integers(1, 32)),
        "wave": draw(st.none() | st.integers(1, 40)),
        "at_checkpoint": draw(st.sampled_from(["pause", "run"])),
        "stop_when_decided": draw(st.booleans()),
    }


@st.composite
def judges(draw: st.DrawFn, plans: list[SimulatedTrace]) -> PSame:
    noise = noisy(draw(SEEDS))
    right = perfect(plans)
    fixed = {
        "perfect": right,
        "noisy": noise,
        "blurred": lambda a, b: 0.6 * right(a, b) + 0.4 * noise(a, b),
    }
    kind = draw(st.sampled_from([*fixed, "all same", "none same"]))
    return fixed.get(kind, lambda a, b: float(kind == "all same"))
