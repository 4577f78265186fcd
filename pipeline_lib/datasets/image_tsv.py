"""Lists the photos of a tsv file (id, tab, base64 of an image per line) and keeps at most one line in memory.

The result is each photo's id and byte range. The catalogue checks the images, as it does for files.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.media import slice_name

# The tab must be within these first bytes of a line: an id of 20 digits and a few spaces.
MAX_ID_BYTES = 24
IMAGES = pl.Schema({"row": pl.Int64(), "image_id": pl.Int64(), "media": pl.String()})


def list_tsv_images(path: Path) -> pl.DataFrame:
    """Return one IMAGES row per line, media relative to the tsv's folder; ValueError for a line of another format."""
    rows: list[int] = []
    image_ids: list[int] = []
    media: list[str] = []
    offset = 0
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            key, tab, _ = line[:MAX_ID_BYTES].partition(b"\t")
            if tab and key.strip().isdigit():
                start = len(key) + 1
                rows.append(row)
                image_ids.append(int(key))
                media.append(slice_name(path.name, offset + start, len(line.rstrip(b"\r\n")) - start))
            elif line.strip():
                raise ValueError(
                    f"{path}: row {row}: {line[:MAX_ID_BYTES].decode('utf-8', 'replace')!r} is not `<whole number><tab>"
                    "<base64>`; download the file again if it is truncated"
                )
            offset += len(line)
    if not rows:
        raise ValueError(f"{path}: no image in it; download the file again")
    return pl.DataFrame({"row": rows, "image_id": image_ids, "media": media}, schema=IMAGES)
