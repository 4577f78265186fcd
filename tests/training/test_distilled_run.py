"""Distillation from a saved run: outputs of the right photo, text and fold, no teacher in memory, errors."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from machine_names import naming
from teacher_project import ON, extract, keep
from tiny_project import make_settings, with_learned_image, without_photos, write_project
from watched_run import run

from pipeline_lib.artifacts.io import write_json
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.features import teachers
from pipeline_lib.inference.engine import InferenceEngine
from pipeline_lib.inference.predict import Predictor
from pipeline_lib.loading.captions import with_captions
from pipeline_lib.loading.dataset import ProductDataset, Sampling
from pipeline_lib.loading.photo_views import PhotoViews
from pipeline_lib.loading.products import photo_key, read_photos_fingerprint, text_key
from pipeline_lib.loading.teacher_rows import find_teacher_rows
from pipeline_lib.loading.text_views import TextViews
from pipeline_lib.models import multimodal
from pipeline_lib.models.saved import load_model, read_state
from pipeline_lib.shards.manifest import Manifest
from pipeline_lib.shards.read import ShardReader
from pipeline_lib.stores.store import open_store, write_store
from pipeline_lib.stores.teacher_store import open_teacher
from pipeline_lib.training.distillation import read_distillation
from pipeline_lib.training.fold_data import read_fold
from pipeline_lib.training.seen_models import check_seen
from pipeline_lib.transforms.tokenize import TextTokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.step:UserWarning")
# Texts of two products, which become relevant to all products.
CAPTIONS = ["red mug", "green mug striped plain"]
ALL = {**ON, "feature_distillation": {"weight": 0.5}, "class_distillation": {"weight": 0.5}}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, tiny_image_folder, tiny_text_folder):
    """A project with two teachers: `old` has a model each for folds 0 and 1, `single` has one model for all folds."""
    folder = tmp_path_factory.mktemp("distilled")
    inputs = write_project(folder / "project")
    settings = make_settings(tiny_image_folder, tiny_text_folder, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        for fold in (0, 1):
            keep(run(settings, inputs, f"first{fold}", fold=fold), folder / f"starts/old/{fold}")
    shutil.copytree(folder / "starts/old/0", folder / "starts/single")
    teachers = {name: extract(folder / "starts" / name, inputs, name) for name in ("old", "single")}
    return replace(inputs, teachers=teachers)


@pytest.fixture
def copied(distilled, tmp_path):
    """The same project with copies of the stores, which a test may change."""
    shutil.copytree(distilled.trunk.parent, tmp_path / "features")
    return replace(distilled, teachers={name: tmp_path / "features" / name for name in distilled.teachers})


def only(inputs, *names):
    return replace(inputs, teachers={name: inputs.teachers[name] for name in names})


def distillation_of(inputs, settings, fold=0):
    data = read_fold(inputs, fold, True)
    return read_distillation(settings.losses, inputs, fold, data, {"embedding_dim": 8, "classes": data.classes})


def opened_teacher(inputs, name, fold):
    return open_teacher(inputs.teachers[name], fold, read_photos_fingerprint(inputs.shards / "manifest.parquet"))


def test_stores_have_the_models_outputs_for_every_photo_and_text(distilled):
    """Compared with the saved model for each photo and text; two photos of a product differ."""
    place, stores = distilled.trunk.parents[1].parent / "starts/old/0", opened_teacher(distilled, "old", 0)
    saved, tokenizer = load_model(place), TextTokenizer(place / "tokenizer")
    model = saved.model
    views = PhotoViews(ShardReader(Manifest(distilled.shards)), 32)
    data = read_fold(distilled, 0, True)
    products = data.training
    assert stores.card.trained and stores.card.encoder == saved.fingerprint
    assert stores.card.classes == ("hat", "mug")
    assert stores.card.scale == pytest.approx([model.logit_scale.exp().item()] * 2)
    with torch.inference_mode():
        for row, key in enumerate(products.ids[:8]):
            text = products.texts[products.text[row]]
            token_ids, mask = map(torch.as_tensor, tokenizer.encode_batch([text], 16))
            encoded = model.encode_text(token_ids, mask)
            assert np.allclose(stores.stores["text"].rows([text_key(text)]), model.embed_text(encoded), atol=1e-5)
            for photo in range(products.num_photos[row]):
                features = model.encode_image(views.load(products.first_photo[row : row + 1] + photo, [(0,)]))
                log_probabilities = model.classify({"image": features, "text": encoded}).log_softmax(-1)
                outputs = {"image": model.embed_image(features), "classes": log_probabilities}
                for name, value in outputs.items():
                    assert np.allclose(stores.stores[name].rows([photo_key(key, photo)]), value, atol=1e-5), name
    both = stores.stores["image"].rows([photo_key("p6", 0), photo_key("p6", 1)])
    assert abs(both[0] - both[1]).max() > 1e-6


@pytest.mark.usefixtures("isolated")
def test_a_teacher_gives_products_without_a_photo_what_it_predicts_for_them(tmp_path, towers):
    """Its learned vector stands for the photo, and not the black photo, in the rows of photos and of products."""
    inputs = write_project(tmp_path / "project")
    without_photos(inputs, "p0", "p6", "p7", "p12")
    out = run(with_learned_image(make_settings(*towers, epochs=1, head_lr=0.1)), inputs, "learned")
    stores = extract(keep(out, tmp_path / "starts/learned"), inputs, "learned")
    data = read_fold(inputs, 0, True).training
    views, engine = PhotoViews(ShardReader(Manifest(inputs.shards)), 32), InferenceEngine("cpu", 7, 0, "fp32")
    bare = [data.ids.index(key) for key in ("p0", "p6", "p7", "p12") if key in data.ids]
    assert bare and len(bare) < len(data)
    for photo, suffix in (("first", ""), ("mean_pool", "-mean")):
        predictor = Predictor(load_model(out).model, TextTokenizer(out / "tokenizer"), views, engine, False, photo)
        blocks = list(predictor.predict(data))
        keys = data.ids if suffix else [photo_key(key, 0) for key in data.ids]
        for name, expected in (
            ("image", np.concatenate([block.embeddings for block in blocks])),
            ("classes", np.log(np.concatenate([block.probabilities for block in blocks]))),
        ):
            rows = open_store(stores / f"{name}{suffix}").rows(keys)
            assert np.allclose(rows, expected, atol=1e-5), (name, photo, np.abs(rows - expected).max(axis=1)[bare])


def test_a_killed_extraction_resumes_in_the_fold_of_the_interruption(other_machine, distilled, tmp_path, monkeypatch):
    """Fold 0 is complete. Of fold 1, 32 photos are stored and the outputs of the others are lost.

    Nothing that is written has the names of the machine.
    """
    start = distilled.trunk.parents[1].parent / "starts/old"
    inputs = replace(distilled, trunk=tmp_path / "features/trunk")
    folder = extract(start, inputs, "old", tmp_path)
    complete = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not naming(complete, str(tmp_path), str(start))
    progress, lost = tmp_path / "photos1.json", 10 * 2 * 4  # float32 log probabilities of two classes, 10 photos
    write_json(progress, read_object(progress) | {"photos": 32})
    (folder / "1/teacher.json").unlink()
    classes = folder / "1/classes/matrix.npy"
    classes.write_bytes(complete[classes][:-lost] + bytes(lost))
    messages, read, plain = [], [], ShardReader.read_all
    monkeypatch.setattr(ShardReader, "read_all", lambda self, rows: read.extend(rows) or plain(self, rows))
    extract(start, inputs, "old", tmp_path, messages.append)
    assert messages[1:] == ["image of fold 1: resumes after 32 of 42 photos"]
    assert read == list(range(32, 42))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == complete


def test_a_teacher_that_cuts_texts_says_so_once_before_it_runs(distilled, tmp_path, monkeypatch):
    models = list(teachers.teacher_models(distilled.trunk.parents[1].parent / "starts/old"))
    for one in models:
        one.model.description["text"]["max_tokens"] = 3
    monkeypatch.setattr(teachers, "teacher_models", lambda _: models)
    messages = []
    extract(tmp_path, replace(distilled, trunk=tmp_path / "features/trunk"), "old", log=messages.append)
    assert len(models) == 2 and len(messages) == 2 and "photos and " in messages[0]
    assert messages[1].startswith("text: the teacher's max_tokens = 3 cuts off the end of ")


@pytest.mark.parametrize("text", ["first", "random"])
def test_a_batch_has_teacher_outputs_of_its_photos_and_texts_for_all_rows(distilled, text, towers):
    """Random photos and captions, model inputs for half of the rows only: every row has its teacher outputs."""
    opened = [opened_teacher(distilled, name, 1) for name in ("old", "single")]
    products = read_fold(distilled, 1, True).training
    if text == "random":
        more = pl.DataFrame({"query_id": ["a", "b"], "kind": "text", "text": CAPTIONS})
        queries = more.with_columns(split=pl.lit(None, pl.String))
        pairs = [(query, key) for query in "ab" for key in products.ids]
        answers = pl.DataFrame(pairs, schema=["query_id", "product_id"], orient="row").with_columns(grade=pl.lit(1))
        products = with_captions(products, queries, answers)
    views = PhotoViews(ShardReader(Manifest(distilled.shards)), 32)
    texts, sampling = TextViews(TextTokenizer(towers[1]), 16), Sampling(3, "random", part=(1, 2))
    dataset = ProductDataset(products, views, texts, sampling, teachers=find_teacher_rows(opened, products))
    all_photos, all_texts = set(), set()
    for epoch in range(6):
        rows = np.random.default_rng(epoch).permutation(len(products))[:9]
        batch = dataset[(epoch, rows)]
        assert len(batch.pixels) == 5 and len(batch.teacher_image) == len(batch.teacher_classes) == 9
        for place, row in enumerate(rows):
            photo = 0
            if products.num_photos[row] > 1:
                photo = int(np.random.default_rng((3, epoch, int(row), 1)).integers(products.num_photos[row]))
            key, words = photo_key(products.ids[row], photo), products.texts[batch.text[place]]
            all_photos.add(photo), all_texts.add(words)
            for name, value, of in (
                ("image", batch.teacher_image, key),
                ("text", batch.teacher_text, text_key(words)),
                ("classes", batch.teacher_classes, key),
            ):
                expected = np.concatenate([one.stores[name].rows([of])[0] for one in opened])
                assert np.array_equal(value[place].numpy(), expected), name
    assert all_photos == {0, 1} and (all_texts == set(CAPTIONS)) == (text == "random")


def test_a_student_is_trained_without_its_teacher_in_memory(distilled, isolated, towers, monkeypatch):
    """The dims differ. Only the student is built in the process, and its distance from the teacher falls."""
    built = []
    init = multimodal.ImageTextModel.__init__

    def counted(self, description):
        built.append(description["embedding_dim"])
        init(self, description)

    monkeypatch.setattr(multimodal.ImageTextModel, "__init__", counted)
    settings = make_settings(*towers, info_nce=0.0, cross_entropy=0.0, losses_on=ALL, epochs=6)
    values = settings.model.model_dump() | {"embedding_dim": 6}
    object.__setattr__(settings, "model", type(settings.model).model_validate(values))
    out = run(settings, only(distilled, "old"), "student")
    assert built == [6]
    rows = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    for name in (*ALL, "val_loss"):
        assert rows[name][-1] < rows[name][0], name
    assert set(json.loads((out / "model.json").read_text())["run"]["losses"]) == set(ALL)


def test_accumulated_batches_have_the_losses_of_one_large_batch(distilled, isolated, towers):
    """24 rows in three batches of eight, or in one batch: the same losses in a run with an lr of 0."""
    frozen = {"tower_lr": 0.0, "head_lr": 0.0, "epochs": 1, "info_nce": 0.0, "cross_entropy": 0.0, "losses_on": ALL}
    inputs = only(distilled, "old")
    values = []
    for name, sizes in (("once", {"batch_size": 24}), ("joined", {"batch_size": 8, "accumulate": 3})):
        settings = make_settings(*towers, unfreeze_layers=0, **frozen, **sizes)
        model = settings.model.model_dump()
        model["classifier"]["dropout"] = 0.0
        object.__setattr__(settings, "model", type(settings.model).model_validate(model))
        rows = np.genfromtxt(run(settings, inputs, name) / "history.csv", delimiter=",", names=True)
        values.append([float(rows[column]) for column in (*ALL, "total")])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def weights(out):
    return read_state(out)


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def read_values(inputs, settings):
    """The teacher outputs of the first training products of fold 0 and of fold 1."""
    rows = np.arange(6)
    return [distillation_of(inputs, settings, fold).training.batch_fields(rows, 0 * rows, rows) for fold in (0, 1)]


def test_each_fold_is_distilled_from_its_own_teacher(copied, isolated, towers):
    """The outputs of fold 1's model are changed: fold 0 trains as before, and fold 1 reads other values."""
    settings = make_settings(*towers, losses_on=ALL, epochs=1)
    inputs = only(copied, "old")
    before = weights(run(settings, inputs, "before"))
    original = read_values(inputs, settings)
    place = copied.teachers["old"] / "1"
    for name in ("image", "text", "classes"):
        store = open_store(place / name)
        header = store.header
        changed = np.roll(np.array(store.matrix), 1, axis=0)
        write_store(place / name, store.ids, changed, (header.encoder, header.preprocessing), header.dtype)
    assert same(before, weights(run(settings, inputs, "after")))
    for fold, now in enumerate(read_values(inputs, settings)):
        for name, value in now.items():
            assert torch.equal(value, original[fold][name]) == (fold == 0), (fold, name)


