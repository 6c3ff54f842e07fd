"""The one exception for mistakes that a user can correct."""


class UserError(Exception):
    """A mistake outside the code: a path, an option, a file's content, a full disk.

    The message is one sentence that names the thing, says what is wrong with it and what to do. Command lines print it
    without a traceback and exit with status 2 (`dnnlib.cli.command`).
    """
