"""The one exception a user is meant to see.

Everything that a user can mend (a missing file, a wrong class, too short audio) is raised as
:class:`UserError`; the command line prints its one line and exits with status 1. Any other exception
is a defect of this package or of its host; --debug shows its traceback.
"""


class UserError(Exception):
    """A fault the user can mend. Its message says, in one line: expected, found, what to do."""


class BadAudioError(UserError):
    """The audio of an utterance is missing, broken, or no numbers; training may skip it (data.on_bad_audio)."""


class ReportedError(Exception):
    """What went wrong has been said, here or by another process that trains with this one; it ends without a word."""


def diverged(what: str) -> UserError:
    """Return the error of a training whose numbers are none any more; `what` says where, and which."""
    return UserError(
        f"{what}; the training has diverged. Lower the learning rate (-o config.optimizer.lr=...) and train anew."
    )
