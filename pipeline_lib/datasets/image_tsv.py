"""Lists the photos of a tsv (a whole number, a tab, the base64 of an image file) without holding more than one line.

What comes back is each photo's name and place; whether its bytes are an image, the catalogue finds out as it does for
files.
"""

from pathlib import Path

import polars as pl

from pipeline_lib.catalogue.media import slice_name

# Bytes in which a line must have its tab: a whole number of 20 digits and a few spaces.
LONGEST_ID = 24
IMAGES = pl.Schema({"row": pl.Int64(), "image_id": pl.Int64(), "media": pl.String()})


def list_tsv_images(path: Path) -> pl.DataFrame:
    """Return IMAGES rows, one a line, media named within the tsv's folder; ValueError for a line of another form."""
    rows: list[int] = []
    image_ids: list[int] = []
    media: list[str] = []
    offset = 0
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            key, tab, _ = line[:LONGEST_ID].partition(b"\t")
            if tab and key.strip().isdigit():
                start = len(key) + 1
                rows.append(row)
                image_ids.append(int(key))
                media.append(slice_name(path.name, offset + start, len(line.rstrip(b"\r\n")) - start))
            elif line.strip():
                raise ValueError(
                    f"{path}: row {row}: {line[:LONGEST_ID].decode('utf-8', 'replace')!r} is not `<whole number><tab>"
                    "<base64>`; fetch the file again if it was cut off"
                )
            offset += len(line)
    if not rows:
        raise ValueError(f"{path}: no image in it; fetch the file again")
    return pl.DataFrame({"row": rows, "image_id": image_ids, "media": media}, schema=IMAGES)
