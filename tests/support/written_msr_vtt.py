"""Writes MSR-VTT in its real form with seven small clips: four to train on, three of test, and the lists of papers."""

import io
import json

import av
import numpy as np

CAPTIONS_EACH = 3
# Split of each clip in the JSON; the lists make train and validate one.
SPLITS = ["train", "train", "train", "validate", "test", "test", "test"]


def clip_bytes(seed, frames=6, size=32):
    """Return an mp4 of random blocks, which differ by clip."""
    target = io.BytesIO()
    rng = np.random.default_rng(seed)
    with av.open(target, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", 8, options={"flags": "+bitexact"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            picture = np.kron(rng.integers(0, 255, (4, 4, 3), np.uint8), np.ones((size // 4, size // 4, 1), np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def msr_vtt_content(splits=SPLITS):
    """Return the JSON's object."""
    videos = [
        {"category": 9, "url": "https://example.com/watch", "video_id": f"video{number}", "start time": 1.0,
         "end time": 9.0, "split": split, "id": number}
        for number, split in enumerate(splits)
    ]  # fmt: skip
    sentences = [
        {"caption": f"caption {turn} of clip {number}", "video_id": f"video{number}", "sen_id": number * 20 + turn}
        for number in range(len(splits))
        for turn in range(CAPTIONS_EACH)
    ]
    return {"info": {"contributor": "Microsoft"}, "videos": videos, "sentences": sentences}


def write_msr_vtt(root, content=None, folder="videos", ending="mp4", clips=True):
    """Write MSRVTT_data.json, MSRVTT_train.9k.csv (0 to 4), MSRVTT_train.7k.csv (0 to 3), 1k-A (5, 6) and the clips."""
    content = content or msr_vtt_content()
    (root / "MSRVTT_data.json").write_text(json.dumps(content), encoding="utf-8")
    for name, count in (("9k", 5), ("7k", 4)):
        rows = "".join(f"video{number}\n" for number in range(count))
        (root / f"MSRVTT_train.{name}.csv").write_text(f"video_id\n{rows}")
    rows = "".join(f"ret{turn},msr{number},video{number},the one sentence of {number}\n"
                   for turn, number in enumerate((5, 6)))  # fmt: skip
    (root / "MSRVTT_JSFUSION_test.csv").write_text(f"key,vid_key,video_id,sentence\n{rows}")
    (root / folder).mkdir(parents=True, exist_ok=True)
    for video in content["videos"]:
        file = root / folder / f"{video['video_id']}.{ending}"
        file.write_bytes(clip_bytes(video["id"]) if clips else b"")
