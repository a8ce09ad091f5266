"""When an engine counts as hung."""

from __future__ import annotations

from actors.replica import stall_detector
from actors.replica.stall_detector import StallDetector


def test_an_engine_hangs_when_it_has_work_and_says_nothing(monkeypatch):
    now = 0.0
    monkeypatch.setattr(stall_detector.time, "monotonic", lambda: now)
    watch = StallDetector(stall_s=10)
    now = 100
    assert not watch.stalled, "it has nothing to say"
    with watch.request():
        now = 109
        assert not watch.stalled
        with watch.request():
            now = 111
            assert watch.stalled, "another request is no sign of life"
            watch.record_output()
            assert not watch.stalled
        now = 122
        assert watch.stalled
    assert not watch.stalled
