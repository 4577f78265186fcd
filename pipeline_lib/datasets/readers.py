"""The readers of data sets: data.reader -> function(DataParams) -> Records.

A new reader is a file, a line here, its name in `ReaderKind`, and a six-row fixture in its test.
"""

from collections.abc import Callable

from pipeline_lib.artifacts.messages import show
from pipeline_lib.catalogue.schema import Records
from pipeline_lib.datasets.captions_csv import read_captions_csv
from pipeline_lib.datasets.circo import read_circo
from pipeline_lib.datasets.cirr import read_cirr
from pipeline_lib.datasets.csv_table import read_csv_table
from pipeline_lib.datasets.fashion_iq import read_fashion_iq
from pipeline_lib.datasets.karpathy import read_karpathy
from pipeline_lib.datasets.msr_vtt import read_msr_vtt
from pipeline_lib.datasets.muge import read_muge
from pipeline_lib.datasets.queries_csv import with_queries
from pipeline_lib.params.data import DataParams

READERS: dict[str, Callable[[DataParams], Records]] = {
    "csv_table": read_csv_table,
    "muge": read_muge,
    "karpathy": read_karpathy,
    "captions_csv": read_captions_csv,
    "msr_vtt": read_msr_vtt,
    "cirr": read_cirr,
    "fashion_iq": read_fashion_iq,
    "circo": read_circo,
}


def read_records(data: DataParams) -> Records:
    """Return the records of data.reader, with the composed queries of data.queries; ValueError for a fault."""
    try:
        return with_queries(READERS[data.reader](data), data)
    except UnicodeEncodeError as error:  # JSON can write half of a character, of which no file can be made
        raise ValueError(
            f"data.root = {data.root!r}: the reader {data.reader} found a name or id with half a character, what "
            f"remains of a cut emoji: {show(error.object)}; correct it in the file, where it begins with \\ud8 to \\udf"
        ) from None
