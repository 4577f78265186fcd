"""Near-duplicate photos: what is found, what is wrongly merged, and the time and memory of the search.

    python bench/duplicates.py --data ../shared/data/grocery ../shared/data/freeex

Copies of photos (re-encoded, resized, margin, crops, shifted, mirrored) are the pairs to find; drawn shirts with other
prints or colours are those not to merge. The speed is that of the search over look-alike goods on white (drawn shirts,
and one shirt with other small details; thumbnails given), in processor seconds, against the search of revision OLDER,
each in a process of its own. With --sheets FOLDER, pictures of the real pairs that are found are written there, to be
looked at.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from results import Ratio, interleaved, report

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests" / "support"))
from drawn_goods import COLOURS, COPIES, shirt  # noqa: E402

from pipeline_lib.catalogue.comparison import SAME, look_alikes  # noqa: E402
from pipeline_lib.catalogue.thumbnails import BYTES, thumbnail  # noqa: E402

OLDER = "85b4cf5"
BITS, OLD_BITS, OLD_GRID = 23, 3, 9
SHEET_COLUMNS, SHEET_ROWS, SHEET_SIDE = 6, 8, 128


def thumbnails(images):
    return np.stack([thumbnail(image) for image in images])


def pairs_of(rows):
    """Return the difference of each pair that looks alike."""
    found = {}
    for part in look_alikes(rows, BITS):
        for first, second, difference in zip(part.first, part.second, part.difference, strict=True):
            found[int(min(first, second)), int(max(first, second))] = float(difference)
    return found


def recall(images):
    """Return for each kind of copy how many of the photos are the same picture as their copy, and perhaps the same."""
    own, count = thumbnails(images), len(images)
    shares = {}
    for name, copy in COPIES.items():
        found = pairs_of(np.concatenate([own, thumbnails([copy(image) for image in images])]))
        levels = Counter(found[pair] <= SAME for pair in ((row, row + count) for row in range(count)) if pair in found)
        shares[name] = (levels[True] / count, levels[False] / count)
    return shares


def false_merges(count):
    """Return how many of all pairs of drawn shirts are the same picture, or perhaps: other prints, other colours."""
    prints = [shirt(0, colour=COLOURS[1], prints=0) for _ in range(count)]
    rng = np.random.default_rng(0)
    for image in prints:
        x, y, side = rng.integers(85, 130), rng.integers(85, 170), rng.integers(12, 30)
        fill = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).rectangle((x, y, x + side, y + side), fill=fill)
    colours = [shirt(1, colour=tuple(rng.integers(0, 256, 3).tolist())) for _ in range(count)]
    kinds = {"one shirt, other print": prints, "one shirt, other colour": colours}
    kinds["other shirts"] = [shirt(seed) for seed in range(100, 100 + count)]
    results = {}
    for name, images in kinds.items():
        found = list(pairs_of(thumbnails(images)).values())
        results[name] = (count * (count - 1) // 2, sum(d <= SAME for d in found), sum(d > SAME for d in found))
    return results


def real_pairs(folder, sheets):
    """Return the numbers of photos and of pairs of both levels in a folder of photos, and write sheets of the pairs."""
    files = sorted((folder / "images").iterdir())
    found = pairs_of(thumbnails(Image.open(file).convert("RGB") for file in files))
    levels = {"same": [], "perhaps": []}
    for pair, difference in sorted(found.items(), key=lambda item: item[1]):
        levels["same" if difference <= SAME else "perhaps"].append((pair, difference))
    for name, pairs in levels.items() if sheets else ():
        size = SHEET_COLUMNS * SHEET_ROWS
        for number in range(0, len(pairs), size):
            sheet = Image.new("RGB", (SHEET_COLUMNS * (2 * SHEET_SIDE + 10), SHEET_ROWS * (SHEET_SIDE + 4)), "grey")
            for place, (pair, difference) in enumerate(pairs[number : number + size]):
                x, y = place % SHEET_COLUMNS * (2 * SHEET_SIDE + 10), place // SHEET_COLUMNS * (SHEET_SIDE + 4)
                for side, row in enumerate(pair):
                    picture = Image.open(files[row]).convert("RGB").resize((SHEET_SIDE, SHEET_SIDE))
                    sheet.paste(picture, (x + side * (SHEET_SIDE + 2), y))
                ImageDraw.Draw(sheet).text((x, y), f"{difference:.2f}", fill="red")
            sheet.save(sheets / f"{folder.name}-{name}-{number // size}.png")
    return len(files), len(levels["same"]), len(levels["perhaps"])


def near_equal(seed):
    """Return one shirt with three details of 2 to 5 pixels: hashes are equal, and all pairs look alike."""
    rng, image = np.random.default_rng(seed), shirt(1, colour=(90, 95, 110), prints=0)
    for _ in range(3):
        x, y, side = rng.integers(85, 145), rng.integers(75, 190), rng.integers(2, 6)
        ImageDraw.Draw(image).rectangle((x, y, x + side, y + side), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


GOODS = {"other shirts": shirt, "one shirt, other details": near_equal}


def draw_goods(folder, kind, count):
    """Write what both searches read of drawn goods: thumbnails, and the older grids of mean colours."""
    rows = np.lib.format.open_memmap(folder / f"{kind}-{count}.npy", "w+", np.uint8, (count, BYTES))
    grids = np.zeros((count, OLD_GRID, OLD_GRID, 3), dtype=np.uint8)
    for seed in range(count):
        image = GOODS[kind](seed)
        rows[seed] = thumbnail(image)
        grids[seed] = np.asarray(image.resize((OLD_GRID, OLD_GRID), Image.Resampling.HAMMING))
    np.save(folder / f"{kind}-{count}-grids.npy", grids)


def search(folder, kind, count, older):
    """Search in this process, and print seconds of processor time, the peak memory in MB, and the number of pairs."""
    if older:
        source = subprocess.run(["git", "show", f"{OLDER}:pipeline_lib/catalogue/duplicates.py"], cwd=REPO,
                                capture_output=True, check=True).stdout  # fmt: skip
        path = folder / "older.py"
        path.write_bytes(source)
        spec = importlib.util.spec_from_file_location("older", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        grids = np.load(folder / f"{kind}-{count}-grids.npy")
        start = time.process_time()
        number = len(module.near_pairs(grids, OLD_BITS))
    else:
        rows = np.asarray(np.load(folder / f"{kind}-{count}.npy", mmap_mode="r"))
        start = time.process_time()
        number = sum(len(part.first) for part in look_alikes(rows, BITS))
    seconds = time.process_time() - start
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(json.dumps([seconds, int(peak) / 1e3, number]))


def in_process(folder, kind, count, older):
    command = [sys.executable, __file__, "--search", str(folder), "--kind", kind, "--sizes", str(count)]
    done = subprocess.run([*command, *(["--older"] if older else [])], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--sizes", type=int, nargs="+", default=[4_000, 20_000])
    parser.add_argument("--photos", type=int, default=300, help="photos that are copied, and shirts that are drawn")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--quick", action="store_true", help="write nothing")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--older", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        search(options.search, options.kind, options.sizes[0], options.older)
        return
    rng = np.random.default_rng(0)
    sources, lines = {"drawn shirts": [shirt(seed) for seed in range(options.photos)]}, []
    for folder in options.data:
        files = sorted((folder / "images").iterdir())
        chosen = rng.permutation(len(files))[: options.photos]
        sources[folder.name] = [Image.open(files[number]).convert("RGB") for number in chosen]
    shares = {name: recall(images) for name, images in sources.items()}
    lines += [f"Found as the same thing (and as perhaps the same), of {options.photos} photos each:", ""]
    lines += [f"| copy | {' | '.join(shares)} |", "|---|" + "---|" * len(shares)]
    for copy in COPIES:
        cells = (f"{same:.1%} ({perhaps:.1%})" for same, perhaps in (part[copy] for part in shares.values()))
        lines.append(f"| {copy} | {' | '.join(cells)} |")
    lines += ["", "| not to merge | pairs | the same thing | perhaps the same |", "|---|---|---|---|"]
    lines += [f"| {name} | {number:,} | {same} | {perhaps} |" for name, (number, same, perhaps) in
              false_merges(options.photos).items()]  # fmt: skip
    lines += ["", "| data | photos | pairs of the same thing | perhaps the same |", "|---|---|---|---|"]
    if options.sheets:
        options.sheets.mkdir(parents=True, exist_ok=True)
    for folder in options.data:
        number, same, perhaps = real_pairs(folder, options.sheets)
        lines.append(f"| {folder.name} | {number:,} | {same} | {perhaps} |")
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, (small, *larger) = Path(name), options.sizes
        ratios = []
        for kind in GOODS:
            draw_goods(folder, kind, small)
            sides = interleaved(
                options.repetitions,
                lambda kind=kind: in_process(folder, kind, small, False)[:2],
                lambda kind=kind: in_process(folder, kind, small, True)[:2],
            )
            for place, (what, unit) in enumerate((("search", "s of processor time"), ("its peak memory", "MB"))):
                values = [[value[place] for value in side] for side in sides]
                ratios.append(Ratio(f"{what}, {small:,} of {kind}", unit, *values, "-", lower_is_better=True))
        for size, kind in product(larger, GOODS):
            draw_goods(folder, kind, size)
            seconds, memory, number = in_process(folder, kind, size, False)
            figures = f"{seconds:.0f} s of processor time, {memory:.0f} MB at the peak, {number:,} pairs"
            lines += ["", f"{size:,} of {kind}: {figures}."]
    report("Near-duplicates", "\n".join(lines), ratios, options.quick)


if __name__ == "__main__":
    main()
