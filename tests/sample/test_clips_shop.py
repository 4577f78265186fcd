"""The clips of the built-in sample: twins differ in the order of their frames alone, splits share no product."""

import csv
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from clip_tables import clip_table
from shop.clip_files import CODECS, FAULTS, RATE, encode_clip, encode_sound
from shop.clip_words import ACTIONS, CAPTIONS, STILL_CAPTIONS, language_of
from shop.clips import COLUMNS, ENDINGS, captions_of, make_clips, make_sample
from shop.composed import HELD_OUT
from shop.motions import FRAMES, PATHS, draw_frames
from shop.words import COLOURS, PATTERNS

from pipeline_lib.catalogue.build import build_catalogue
from pipeline_lib.clips.sampling import uniform
from pipeline_lib.datasets.captions_csv import read_captions_csv
from pipeline_lib.params.data import DataParams
from pipeline_lib.params.frames import FramesParams
from pipeline_lib.params.section import load_params, parse_section

ACTING, STILL, SEED = 200, 140, 17
FEW = (10, 6)
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clips():
    return make_clips(ACTING, STILL, SEED)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    make_sample(folder, *FEW, SEED)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def twins(clips):
    of_product = defaultdict(list)
    for clip in clips:
        if clip.action:
            of_product[clip.item.seed].append(clip)
    return [sorted(pair, key=lambda clip: clip.backwards) for pair in of_product.values()]


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes_and_another_seed_others(written, tmp_path):
    for name, seed, jobs in (("again", SEED, 2), ("other", SEED + 1, 1)):
        (tmp_path / name).mkdir()
        make_sample(tmp_path / name, *FEW, seed, jobs)
    assert files(tmp_path / "again") == files(written) != files(tmp_path / "other")


def test_no_two_products_look_alike_and_the_splits_share_none(clips):
    looks = defaultdict(set)
    for clip in clips:
        looks[clip.item.kind, clip.item.colour, clip.item.pattern].add((clip.item.seed, clip.split))
    assert len(looks) == ACTING + STILL + len(FAULTS) and {len(owners) for owners in looks.values()} == {1}
    assert len(clips) == len({clip.path for clip in clips}) == 2 * ACTING + STILL + len(FAULTS)
    count = Counter(split for owners in looks.values() for _, split in owners)
    assert count["train"] > 2 * count["test"] > 2 * count["val"] > 60


def test_test_has_combinations_that_no_other_split_shows_and_every_value_is_trained(clips):
    pairs, values = defaultdict(set), defaultdict(set)
    for clip in clips:
        split = "test" if clip.split == "test" else "train"
        for colour in filter(None, (clip.item.colour, clip.new)):
            pairs[split].add((colour, clip.item.pattern))
            values[split] |= {colour, clip.item.pattern, clip.item.kind, clip.action}
    assert pairs["test"] - pairs["train"] >= HELD_OUT - pairs["train"] and not pairs["train"] & HELD_OUT
    assert len(pairs["test"] & HELD_OUT) >= 6 and values["test"] <= values["train"]


def test_each_action_has_two_clips_that_are_each_other_in_reverse(written):
    pairs = twins(make_clips(*FEW, SEED))
    assert len(pairs) == FEW[0] and {clip.action for pair in pairs for clip in pair} == set(ACTIONS) == set(PATHS)
    for forward, backward in pairs:
        assert (forward.backwards, backward.backwards) == (False, True)
        assert forward.split == backward.split and forward.path != backward.path
        one, other = decoded(written / forward.path), decoded(written / backward.path)
        assert len(one) == len(other) == FRAMES
        apart, order = np.abs(one - other[::-1]).mean(), np.abs(one[[0, -1]] - other[[0, -1]]).mean()
        assert apart < 8 and order > 2 * apart, (forward.action, apart, order)
        # What a bag of frames gets from both is the same.
        assert np.abs(one.mean(axis=0) - other.mean(axis=0)).mean() < 1.5


@pytest.mark.parametrize("count", [4, 12])
def test_the_stage_frames_picks_the_same_frames_of_a_clip_and_of_its_reverse(count):
    picked = uniform(np.arange(FRAMES) / RATE, FRAMES / RATE, FramesParams(count=count, sampling="uniform", fps=1.0))
    assert len(picked) == count and picked.tolist() == (FRAMES - 1 - picked)[::-1].tolist()


def test_a_product_moves_as_its_caption_says(clips):
    """Left, near and colour are measured against the first frame of a product without a print."""
    item = next(clip.item for clip in clips if clip.item.pattern == "plain" and clip.item.colour == "red")
    frames = {action: [np.asarray(frame, float) for frame in draw_frames(item, action, "blue", 72)] for action in PATHS}

    def red_columns(frame):
        return np.nonzero(((frame[..., 0] - frame[..., 2]) > 60) & ((frame[..., 0] - frame[..., 1]) > 60))[1]

    faded = frames["colour"]
    assert len(red_columns(faded[0])) > 100 and len(red_columns(faded[-1])) < len(red_columns(faded[0])) / 4
    plain = {action: [np.asarray(frame, float) for frame in draw_frames(item, action, None, 72)] for action in PATHS}
    centres = [red_columns(frame).mean() for frame in plain["across"] if len(red_columns(frame))]
    assert centres[-1] - centres[0] > 30
    sizes = [len(red_columns(frame)) for frame in plain["distance"]]
    assert sizes[-1] > 3 * sizes[0]
    still = [np.asarray(frame, float) for frame in draw_frames(item, None, None, 72)]
    assert np.abs(still[0] - still[-1]).mean() < np.abs(plain["turn"][0] - plain["turn"][-1]).mean() / 2


