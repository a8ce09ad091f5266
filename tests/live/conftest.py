"""The endpoint that several modules ask: started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.serving import Endpoint, served


@pytest.fixture(scope="package")
def endpoint(tmp_path_factory) -> Iterator[Endpoint]:
    with served(tmp_path_factory.mktemp("serving")) as running:
        yield running
