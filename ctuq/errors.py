"""Errors that a user can do something about. Their message says what was expected, what came and what to try."""


class CtuqError(Exception):
    """Something failed, and the message names it; the command line ends with exit code 1."""

    exit_code = 1


class InputError(CtuqError, ValueError):
    """The request was wrong (a file, a scan, an option); the command line ends with exit code 2."""

    exit_code = 2


class ShortageError(InputError):
    """The request was right, but not for the memory that is free at present."""
