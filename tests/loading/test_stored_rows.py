"""A batch from stores equals one that looks up every photo and text by its id and draws row by row."""

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pipeline_lib.batch import Batch
from pipeline_lib.execution.process_group import rows_of_rank
from pipeline_lib.loading.dataset import ProductDataset, Sampling, data_loader
from pipeline_lib.loading.mixup import draw_mix
from pipeline_lib.loading.products import Captions, Products, photo_key, text_key
from pipeline_lib.loading.stored_features import StoredFeatures
from pipeline_lib.loading.teacher_rows import find_teacher_rows
from pipeline_lib.stores.activations import ActivationWriter, open_activations
from pipeline_lib.stores.boundary import TowerBoundary
from pipeline_lib.stores.drawn_views import DrawnViews
from pipeline_lib.stores.numbers import as_floats
from pipeline_lib.stores.store import MatrixWriter, open_store, write_store
from pipeline_lib.stores.teacher_store import IMAGE, TEXT, TeacherStores

COUNT, SEED, DRAWN = 17, 3, DrawnViews("clip", 0.6, 3, 7)
ROWS = np.random.default_rng(0).permutation(COUNT)[:11]


def make_products(captions=False, missing=False):
    rng = np.random.default_rng(1)
    texts = ["", *(f"text {number}" for number in range(12))]
    num_photos = rng.integers(1, 4, COUNT)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 4, COUNT))])
    return Products(
        ids=[f"p{number}" for number in range(COUNT)],
        texts=texts,
        text=rng.integers(0, len(texts), COUNT),
        group=rng.integers(0, 9, COUNT),
        label=rng.integers(-1, 3, COUNT),
        first_photo=np.cumsum(num_photos) - num_photos,
        num_photos=num_photos,
        captions=Captions(offsets, rng.integers(0, len(texts), offsets[-1])) if captions else None,
        answers=Captions(offsets, rng.integers(0, len(texts), offsets[-1])),
        has_photo=rng.random(COUNT) > 0.2 if missing else None,
    )


def photo_ids(products):
    return [
        photo_key(key, n) for key, count in zip(products.ids, products.num_photos, strict=True) for n in range(count)
    ]


def write_stores(folder, products, kind, dtype):
    """Stores in another order than the products, with a photo and a text more than these have."""
    rng = np.random.default_rng(2)
    photos = rng.permutation([*photo_ids(products), "other#0"]).tolist()
    texts = rng.permutation([*map(text_key, products.texts), "other"]).tolist()
    if kind == "pooled":
        write_store(folder / "image", photos, rng.normal(size=(len(photos), 5)), ("m", "v"), dtype)
        write_store(folder / "text", texts, rng.normal(size=(len(texts), 4)), ("m", "v"), dtype)
        writer = MatrixWriter(folder / "views", 3 * len(photos), 5, dtype)
        writer.write(0, rng.normal(size=(3 * len(photos), 5)))
        writer.close(photos, "m", "v", views=DRAWN)
        return StoredFeatures(*(open_store(folder / name) for name in ("image", "text", "views")))
    for name, count, views in (("image", 1, None), ("views", 3, DRAWN)):
        activations = ActivationWriter(folder / name, count * 4 * len(photos), 5, dtype)
        ids = [key for key in photos for _ in range(count)]
        activations.write(ids, rng.normal(size=(len(ids), 2, 2, 5)))
        activations.close("m", "v", TowerBoundary(True, 5, 2, "block", (2, 2, 5)), views)
    lengths = rng.integers(1, 5, len(texts))
    mask = np.arange(4) < lengths[:, None]
    activations = ActivationWriter(folder / "text", int(lengths.sum()), 4, dtype)
    activations.write(texts, rng.normal(size=(len(texts), 4, 4)), mask)
    activations.close("m", "v", TowerBoundary(True, 4, 2, "block", (4,)))
    return StoredFeatures(*(open_activations(folder / name) for name in ("image", "text", "views")))


