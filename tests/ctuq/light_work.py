"""Work for worker processes that imports nothing of ctuq, so that they start in a fraction of a second."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def echo(value: Any) -> Iterator[Any]:
    yield value
    yield os.getpid()


def crash(value: Any) -> Iterator[Any]:
    yield value
    print("out of luck", file=sys.stderr, flush=True)  # noqa: T201
    os.abort()


def raise_error(value: Any) -> Iterator[Any]:
    yield from ()
    raise ValueError(value)


def hang(value: Any) -> Iterator[Any]:
    yield value
    Path(value).write_text(str(os.getpid()))
    time.sleep(600)


def threads_of(value: Any) -> Iterator[Any]:
    yield os.environ["OMP_NUM_THREADS"]


def steady(value: Any) -> Iterator[Any]:
    for number in range(value):
        time.sleep(0.3)
        yield number


def stuck(value: Any) -> Iterator[Any]:
    yield from range(value)
    time.sleep(600)
