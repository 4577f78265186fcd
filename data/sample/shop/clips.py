"""Writes the sample of text-to-video retrieval: short clips of products, with captions in English and Chinese.

`dvc repro` runs it as `python -m shop.clips` in data/sample. Of a product that does something there are two clips, one
with the frames of the other in reverse, so the mean of the frames cannot tell them apart. Some combinations of a colour
and a pattern are in test only, and some files cannot be read.
"""

import csv
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from shop.clip_files import FAULTS, write_clip
from shop.clip_words import ACTIONS, STILL, TIME, Shown, language_of, write_captions
from shop.composed import HELD_OUT
from shop.goods import GOODS, RARE
from shop.motions import draw_frames
from shop.photos import Item
from shop.stage import run_stage
from shop.words import BUILDS, COLOURS, PATTERNS

KINDS = tuple(kind for kind in GOODS if kind != RARE)
# Shares of the products.
TEST_SHARE, VAL_SHARE = 0.25, 0.125
# Of the products of test, those with a combination that no other split has.
UNSEEN_SHARE = 0.4
COLUMNS = ("video", "caption", "split", "slice", "subset")
# A clip's ending and size depend on its product.
ENDINGS = ("mp4", "mp4", "mp4", "webm", "mp4", "mp4", "avi", "mp4", "mp4", "gif")
SIZES = (72, 80, 64)


class Clip(NamedTuple):
    """A clip: its number, what it shows and does, whether its frames run backwards, its split, and its fault if any."""

    number: int
    item: Item
    action: str | None
    new: str | None
    backwards: bool
    split: str
    fault: str | None = None

    @property
    def path(self) -> str:
        """Return the path of its file; the two clips of a product have one format."""
        return f"clips/{self.number:04d}.{'mp4' if self.fault else ENDINGS[self.item.seed[1] % len(ENDINGS)]}"

    @property
    def unseen(self) -> bool:
        """Return whether it shows a combination of a colour and a pattern that only test has."""
        return any((colour, self.item.pattern) in HELD_OUT for colour in (self.item.colour, self.new))


def make_clips(num_acting: int, num_still: int, seed: int) -> list[Clip]:
    """Return the clips in the order of their numbers, which says nothing about them: two of each acting product.

    No two products have the same category, colour and pattern. There is one clip for each of FAULTS, too.
    """
    rng = np.random.default_rng([seed, 1])
    looks = _looks(num_acting + num_still + len(FAULTS), rng)
    faults = [*[None] * (num_acting + num_still), *FAULTS]
    order = rng.permutation(num_acting + num_still)
    acting = {int(place): number for number, place in enumerate(order[:num_acting])}
    clips = []
    for place, ((kind, colour, pattern, split), fault) in enumerate(zip(looks, faults, strict=True)):
        own = np.random.default_rng([seed, place, 2])
        item = _item(kind, colour, pattern, (seed, place), own)
        action = list(ACTIONS)[acting[place] % len(ACTIONS)] if place in acting else None
        new = _other_colour(item, split, own) if action == "colour" else None
        clips += [Clip(0, item, action, new, way, split, fault) for way in ((False, True) if action else (False,))]
    return [clips[int(place)]._replace(number=number) for number, place in enumerate(rng.permutation(len(clips)))]


def _looks(count: int, rng: np.random.Generator) -> list[tuple[str, str, str, str]]:
    """Return category, colour, pattern and split of each product, those of the splits mixed."""
    looks = list(itertools.product(KINDS, COLOURS, PATTERNS))
    looks = [looks[int(place)] for place in rng.permutation(len(looks))]
    held_out = [look for look in looks if look[1:] in HELD_OUT]
    common = [look for look in looks if look[1:] not in HELD_OUT]
    num_test, num_val = round(count * TEST_SHARE), round(count * VAL_SHARE)
    unseen = held_out[: round(num_test * UNSEEN_SHARE)]
    if len(unseen) + len(common) < count:
        raise ValueError(f"clips: {count} products; {len(common)} have a look of their own, so give fewer")
    splits = ["test"] * (num_test - len(unseen)) + ["val"] * num_val
    named = [(*look, "test") for look in unseen]
    for number, look in enumerate(common[: count - len(unseen)]):
        named.append((*look, splits[number] if number < len(splits) else "train"))
    return [named[int(place)] for place in rng.permutation(count)]


def _item(kind: str, colour: str, pattern: str, seed: tuple[int, int], rng: np.random.Generator) -> Item:
    second = str(rng.choice([name for name in COLOURS if name != colour]))
    material, build = str(rng.choice(GOODS[kind].materials)), str(rng.choice(list(BUILDS)))
    return Item(kind, colour, second, pattern, material, build, seed)


def _other_colour(item: Item, split: str, rng: np.random.Generator) -> str:
    """Return the colour that an item fades into; only in test it may make a combination that is held out."""
    fitting = [name for name in COLOURS
               if name != item.colour and (split == "test" or (name, item.pattern) not in HELD_OUT)]  # fmt: skip
    return str(rng.choice(fitting))


def captions_of(clip: Clip) -> list[str]:
    """Return the captions of a clip; those of its reverse differ only in what happens, not in the words for it."""
    rng = np.random.default_rng([*clip.item.seed, 3])
    shown = Shown(GOODS[clip.item.kind].names, clip.item.pattern, clip.item.colour, clip.new)
    return write_captions(shown, clip.action, clip.backwards, rng)


def write_files(clips: list[Clip], out: Path) -> None:
    """Write the files of the clips of one product."""
    first = clips[0]
    frames = draw_frames(first.item, first.action, first.new, SIZES[first.item.seed[1] % len(SIZES)])
    for clip in clips:
        write_clip(out / clip.path, frames[::-1] if clip.backwards else frames, clip.fault)


def write_table(clips: list[Clip], out: Path) -> None:
    """Write captions.csv, a row for each caption; the slice time needs the order of the frames, still does not.

    The subset of a caption is the reverse of its clip. As in real tables, one caption is empty, and one clip has no
    file.
    """
    of_product = {(clip.item.seed, clip.backwards): clip.path for clip in clips}
    with (out / "captions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for clip in clips:
            reverse = of_product.get((clip.item.seed, not clip.backwards), "")
            for caption in captions_of(clip):
                slices = [STILL if clip.action is None else TIME, language_of(caption)]
                slices += [*([clip.action] if clip.action else []), *(["unseen_combination"] if clip.unseen else [])]
                writer.writerow((clip.path, caption, clip.split, "|".join(slices), reverse))
        first = next(clip for clip in clips if clip.split == "train" and clip.fault is None)
        writer.writerow((first.path, "", "train", "", ""))
        writer.writerow((f"clips/{len(clips):04d}.mp4", "a clip that was never uploaded", "train", STILL, ""))


def make_sample(out: Path, num_acting: int, num_still: int, seed: int, num_jobs: int = 1) -> None:
    """Write the folder of the sample; the bytes do not depend on the number of processes."""
    clips = make_clips(num_acting, num_still, seed)
    (out / "clips").mkdir()
    of_product: dict[tuple[int, ...], list[Clip]] = {}
    for clip in clips:
        of_product.setdefault(clip.item.seed, []).append(clip)
    Parallel(n_jobs=num_jobs, batch_size=8)(delayed(write_files)(own, out) for own in of_product.values())
    write_table(clips, out)


def main() -> None:
    """Write the folder `clips` from the params section of that name."""
    run_stage(
        "clips", lambda out, params, jobs: make_sample(out, params["acting"], params["still"], params["seed"], jobs)
    )


if __name__ == "__main__":
    main()
