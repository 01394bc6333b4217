"""How a command ends: exceptions become a message and an exit code (1 failed, 2 wrong request, 3 interrupted)."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ctuq.errors import CtuqError
from ctuq.events import Events, JsonEvents, TerminalEvents

FAILED = 1
INTERRUPTED = 3


@contextmanager
def outcome(*, as_json: bool, debug: bool) -> Iterator[Events]:
    """Lend a command the events it reports to, and end it with the right exit code.

    Args:
        as_json: JSON lines instead of words and bars.
        debug: print the traceback before the message.

    Yields:
        Where to report to.

    Raises:
        typer.Exit: the command did not end well; carries the exit code.
    """
    events: Events = JsonEvents() if as_json else TerminalEvents()
    try:
        yield events
    except typer.Exit:
        raise
    except KeyboardInterrupt as error:
        done = f"whole on disk: {', '.join(map(str, events.written))}" if events.written else "nothing was written"
        # A folder of what is finished is gone on from; files would be in the way.
        again = "goes on from there" if events.written else "starts again"
        if any(path.is_file() for path in events.written):
            again = "with --force starts again"
        message = f"interrupted: {done}; the same command {again}"
        raise _ended(events, message, INTERRUPTED, debug=debug) from error
    except CtuqError as error:
        raise _ended(events, str(error), error.exit_code, debug=debug) from error
    except MemoryError as error:
        message = "out of memory; try a smaller image: --set grid.size=128"
        raise _ended(events, message, FAILED, debug=debug) from error
    except Exception as error:  # whatever it is, the user gets a message and a script gets a code
        hint = "" if debug else "; --debug shows where"
        raise _ended(events, f"{type(error).__name__}: {error}{hint}", FAILED, debug=debug) from error
    finally:
        events.close()


def _ended(events: Events, message: str, exit_code: int, *, debug: bool) -> typer.Exit:
    if debug:
        traceback.print_exc()
    events.failed(message, exit_code)
    return typer.Exit(exit_code)
