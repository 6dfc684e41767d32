"""The errors that autoj raises, as a small tree.

One root, `AutojError`, so that a caller can catch everything of ours with one clause; each child is
also the standard-library error it is, so that code which knows nothing of autoj still does the right
thing. A message says what was expected, what came, and what to do. Two branches decide the exit code
of the command line: `InputError` is 2 (the user can fix the input), every other one is 1 (the run failed).
"""

from collections.abc import Sequence


class AutojError(Exception):
    """Root of every error raised by autoj."""


class InputError(AutojError, ValueError):
    """A file, option or argument that cannot be used as it is."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


class DisconnectedComparisonsError(InputError):
    """The decided comparisons of a prompt do not reach from every candidate to every other one."""

    def __init__(self, components: Sequence[Sequence[str]]) -> None:
        self.components = tuple(tuple(component) for component in components)
        """The candidate ids of each connected part."""
        parts = "; ".join("{" + ", ".join(component) + "}" for component in self.components)
        super().__init__(
            f"expected comparisons that connect all candidates, got {len(self.components)} parts without a decided "
            f"comparison between them: {parts}. Compare across the parts, or leave candidates out"
        )


class RunError(AutojError, RuntimeError):
    """Work that started and could not be finished; what was computed is kept."""


class FailureBudgetError(RunError):
    """More judgments failed than the failure budget allows."""


class JudgeUnavailableError(RunError, ConnectionError):
    """The judge's backend cannot be reached or does not do what it was asked for."""


class StorageError(RunError, OSError):
    """A file could not be written (disk full, no permission)."""


class MissingExtraError(AutojError, ImportError):
    """An optional package is needed; the message names the extra to install."""
