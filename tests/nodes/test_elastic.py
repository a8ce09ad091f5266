"""Ray's autoscaler, told by Serve, told by the traces that wait."""

from __future__ import annotations

import pytest

from tests.support.nodes import autoscaling
from tests.support.nodes.hosts import why_not

pytestmark = pytest.mark.faults


def test_waiting_traces_bring_up_a_node_and_idleness_takes_it_down(one_system):
    if reason := why_not():
        pytest.skip(reason)
    one_system.close()
    moments = autoscaling.run(max_replicas=2, num_problems=24, idle_s=60).moments
    assert moments[0].nodes == 0
    assert max(moment.nodes for moment in moments) == 1
    assert any(moment.replicas == 2 and moment.traces for moment in moments), "it is put to work"
    assert (moments[-1].nodes, moments[-1].replicas) == (0, 1)