def slow_batch(products, stored, sampling, epoch, rows):
    """One row after the other, by ids: the batch that `ProductDataset` must give."""
    seeds = [(sampling.seed, epoch, int(row)) for row in rows]
    texts, photos, answers = [], [], []
    for row, seed in zip(rows, seeds, strict=True):
        text = int(products.text[row])
        if products.captions:
            own = products.captions.of_product(row)
            order = np.random.default_rng((SEED, epoch // len(own), int(row), 2)).permutation(len(own))
            text = int(own[order[epoch % len(own)]])
        texts.append(text)
        answers.append(products.answers.of_product(row).tolist())
        count = int(products.num_photos[row])
        photo = (
            int(np.random.default_rng((*seed, 1)).integers(count)) if sampling.photo == "random" and count > 1 else 0
        )
        if sampling.photo == "mean_pool":
            photos.append([(number, (*seed, 3, number)) for number in range(count)])
        else:
            photos.append([(photo, seed)])
    store = stored.views or stored.image
    own = range(len(rows))[rows_of_rank(len(rows), *sampling.part)]
    keys = [photo_key(products.ids[rows[index]], photo) for index in own for photo, _ in photos[index]]
    views = None
    if stored.views:
        draws = [np.random.default_rng((*seed, 5)).integers(3) for index in own for _, seed in photos[index]]
        views = np.array(draws)
    text_keys = [text_key(products.texts[texts[index]]) for index in own]
    content = {}
    if hasattr(store, "gather"):
        values, mask = stored.text.gather(text_keys)
        content |= {"image_activations": store.gather(keys, views)[0], "text_activations": values, "token_mask": mask}
    else:
        content |= {"image_features": store.rows(keys, views), "text_features": stored.text.rows(text_keys)}
    if sampling.photo == "mean_pool":
        counts = [len(photos[index]) for index in own]
        content["photo_mask"] = np.array([[place < count for place in range(max(counts))] for count in counts])
        # The losses read the number of photos of all rows, whichever process loads them.
        content["num_photos"] = np.array([len(drawn) for drawn in photos])
    if products.has_photo is not None:
        content["has_image"] = np.array([products.has_photo[rows[index]] for index in own])
    if sampling.mix != "none":
        mixable = (products.label[rows] >= 0) & (True if products.has_photo is None else products.has_photo[rows])
        mix = draw_mix(sampling.mix, sampling.mix_alpha, 0, seeds, mixable)
        content |= {"mix_with": mix.partner, "mix_share": mix.share, "mixed_label": products.label[rows[mix.partner]]}
    has_text = np.array([products.texts[text] != "" for text in texts])
    longest = max(map(len, answers))
    content |= {
        "product": rows, "group": products.group[rows], "text": np.array(texts), "label": products.label[rows],
        "has_text": has_text, "text_rows": np.flatnonzero(has_text),
        "answers": np.array([own + [-1] * (longest - len(own)) for own in answers]),
    }  # fmt: skip
    return {name: torch.from_numpy(value) for name, value in content.items()}


def assert_equal(batch, expected):
    present = {field.name: value for field in fields(Batch) if (value := getattr(batch, field.name)) is not None}
    assert present.keys() == expected.keys()
    for name, value in expected.items():
        assert present[name].dtype == value.dtype and torch.equal(present[name], value), name


@pytest.mark.parametrize(
    ("kind", "dtype", "views", "sampling", "products"),
    [
        ("pooled", "float16", False, {}, {}),
        ("pooled", "bfloat16", False, {"photo": "random"}, {"captions": True}),
        ("pooled", "float32", True, {"mix": "mixup", "photo": "random"}, {"missing": True}),
        ("pooled", "float16", True, {"photo": "mean_pool", "part": (1, 3)}, {"captions": True, "missing": True}),
        ("boundary", "float16", False, {"photo": "random", "part": (0, 2)}, {"captions": True}),
        ("boundary", "bfloat16", True, {"photo": "mean_pool"}, {"missing": True}),
    ],
)
def test_batches_equal_those_of_a_loop_over_ids(tmp_path, kind, dtype, views, sampling, products):
    products = make_products(**products)
    stored = write_stores(tmp_path, products, kind, dtype)
    stored = stored if views else replace(stored, views=None)
    sampling = Sampling(SEED, **sampling)
    dataset = ProductDataset(products, None, None, sampling, stored)
    drawn = set()
    for epoch in range(4):
        batch = dataset[epoch, ROWS]
        assert_equal(batch, slow_batch(products, stored, sampling, epoch, ROWS))
        image = batch.image_features if kind == "pooled" else batch.image_activations
        drawn.add((batch.text.numpy().tobytes(), image.numpy().tobytes()))
    assert (len(drawn) > 1) == bool(products.captions or views or sampling.photo == "random")


def test_the_tower_without_a_store_reads_its_input_with_the_same_draws(tmp_path):
    """The views get the seeds of rows, and for all photos of a product those of its photos."""
    products, loaded = make_products(), []

    class Recorder:
        size = 32

        def load(self, what, seeds):
            loaded.append((list(what), list(seeds)))
            return {"token_ids": torch.zeros(1)} if isinstance(what[0], str) else torch.zeros(1)

    stored = replace(write_stores(tmp_path, products, "pooled", "float16"), views=None)
    seeds = [(SEED, 2, int(row)) for row in ROWS]
    ProductDataset(products, None, Recorder(), Sampling(SEED), replace(stored, text=None))[2, ROWS]
    assert loaded.pop() == ([products.texts[products.text[row]] for row in ROWS], seeds)
    for photo, chosen in (("first", 1), ("mean_pool", 3)):
        sampling = Sampling(SEED, photo=photo)
        ProductDataset(products, Recorder(), None, sampling, replace(stored, image=None))[2, ROWS]
        owners = [(row, n) for row in ROWS for n in range(min(chosen, products.num_photos[row]))]
        photos = [products.first_photo[row] + n for row, n in owners]
        own = [(SEED, 2, int(row), 3, n) for row, n in owners] if photo == "mean_pool" else seeds
        assert loaded.pop() == (photos, own)
    with pytest.raises(AssertionError, match="neither stored nor decoded"):
        ProductDataset(products, None, None, Sampling(SEED), replace(stored, image=None))[2, ROWS]


def test_teachers_outputs_are_those_of_the_photo_and_the_text(tmp_path):
    products = make_products(captions=True)
    stored = replace(write_stores(tmp_path, products, "pooled", "float16"), views=None)
    teachers = find_teacher_rows([TeacherStores(None, {IMAGE: stored.image, TEXT: stored.text})], products)
    dataset = ProductDataset(products, None, None, Sampling(SEED, photo="random"), stored, teachers)
    batch = dataset[1, ROWS]
    assert torch.equal(batch.teacher_image, batch.image_features)
    assert torch.equal(batch.teacher_text, batch.text_features)


def test_a_photo_or_text_that_a_store_lacks_is_named_before_the_first_step(tmp_path):
    products = make_products()
    stored = write_stores(tmp_path, products, "pooled", "float16")
    more = replace(products, ids=[*products.ids[:-1], "new"])
    with pytest.raises(ValueError, match=r"views: no features for 'new#0' among \d+ ids; .*run `dvc repro`"):
        ProductDataset(more, None, None, Sampling(SEED), stored)
    with pytest.raises(ValueError, match=f"text: no features for '{text_key('unknown')}'"):
        ProductDataset(replace(products, texts=[*products.texts, "unknown"]), None, None, Sampling(SEED), stored)


def test_floats_are_those_of_the_store_for_every_type(tmp_path):
    for dtype in ("float16", "bfloat16", "float32"):
        write_store(tmp_path / dtype, ["a", "b"], np.array([[1 / 3, -65504.0], [6e-8, 0.0]]), ("m", "v"), dtype)
        store = open_store(tmp_path / dtype)
        stored = replace(StoredFeatures(), text=store).find_rows(replace(make_products(), texts=[]))
        features = replace(stored, texts=np.array([1, 0])).text_content(np.array([1, 0]))["text_features"]
        assert torch.equal(features, torch.from_numpy(as_floats(store.matrix[:]).astype(np.float32)))


def test_without_workers_there_is_no_data_loader(monkeypatch):
    monkeypatch.setattr("pipeline_lib.loading.dataset.DataLoader", lambda *_, **__: pytest.fail("a loader was built"))
    assert list(data_loader([10, 20, 30], [2, 0], 0)) == [30, 10]


def test_training_imports_no_image_library():
    """Those that a tower needs are imported when it is built."""
    libraries = ("PIL", "torchvision", "timm", "open_clip", "cv2")
    code = f"import sys, pipeline_lib.training.fold; print([name for name in {libraries} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "[]\n"
