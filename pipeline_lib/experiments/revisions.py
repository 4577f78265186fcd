"""What an experiment or a git revision holds, asked of DVC: its errors told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

WORKSPACE = "workspace"  # the working tree, wherever a revision is asked for


@contextmanager
def at_hand(revision: str, what: str) -> Iterator[None]:
    """Turn DVC's errors into ValueErrors: no such revision, or its `what` is neither in the cache nor in a remote."""
    from dvc.exceptions import DvcException  # slow, and the working tree is read without it
    from dvc.scm import RevError
    from dvc_data.index import DataIndexDirError

    try:
        yield
    except RevError as error:
        raise ValueError(f"{revision}: no such revision or experiment ({error}); see `dvc exp show`") from None
    except (DvcException, DataIndexDirError, OSError) as error:
        raise ValueError(
            f"{revision}: its {what} not at hand ({error}); run that revision again, or `dvc pull` it"
        ) from None
