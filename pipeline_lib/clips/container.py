"""Opens a clip with FFmpeg: which formats are read, which stream, and with which decoder.

A file is opened by its content. The formats leave out playlists, lists of files and protocols, with which a file that
is named `clip.mp4` could bring other files of the machine, or of the network, into the shards.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.clips.structure import missing_bytes
from pipeline_lib.transforms.formats import BadPhotoError

# Names of FFmpeg's demuxers, separated by commas.
FORMATS = "mov,matroska,avi,gif,apng,mpegts,mpeg,asf,flv,ogg"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
# FFmpeg decodes up to 20 frames to learn what these containers say themselves: a tenth of a clip's time.
FULL_HEADERS = re.compile(rb"....ftyp|\x1aE\xdf\xa3", re.DOTALL)
# The native decoders drop the alpha channel of these codecs, which Matroska names in the stream's metadata.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@contextmanager
def open_clip(file: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the video stream of a clip; BadPhotoError if it has none or is truncated."""
    import av

    if missing := missing_bytes(file):
        size = file.stat().st_size
        raise BadPhotoError("truncated clip", f"{missing:,} bytes are missing behind the {size:,} that there are")
    try:
        options = {**OPTIONS, "skip_frame": "all"} if _has_full_headers(file) else OPTIONS
        container = av.open(f"file:{file}", options=options)
    except (av.error.FFmpegError, ValueError) as error:
        raise BadPhotoError("unreadable clip", f"no format that is read: {_reason(error)}") from None
    with container:
        stream = _video_stream(container)
        for other in container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        yield container, stream


def _has_full_headers(file: Path) -> bool:
    with file.open("rb") as stream:
        return FULL_HEADERS.match(stream.read(8)) is not None


def decoder_of(stream: Any) -> Any:
    """Return the decoder of a stream with one thread; BadPhotoError if FFmpeg has none."""
    import av

    decoder = stream.codec_context
    if decoder is None:
        raise BadPhotoError("unreadable clip", "FFmpeg has no decoder for its video")
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
        decoder = av.CodecContext.create(ALPHA_DECODERS[decoder.name], "r")
    # More threads gained nothing on H.264 and VP9, and the workers decode one clip each.
    decoder.thread_type, decoder.thread_count = "NONE", 1
    return decoder


def _video_stream(container: Any) -> Any:
    """Return the stream that FFmpeg prefers, which is a cover picture only if there is no video."""
    from av.stream import Disposition

    best = container.streams.best("video")
    if best is not None and not best.disposition & Disposition.attached_pic:
        return best
    found = "no video" if best is None else "a cover picture and no video"
    sounds = len(container.streams.audio)
    raise BadPhotoError("no video stream", f"{found} beside {sounds} of sound" if sounds else found)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or one_line(error)
