"""What a user can mend, told apart from what only a change of the code can."""


class Refusal(ValueError):
    """A request that cannot be met as it stands.

    The message is one line that names the file, row or key, what was found and what to do. The
    command line prints it alone and exits with 2; every other exception keeps its traceback.
    """
