"""P(the full vote agrees), which each answer of the endpoint comes with."""

from __future__ import annotations

from deepprune.certificate import p_full_vote
from deepprune.policies import make_policy
from deepprune.policy_config import ConsConfig, PlusConfig
from tests.support.memory_driver import Driver
from tests.unit.test_policies import traces


def certificate(config: ConsConfig | PlusConfig, *answers: str | None) -> float | None:
    driver = Driver(make_policy(config, 0), traces(*answers), in_order=True)
    return p_full_vote(driver.run(), config)


def test_it_is_certain_once_all_traces_have_voted():
    assert certificate(ConsConfig(num_traces=5), "7", "7", "3", None, "7") == 1.0


def test_it_is_what_the_policy_believes_where_it_stops_early():
    loose = PlusConfig(name="deepprune+", num_traces=64, trust=0, risk=0.2)
    strict = PlusConfig(name="deepprune+", num_traces=64, trust=0, risk=0.01)
    early, late = certificate(loose, *["7"] * 64), certificate(strict, *["7"] * 64)
    assert early is not None and late is not None
    assert 1 - 2 * loose.risk <= early < late <= 1.0


def test_there_is_none_before_the_first_vote():
    assert certificate(ConsConfig(num_traces=2), None, None) is None
