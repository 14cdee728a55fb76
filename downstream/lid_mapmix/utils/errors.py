"""The exceptions of the package.

Every fault that a user can correct (a missing file, a wrong class, too short audio) is raised as
:class:`UserError`; the command line prints its single line and exits with status 1. Any other exception
is a defect of this package or of its host; --debug shows its traceback.
"""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """A fault that the user can correct. Its message has one line: expected, found, what to do."""


class BadAudioError(UserError):
    """The audio of an utterance is missing, damaged or not finite; training can skip it (data.on_bad_audio)."""


class ReportedError(Exception):
    """The fault has been reported, by this or another process of the run; this process ends without a message."""


def is_of_the_system(error: BaseException) -> bool:
    """Return whether an error comes from the disk, from permissions or from the locale, not from a file's content."""
    is_of_a_file = isinstance(error, OSError) and (error.filename is not None or error.errno in _FULL)
    return is_of_a_file or isinstance(error, UnicodeEncodeError)


def diverged(what: str) -> UserError:
    """Return the error of a training that has diverged; `what` says which number is not finite, and where."""
    return UserError(
        f"{what}; the training has diverged. Lower the learning rate (-o config.optimizer.lr=...) and train again."
    )