def test_stores_are_opened_only_if_a_loss_reads_them(copied, isolated, towers):
    """Bit-equal to a run without teachers, although the stores are deleted; a warning says that no loss reads them."""
    settings = make_settings(*towers, epochs=1)
    plain = run(settings, replace(copied, teachers={}), "plain")
    shutil.rmtree(copied.teachers["old"])
    unread = run(settings, only(copied, "old"), "unread")
    assert same(weights(plain), weights(unread))
    warning = "plan.teachers: no loss that is on reads teacher old; give a distillation loss a weight, or remove it"
    assert warning in read_object(unread / "trainable.json")["warnings"]
    assert warning not in read_object(plain / "trainable.json")["warnings"]


def test_one_trained_model_for_all_folds_is_refused_where_it_was_trained_on_the_held_out_products(distilled, towers):
    """`single` is the model of fold 0, so it has seen folds 1 and 2."""
    single = {"contrastive_distillation": {"weight": 1, "teachers": {"single": 2}}}
    settings = make_settings(*towers, losses_on=single)
    (warning,) = distillation_of(distilled, settings, fold=1).warnings
    assert warning.startswith("plan.teachers: no loss that is on reads teacher old;")
    line = "plan.teachers: single was trained on 12 of 12 held-out products"
    with pytest.raises(ValueError, match=rf"^{line} that fold 1 is measured on; .* train.allow_seen: true"):
        check_seen(settings, distilled, 1)
    assert check_seen(settings, distilled, 0).lines == (
        "plan.teachers: single was trained on 0 of 12 held-out products",
    )
    allowed = check_seen(make_settings(*towers, losses_on=single, allow_seen=True), distilled, 1)
    assert allowed.warnings == (f"{line} (train.allow_seen)",) and len(allowed.seen.ids) == 36
    own = make_settings(*towers, losses_on=ON)
    assert distillation_of(only(distilled, "old"), own).warnings == ()
    assert [check_seen(own, only(distilled, "old"), fold).warnings for fold in (0, 1)] == [(), ()]


