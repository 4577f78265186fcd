"""Lists the photos of a tsv file (id, tab, base64 of an image per line) and keeps at most one line in memory.

The result is each photo's id and byte range. The catalogue checks the images, as it does for files.
"""

import re
from codecs import BOM_UTF8
from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.media import slice_name

# The tab must be within these first bytes of a line: an id of 20 digits and a few spaces.
MAX_ID_BYTES = 24
# What a browser writes before the base64 of an image.
DATA_URI = re.compile(rb"\s*data:[\w.+/-]*(;[\w.=+-]+)*;base64,", re.IGNORECASE)
MAX_URI_BYTES = 128
IMAGES = pl.Schema({"row": pl.Int64(), "image_id": pl.String(), "media": pl.String()})


def list_tsv_images(path: Path) -> pl.DataFrame:
    """Return one IMAGES row per line, media relative to the tsv's folder; ValueError for a line of another format.

    A data URI before the base64 (`data:image/jpeg;base64,`), a byte order mark and tabs at the end are passed over.
    """
    rows: list[int] = []
    image_ids: list[str] = []
    media: list[str] = []
    offset = 0
    with path.open("rb") as stream:
        offset = stream.seek(len(BOM_UTF8) if stream.read(len(BOM_UTF8)) == BOM_UTF8 else 0)
        for row, line in enumerate(stream, start=1):
            key, tab, _ = line[:MAX_ID_BYTES].partition(b"\t")
            content = line.rstrip(b" \t\r\n")
            if not tab or not key.strip().isdigit():
                if content:
                    raise ValueError(
                        f"{path}: row {row}: not `<whole number><tab><base64>`; download the file again, it may be "
                        "truncated"
                    )
            elif b"\r" in content:
                raise ValueError(
                    f"{path}: row {row}: its lines end in carriage returns; write line feeds with `tr '\\r' '\\n'`"
                )
            else:
                start = min(len(key) + 1, len(content))
                start += len(match[0]) if (match := DATA_URI.match(content[start : start + MAX_URI_BYTES])) else 0
                rows.append(row)
                image_ids.append(str(int(key)))
                media.append(slice_name(path.name, offset + start, len(content) - start))
            offset += len(line)
    if not rows:
        raise ValueError(f"{path}: no image in it; download the file again")
    return pl.DataFrame({"row": rows, "image_id": image_ids, "media": media}, schema=IMAGES)