def test_captions_are_in_both_languages_name_the_look_and_belong_to_one_clip(clips):
    owners = defaultdict(set)
    for clip in clips:
        captions = captions_of(clip)
        assert Counter(map(language_of, captions)) == {"en": CAPTIONS, "zh": CAPTIONS}
        for caption in captions:
            owners[caption].add(clip.number)
            names = {"en": 0, "zh": 1}[language_of(caption)]
            named = {colour for colour in (clip.item.colour, clip.new) if colour}
            for wanted in [*(COLOURS[colour] for colour in named), PATTERNS[clip.item.pattern]]:
                assert any(word in caption for word in wanted[names]), (caption, wanted)
    assert {len(numbers) for numbers in owners.values()} == {1}


def test_the_templates_of_an_action_are_not_those_of_its_reverse_nor_of_a_still():
    for language, (one, other) in product(("en", "zh"), ACTIONS.values()):
        own, reverse = set(getattr(one, language)), set(getattr(other, language))
        assert len(own) == len(reverse) >= CAPTIONS and not own & reverse
        assert not (own | reverse) & set(getattr(STILL_CAPTIONS, language))


def test_the_table_lists_every_caption_with_its_slices_and_two_faults(written):
    with (written / "captions.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    assert tuple(header) == COLUMNS
    made = make_clips(*FEW, SEED)
    assert [row[0] for row in rows[:-2]] == [clip.path for clip in made for _ in captions_of(clip)]
    assert rows[-2][1] == "" and not (written / rows[-1][0]).exists()
    slices = {clip.path: ("time" if clip.action else "still", clip.action, clip.unseen) for clip in made}
    reverse = {one.path: other.path for pair in twins(made) for one, other in (pair, pair[::-1])}
    for path, caption, _, listed, subset in rows[:-2]:
        assert subset == reverse.get(path, "")
        kind, action, unseen = slices[path]
        names = {kind, language_of(caption), *filter(None, [action]), *(["unseen_combination"] if unseen else [])}
        assert set(listed.split("|")) == names


def test_a_file_of_each_fault_cannot_be_read_and_all_others_can(written):
    made = make_clips(*FEW, SEED)
    assert Counter(clip.fault for clip in made if clip.fault) == dict.fromkeys(FAULTS, 1)
    for clip in made:
        if clip.fault is None:
            assert len(decoded(written / clip.path)) == FRAMES
        else:
            with pytest.raises((av.FFmpegError, IndexError)):
                decoded(written / clip.path)


def test_every_format_of_the_sample_has_an_encoder_and_the_sound_no_picture(clips, tmp_path):
    assert set(ENDINGS) == {*CODECS, "gif"}
    frames = draw_frames(clips[0].item, "across", None, 64)
    for ending in set(ENDINGS):
        (tmp_path / f"clip.{ending}").write_bytes(encode_clip(frames, ending))
        shown = decoded(tmp_path / f"clip.{ending}")
        wanted = np.stack([np.asarray(frame, float) for frame in frames])
        assert shown.shape == wanted.shape and np.abs(shown - wanted).mean() < 8
    (tmp_path / "sound.mp4").write_bytes(encode_sound())
    with av.open(str(tmp_path / "sound.mp4")) as container:
        assert not container.streams.video and len(container.streams.audio) == 1


def test_more_products_than_there_are_looks_are_refused_in_one_line():
    with pytest.raises(ValueError, match="have a look of their own, so give fewer"):
        make_clips(700, 300, SEED)


def test_the_catalogue_counts_the_broken_clips_and_groups_no_two(written, tmp_path):
    project = parse_section(DataParams, load_params(REPO / "params.yaml"))
    data = project.model_copy(update={"root": str(written), "table": "captions.csv", "max_reject_fraction": 0.5})
    records = read_captions_csv(data)
    catalogue = build_catalogue(records, data, 1, clips=clip_table(records, data, tmp_path / "frames"))
    made = make_clips(*FEW, SEED)
    assert catalogue.products["product_id"].to_list() == [clip.path for clip in made if clip.fault is None]
    rejected = catalogue.rejects.filter(action="rejected")
    assert rejected.height == len(FAULTS) + 1 and rejected["reason"].n_unique() >= 4, rejected.rows()
    assert "empty caption" in catalogue.rejects["reason"].to_list()
    # A clip and its reverse are not the same thing.
    assert catalogue.products["group_id"].n_unique() == len(catalogue.products)
    assert set(catalogue.query_slices["slice"]) >= {"time", "still", "en", "zh"}
