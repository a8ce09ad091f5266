"""Imports without packages that nobody uses."""

from __future__ import annotations

import gc
import sys

import pytest

from actors.replica import quick_imports


def test_packages_are_hidden_within_the_context_only(monkeypatch):
    monkeypatch.setattr(quick_imports, "UNUSED", ("colorsys", "sys"))
    monkeypatch.setattr(quick_imports, "DECIDES", "not imported")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with quick_imports.quick_imports():
        with pytest.raises(ImportError):
            import colorsys
        assert sys.modules["sys"] is sys, "what is loaded stays"
        assert not gc.isenabled()
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert gc.isenabled()


def test_nothing_is_hidden_from_one_that_has_seen_it(monkeypatch):
    monkeypatch.setattr(quick_imports, "UNUSED", ("colorsys",))
    monkeypatch.setattr(quick_imports, "DECIDES", "json")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with quick_imports.quick_imports():
        import colorsys

        assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
