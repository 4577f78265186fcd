#!/usr/bin/env bash
# webdataset 1.0.2: TarWriter(format=USTAR) writes PAX headers, one for each member, unless mtime is an integer.
#
# Expected: `format` chooses the tar format, and USTAR is the default: the constructor replaces None by
#           tarfile.USTAR_FORMAT. So a member is one 512-byte header and its data, at an offset that a byte index of a
#           USTAR file can rely on.
# Happens:  the value is computed and never handed to tarfile.open, which then uses PAX. The default mtime is
#           time.time(), a fraction, which PAX stores in an extended header: 1,024 bytes more for each member (2 GB for
#           a million samples of a picture and its JSON), other bytes on every run, and headers of type `x` that
#           readers of plain USTAR do not know. With mtime=0 there are none.
# Versions: webdataset 1.0.2, Python 3.11.7
# Date:     2026-11-28
# Matters for: shards that are indexed by offset and size, or compared by hash (pipeline_lib/shards/tars.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check webdataset==1.0.2
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys
import tarfile
from importlib.metadata import version

import webdataset


def header_types(data: bytes) -> list[str]:
    """Return the type of each header: `0` is a file, `x` an extended header of PAX."""
    types, offset = [], 0
    while data[offset : offset + 1] not in (b"", b"\0"):
        size = int(data[offset + 124 : offset + 135], 8)
        types.append(chr(data[offset + 156]))
        offset += 512 + -(-size // 512) * 512
    return types


def written(**arguments: object) -> list[str]:
    stream = io.BytesIO()
    writer = webdataset.TarWriter(stream, encoder=False, format=tarfile.USTAR_FORMAT, **arguments)
    writer.write({"__key__": "000000", "jpg": b"picture", "json": b"{}"})
    writer.close()
    return header_types(stream.getvalue())


print(f"webdataset {version('webdataset')}, Python {sys.version.split()[0]}")
default, fixed = written(), written(mtime=0)
print(f"headers of two members with format=USTAR:            {' '.join(default)}")
print(f"headers of two members with format=USTAR, mtime=0:   {' '.join(fixed)}")
if (default, fixed) != (["x", "0", "x", "0"], ["0", "0"]):
    sys.exit("the behaviour has changed")
PYTHON
