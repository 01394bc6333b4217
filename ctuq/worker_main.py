"""What runs in a worker process: calls come in through a pipe, items and the end of each call go out.

This file is run by its path and imports nothing of ctuq, so that a worker costs what its work needs and no more.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any


def serve(pipe: Connection[Any, Any]) -> None:
    """Answer calls until the other end closes.

    A call is (work, argument); the answers are ("begun", None) when what it needs is imported, ("item", value) for
    everything that work(argument) yields, then ("end", None), or ("failed", (short, traceback)).
    """
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, calls), daemon=True).start()
    pipe.send(("ready", None))
    while True:
        work, argument = calls.get()
        pipe.send(("begun", None))
        try:
            for item in work(argument):
                pipe.send(("item", item))
        except Exception as error:  # noqa: BLE001  it belongs to whoever called
            pipe.send(("failed", (f"{type(error).__name__}: {error}", traceback.format_exc())))
        else:
            pipe.send(("end", None))


def _listen(pipe: Connection[Any, Any], calls: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            calls.put(pipe.recv())
    except (EOFError, OSError):
        os._exit(0)  # whoever started this process is gone, and nobody else waits for its work
    except BaseException:  # noqa: BLE001  a call that cannot be unpickled
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    serve(Connection(int(sys.argv[1])))
