"""Reads from a git revision or an experiment through DVC, and turns DVC's errors into one line."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# DVC stores an experiment under the commit that it started from; other references below refs/exps are its own.
EXPERIMENT_REF = r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)"
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


def experiment_names(project: str = ".") -> list[str]:
    """Return the names of all experiments of the repository, of any baseline; none outside a git repository.

    They are read from git, because DVC lists them only while no other DVC command runs.
    """
    command = ["git", "-C", project, "for-each-ref", "--format=%(refname)", "refs/exps"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return sorted({match[1] for ref in listed if (match := re.fullmatch(EXPERIMENT_REF, ref))})
