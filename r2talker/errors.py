"""The one exception a user is meant to read."""


class R2TalkerError(Exception):
    """Something the user can mend: bad input, a missing file, a missing optional package, a full disk.

    The message is one line that says what was wrong (naming the file), what was expected, and what to do. The command line
    prints it without a traceback and exits with code 2.
    """
