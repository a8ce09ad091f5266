"""The endpoint that several modules ask: started once."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support.served_endpoint import Endpoint, served


@pytest.fixture(scope="package")
def endpoint(tmp_path_factory) -> Iterator[Endpoint]:
    with served(tmp_path_factory.mktemp("serving")) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    asked = item.funcargs.get("endpoint")
    if report.failed and asked is not None:
        report.sections.append(("The endpoint", asked.describe()))
    return report