def without_a_row(folder, name):
    store = open_store(folder / "0" / name)
    header = store.header
    write_store(folder / "0" / name, store.ids[:-9], store.matrix[:-9], (header.encoder, "x"), header.dtype)


def other_encoder(folder, name):
    path = folder / "0" / name / "header.json"
    write_json(path, {**read_object(path), "encoder": "other"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: without_a_row(folder, "image"), r"old/0/image: no features for 'p\d+#\d' among \d+ ids; the"),
        (lambda folder: without_a_row(folder, "classes"), r"old/0/classes: no features for 'p\d+#\d' among"),
        (lambda folder: without_a_row(folder, "text"), r"old/0/text: no features for '\w+' among"),
        (
            lambda folder: other_encoder(folder, "text"),
            "old/0/text: made by encoder other, but .* is expected; run",
        ),
        (lambda folder: shutil.rmtree(folder / "0"), "no outputs of this teacher for fold 0; it has models of folds 1"),
        (shutil.rmtree, "old: no outputs of this teacher for fold 0; run `dvc repro`"),
    ],
)
def test_unusable_stores_stop_a_run_before_its_first_step(copied, isolated, towers, spoil, message, monkeypatch):
    spoil(copied.teachers["old"])
    settings = make_settings(*towers, losses_on=ALL)
    monkeypatch.setattr("pipeline_lib.training.fold.Trainer", lambda **_: pytest.fail("training has started"))
    with pytest.raises(ValueError, match=message) as error:
        run(settings, only(copied, "old"), "refused")
    assert "\n" not in str(error.value)


