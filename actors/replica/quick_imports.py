"""Import vLLM or transformers in less time."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("pandas", "scipy", "sklearn")
"""Packages that both import if they are installed, for audio, vision and assisted generation."""
DECIDES = "transformers"
"""Looks once, when it is imported, whether these packages are installed."""


@contextmanager
def quick_imports() -> Iterator[None]:
    """Within the context, hide `UNUSED` packages and collect no garbage.

    Collecting takes a quarter of such an import, `UNUSED` packages a fifth. What exists at the end
    of the context is exempt from collection. Where `DECIDES` is imported already, it has seen the
    packages and may import them later: hide none.
    """
    hidden = [name for name in UNUSED if name not in sys.modules and DECIDES not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not importable
    gc.disable()
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        gc.enable()
