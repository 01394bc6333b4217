"""Work whose import takes a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

time.sleep(1.0)


def echo(value: Any) -> Iterator[Any]:
    yield value
