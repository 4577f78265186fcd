"""Judgements of results, one line a click in a CSV file: thumbs up and down for a product and a text query.

Lines are only ever added, each in one write under a lock, so several servers may share a file. The last line of a query
and a product counts; an empty grade withdraws the judgement.
"""

import csv
import fcntl
import io
import os
import threading
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from pipeline_lib.artifacts.messages import show


@dataclass(frozen=True)
class Judgement:
    """A grade (0 = wrong, 1 = right, None = withdrawn) of a product for a text query, the model and the time (UTC)."""

    query: str
    product_id: str
    grade: int | None
    model: str
    time: str


HEADER = tuple(field.name for field in fields(Judgement))


class JudgementFile:
    """A file of judgements, created with its header at the first one; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Query -> product -> grade, of the lines that this server has read or written.
        self._grades: dict[str, dict[str, int]] = {}
        self._changing = threading.Lock()  # one thread adds, another one answers; not locked while a file is written
        if path.is_file():
            for judgement in read_judgements(path):
                self._remember(judgement)

    def add(self, query: str, product_id: str, grade: int | None, model: str) -> Judgement:
        """Append a judgement; OSError if the file cannot be written."""
        judgement = Judgement(query, product_id, grade, model, datetime.now(UTC).isoformat(timespec="seconds"))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            _append(file, judgement)
        finally:
            os.close(file)
        self._remember(judgement)
        return judgement

    def of_query(self, query: str) -> dict[str, int]:
        """Return the grades of the products that were judged for a query."""
        with self._changing:
            return dict(self._grades.get(query, {}))

    def all_grades(self) -> dict[str, dict[str, int]]:
        """Return query -> product -> grade, of the queries that have one, in the order of their first judgement."""
        with self._changing:
            return {query: dict(grades) for query, grades in self._grades.items() if grades}

    def _remember(self, judgement: Judgement) -> None:
        with self._changing:
            grades = self._grades.setdefault(judgement.query, {})
            if judgement.grade is None:
                grades.pop(judgement.product_id, None)
            else:
                grades[judgement.product_id] = judgement.grade


def read_judgements(path: Path) -> list[Judgement]:
    """Return the lines of a file in their order; ValueError with the line of one that is not a judgement."""
    found = []
    with path.open(encoding="utf-8-sig", newline="") as stream:  # spreadsheets write a mark of the encoding first
        reader = csv.reader(stream, strict=True)
        line = 1  # at which the row begins
        try:
            if tuple(next(reader, ())) != HEADER:
                raise ValueError(
                    f"its first line must be {','.join(HEADER)}; correct it, or move a file that has no judgements out "
                    "of the folder (for `vitrine serve`, --judgements names another)"
                )
            line = reader.line_num + 1
            for row in reader:
                if len(row) != len(HEADER) or row[2] not in ("", "0", "1"):
                    raise ValueError(f"line {line}: {show(','.join(row))} is no judgement; remove it")
                found.append(Judgement(row[0], row[1], int(row[2]) if row[2] else None, row[3], row[4]))
                line = reader.line_num + 1
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8; save it as CSV UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"{path}: line {line}: {error}; mend or remove it") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return found


def _append(file: int, judgement: Judgement) -> None:
    """Append a line to a locked file, which an error leaves as it was."""
    size = os.fstat(file).st_size
    # A line that a crash cut short would otherwise swallow the next one.
    cut = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    lines = memoryview(_lines([HEADER] * (size == 0) + [astuple(judgement)], cut))
    try:
        while lines:  # a full disk takes a part first, and raises at the rest
            lines = lines[os.write(file, lines) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)  # half a line would be no judgement
        raise


def _lines(rows: list[tuple[object, ...]], cut: bool) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return ("\n" * cut + stream.getvalue()).encode()
