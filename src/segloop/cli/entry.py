"""The way in: runs the command line and turns every error into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from segloop.cli.reports import DEBUG, InterruptedByUser, complain, describe

OK = 0
FAILED = 2
INTERRUPTED = 130
"""What shells use for a command ended by Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        0 when all went well, 2 after an error (one line on stderr says what), 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    if not debug:
        # Warnings of libraries are for developers; an error is to be the only line on stderr.
        warnings.simplefilter("ignore")
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        from segloop.cli.commands import app

        code = app([argument for argument in given if argument != DEBUG], "segloop", standalone_mode=False)
        sys.stdout.flush()
        return int(code or OK)
    except BrokenPipeError:
        # The reader, such as head, has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except BaseException as error:
        if debug:
            raise
        return _report(error)


def _report(error: BaseException) -> int:
    """Print one line about ``error`` on stderr, and return the exit code."""
    # Typer ends with classes of its own (click's in older versions), known by their names and methods.
    kind = type(error).__name__
    if isinstance(error, (KeyboardInterrupt, InterruptedByUser)) or kind == "Abort":
        complain("interrupted")
        return INTERRUPTED
    if isinstance(error, SystemExit) or kind == "Exit":
        code = getattr(error, "exit_code", getattr(error, "code", FAILED))
        return code if isinstance(code, int) else FAILED
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        if kind == "NoArgsIsHelpError" and context is not None:
            sys.stderr.write(context.get_help() + "\n")
        else:
            complain(f"{error.format_message()} (--help shows the usage)")
        return FAILED
    complain(describe(error))
    return FAILED
