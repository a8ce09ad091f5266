"""Loading without the garbage collector: what is loaded stays, and is looked through in vain."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Collect nothing within it, and never look again at what is there at its end.

    For the imports of a large library, which take a quarter less time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