def test_a_distillation_without_a_teacher_is_refused(distilled, isolated, towers):
    settings = make_settings(*towers, losses_on=ON)
    message = (
        r"losses.contrastive_distillation.weight is above 0, but plan.teachers is empty; add one to it "
        r"\(`vitrine keep EXPERIMENT NAME` makes data/starts/NAME\), or set the weight to 0"
    )
    with pytest.raises(ValueError, match=message):
        run(settings, replace(distilled, teachers={}), "refused")


def test_a_teacher_of_mean_pooled_products_gives_its_outputs_for_the_mean_of_their_photos(distilled):
    """The student's target is what the teacher itself predicts with mean_pool: its heads read mean features."""
    products = read_fold(distilled, 0, True).training
    teacher = opened_teacher(distilled, "old", 0)
    rows = find_teacher_rows([teacher], products, mean_pool=True)
    fields = rows.batch_fields(np.arange(len(products)), np.zeros(len(products), np.int64), products.text)
    folder = distilled.trunk.parent.parent.parent / "starts/old/0"
    views = PhotoViews(ShardReader(Manifest(distilled.shards)), 32)
    model, tokenizer = load_model(folder).model, TextTokenizer(folder / "tokenizer")
    predictor = Predictor(model, tokenizer, views, InferenceEngine("cpu", 7, 0, "fp32"), False, "mean_pool")
    blocks = list(predictor.predict(products))
    assert np.allclose(fields["teacher_image"].numpy(), np.concatenate([one.embeddings for one in blocks]), atol=1e-4)
    probabilities = np.concatenate([one.probabilities for one in blocks])
    assert np.allclose(np.exp(fields["teacher_classes"].numpy()), probabilities, atol=1e-4)
    single = find_teacher_rows([teacher], products).batch_fields(
        np.arange(len(products)), np.zeros(len(products), np.int64), products.text
    )
    several = products.num_photos > 1
    differs = (single["teacher_image"] != fields["teacher_image"]).any(1).numpy()
    assert several.any() and differs[several].all()


def test_stores_without_means_cannot_teach_mean_pooled_products(copied):
    shutil.rmtree(copied.teachers["old"] / "0/image-mean")
    with pytest.raises(ValueError, match="no outputs for the mean of a product's photos"):
        find_teacher_rows([opened_teacher(copied, "old", 0)], read_fold(copied, 0, True).training, True)
