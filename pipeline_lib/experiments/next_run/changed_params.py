"""A view of the project with other params: DVC reads a changed copy wherever it would read params.yaml.

`dvc repro --dry` knows no `-S`, and `dvc exp run -S` rewrites params.yaml. Here DVC's own filesystem opens a temporary
file in its place, so that interpolations, matrices and params of dvc.yaml all see the change, and no file of the
project is written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PARAMS = Path("params.yaml")


@contextmanager
def changed_copy(changes: Sequence[str], root: Path = Path()) -> Iterator[Path]:
    """Yield params.yaml, or with changes (`key=value` in the grammar of `dvc exp run -S`) a temporary changed copy.

    Raises ValueError for a change that DVC would refuse.
    """
    file = root / PARAMS
    if not changes:
        yield file
        return
    from dvc.exceptions import DvcException
    from dvc.utils.hydra import apply_overrides

    with TemporaryDirectory(prefix="vitrine-plan-") as folder:
        copy = Path(folder) / PARAMS
        copy.write_bytes(file.read_bytes())
        try:
            apply_overrides(copy, list(changes))
        except DvcException as error:
            raise refused(changes, error) from None
        yield copy


def refused(changes: Sequence[str], error: Exception) -> ValueError:
    """Return the one-line error of changes that DVC or Hydra refuses."""
    reason = " ".join(str(error.__cause__ or error).split())
    return ValueError(f"-S {' -S '.join(changes)}: {reason}")


def filesystem_with(copy: Path, root: Path = Path()) -> Any:
    """Return a filesystem of DVC that opens `copy` in place of the project's params.yaml."""
    from dvc.fs import LocalFileSystem

    original = str((root / PARAMS).resolve())

    class ChangedParams(LocalFileSystem):  # type: ignore[misc]
        def open(self, path: str, *arguments: Any, **options: Any) -> Any:
            if str(Path(path).absolute()) == original:
                path = str(copy)
            return super().open(path, *arguments, **options)

    return ChangedParams()
