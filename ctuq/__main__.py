"""The command line's entry: `ctuq`, or `python -m ctuq`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as typed after `ctuq`; None: those of the process.

    Returns:
        0 all well, 1 something failed (and was named), 2 the request was wrong, 3 interrupted.
    """
    # A batch system's request to stop is an interruption too: no half file is left.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        import torch  # noqa: PLC0415  takes seconds, during which Ctrl-C should be well-behaved

        from ctuq.commands import app  # noqa: PLC0415  likewise
        from ctuq.memory_reuse import keep_freed_memory  # noqa: PLC0415  likewise

        keep_freed_memory()
        # A saturated sigmoid's gradients underflow, and processors take many times longer over such numbers.
        torch.set_flush_denormal(True)
        try:
            app(args=None if arguments is None else list(arguments), prog_name="ctuq")
        finally:
            torch.set_flush_denormal(False)  # who called this from Python has numbers of their own
    except KeyboardInterrupt:
        print("ctuq: interrupted: nothing was written", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a signal handler
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
