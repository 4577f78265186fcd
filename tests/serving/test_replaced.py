"""What `dvc repro` replaces under a running server is an error that says to restart it, and no wrong answer."""

import shutil

import pytest
import torch
from running_server import caller

from pipeline_lib.artifacts import paths
from pipeline_lib.artifacts.io import fresh_folder
from pipeline_lib.models.saved import load_model, save_model
from pipeline_lib.serving.limits import Limits
from pipeline_lib.serving.photos import ProductPhotos
from pipeline_lib.serving.server import Place, make_service
from pipeline_lib.shards.write import MANIFEST


@pytest.fixture
def root(served_root, tmp_path, monkeypatch):
    """A copy of the project as the working directory."""
    copied = shutil.copytree(served_root, tmp_path / "project")
    monkeypatch.chdir(copied)
    return copied


@pytest.fixture
def call(root):
    made = make_service([Place(0), Place(1)], None, Limits())
    yield caller(made)
    made.close()


def photo_of(call, product_id="p8", number=0, model=0):
    return call("GET", "/api/photo", params={"id": product_id, "number": number, "model": model})


def refusal(response):
    """The line of an error that says to restart the server."""
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (503, "replaced"), response.text
    assert "\n" not in error["message"] and "/tmp/" not in error["message"]
    assert error["message"].endswith(
        "replaced or removed since the server started; restart it when `dvc repro` is done"
    )
    return error["message"]


def train_again(fold):
    """Replace the model of a fold by one with other weights."""
    model = load_model(paths.train_of(fold)).model
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1)
    save_model(paths.train_of(fold), model, {"fold": fold})


def test_a_model_that_was_trained_again_reads_no_picture_for_the_index_of_the_old_one(call):
    picture = {"picture": photo_of(call).content}
    before = call("GET", "/api/search", params={"q": "red mug"}).json()
    train_again(0)
    assert refusal(call("POST", "/api/search", files=picture)).startswith("model of fold 0: ")
    assert refusal(call("POST", "/api/search", data={"q": "red"}, files=picture))
    assert refusal(call("POST", "/api/explain", data={"product": "p2", "q": "red mug"}))
    # Texts go on with the model that was opened, and so does the model beside it.
    assert call("GET", "/api/search", params={"q": "red mug"}).json() == before
    assert call("POST", "/api/search", data={"model": 1}, files=picture).status_code == 200


def test_a_model_that_is_gone_while_it_is_trained_is_an_error(call):
    picture = {"picture": photo_of(call).content}
    shutil.rmtree(paths.train_of(0))
    assert refusal(call("POST", "/api/search", files=picture)).startswith("model of fold 0: ")


def test_a_model_that_was_loaded_goes_on_after_training(call):
    picture = {"picture": photo_of(call).content}
    before = call("POST", "/api/search", files=picture).json()
    train_again(0)
    assert call("POST", "/api/search", files=picture).json() == before


def test_the_same_model_written_again_is_loaded(call):
    picture = {"picture": photo_of(call).content}
    save_model(paths.train_of(0), load_model(paths.train_of(0)).model, {"fold": 0, "note": "again"})
    assert call("POST", "/api/search", files=picture).status_code == 200


def copy_of_shards(change=lambda name, data: data):
    """Replace the shards as their stage does, each file with its bytes after `change`."""
    files = {path.name: path.read_bytes() for path in sorted(paths.SHARDS.iterdir())}
    with fresh_folder(paths.SHARDS) as out:
        for name, data in files.items():
            (out / name).write_bytes(change(name, data))


def other_photos(name, data):
    """Change the order of the photos' bytes in a tar, so that it has the same length."""
    return data if name == MANIFEST or not name.endswith(".tar") else data[2048:] + data[:2048]


def test_shards_that_were_replaced_give_no_photo_at_an_old_place(call):
    assert photo_of(call).status_code == 200
    copy_of_shards(other_photos)
    answer = photo_of(call)
    assert refusal(answer).startswith("shards: ") and "cache-control" not in answer.headers
    assert refusal(photo_of(call, "p6", 1, model=1))
    assert refusal(call("POST", "/api/explain", data={"product": "p2", "q": "red mug"}))
    assert len(call("GET", "/api/search", params={"q": "red mug", "k": 3}).json()["results"]) == 3
    assert photo_of(call, "p8", 7).status_code == 404


@pytest.mark.parametrize("change", [lambda name, data: data[: len(data) // 9], lambda name, data: data + data])
def test_shards_of_another_length_are_replaced_and_not_damaged(call, change):
    copy_of_shards(lambda name, data: change(name, data) if name.endswith(".tar") else data)
    assert refusal(photo_of(call)).startswith("shards: ")


def test_shards_that_are_gone_are_an_error(call):
    shutil.rmtree(paths.SHARDS)
    assert refusal(photo_of(call)).startswith("shards: ")


def test_photos_of_a_url_are_read_while_the_manifest_of_the_folder_is_the_same(root):
    url = f"file://{shutil.copytree(root / paths.SHARDS, root / 'away')}"
    photos = ProductPhotos(root / paths.SHARDS, url)
    assert photos.read("p6", 1) == ProductPhotos(root / paths.SHARDS, None).read("p6", 1)
    copy_of_shards()
    with pytest.raises(ValueError, match="shards: replaced or removed since the server started"):
        photos.read("p6", 1)
