"""Reads from a git revision or an experiment through DVC, and turns DVC's errors into one line."""

from collections.abc import Iterator
from contextlib import contextmanager

WORKSPACE = "workspace"  # names the working tree wherever a revision is expected


@contextmanager
def one_line_errors(revision: str, what: str) -> Iterator[None]:
    """Turn DVC's errors into ValueErrors: an unknown revision, or `what` that no cache and no remote has."""
    from dvc.exceptions import DvcException  # slow to import, and not needed for the working tree
    from dvc.scm import RevError
    from dvc_data.index import DataIndexDirError

    try:
        yield
    except RevError as error:
        raise ValueError(f"{revision}: no such revision or experiment ({error}); see `dvc exp show`") from None
    except (DvcException, DataIndexDirError, OSError) as error:
        raise ValueError(
            f"{revision}: {what} cannot be read from DVC's cache or remote ({error}); run that revision again, or "
            "`dvc pull` it"
        ) from None
