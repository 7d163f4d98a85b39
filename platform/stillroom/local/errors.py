"""The one error of the launcher: what happened, what was expected, what to do."""


class LocalError(Exception):
    """Something the person at the terminal can act on. `log` names the file with the rest of the story, if any."""

    def __init__(self, message: str, *, log: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.log = log
