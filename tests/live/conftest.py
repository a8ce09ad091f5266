"""Endpoints on the live system; each serves several modules."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.support.served_endpoint import Endpoint, scaled, two_models


@pytest.fixture
def endpoint(live_system) -> Endpoint:
    found: Endpoint = live_system.endpoints(two_models, live_system)
    return found


@pytest.fixture
def scaled_endpoint(live_system) -> Endpoint:
    found: Endpoint = live_system.endpoints(scaled, live_system)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    asked = item.funcargs.get("endpoint")
    if report.failed and asked is not None:
        report.sections.append(("The endpoint", asked.describe()))
    return report
