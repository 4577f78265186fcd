"""The models of a teacher's folder: a published pair equals open_clip, and an invalid folder gives one error line."""

import shutil

import pytest
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from tiny_clip import CONFIG, make_clip, written
from torch.nn import functional

from pipeline_lib.features.teacher_models import read_pair, teacher_models

PAIR = """\
image: {{kind: open_clip, name: {config}, weights: {weights}, size: 32}}
text: {{kind: open_clip, name: {config}, weights: {weights}, pooling: last, max_tokens: 77, tokenizer: null}}
embedding_dim: 24
"""


@pytest.fixture
def pair(tmp_path):
    """Return a teacher's folder with its model.yaml, and open_clip's model of the same weights."""
    model = make_clip()
    with torch.no_grad():
        model.logit_scale.fill_(3.25)
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    values = {"config": written(tmp_path, CONFIG), "weights": tmp_path / "clip.safetensors"}
    folder = tmp_path / "starts/published"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(PAIR.format(**values), encoding="utf-8")
    return folder, model


def test_a_published_pair_embeds_like_open_clip_and_has_its_scale(pair):
    folder, expected = pair
    (teacher,) = teacher_models(folder)
    assert (teacher.fold, teacher.trained, teacher.model.training) == ("", False, False)
    assert teacher.model.logit_scale.item() == pytest.approx(3.25)
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    normal = teacher.model.image.normalise(pixels)
    token_ids = torch.zeros(2, 77, dtype=torch.long)
    token_ids[:, :4] = torch.tensor([[1, 5, 9, 49407], [1, 7, 49407, 0]])
    with torch.inference_mode():
        image = teacher.model.embed_image(teacher.model.encode_image(pixels))
        assert torch.allclose(image, functional.normalize(expected.encode_image(normal), dim=-1), atol=1e-5)
        text = teacher.model.embed_text(teacher.model.encode_text(token_ids, token_ids != 0))
        assert torch.allclose(text, functional.normalize(expected.encode_text(token_ids), dim=-1), atol=1e-5)


def test_equal_weights_have_one_fingerprint_and_a_given_scale_is_used(pair):
    folder, _ = pair
    path = folder / "model.yaml"
    first, second = read_pair(path), read_pair(path)
    assert first.fingerprint == second.fingerprint
    path.write_text(path.read_text() + "logit_scale: 4.5\n")
    assert read_pair(path).model.logit_scale.item() == pytest.approx(4.5)


def rewrite(old, new):
    def change(folder):
        path = folder / "model.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "published: no such folder; `vitrine keep EXPERIMENT published` saves"),
        (lambda folder: (folder / "model.yaml").unlink(), "published: no teacher here; `vitrine keep EXPERIMENT"),
        (lambda folder: (folder / "0").mkdir(), r"has a model.yaml and trained models \(.*published/0\); remove one"),
        (rewrite("size: 32", "sizes: 32"), "model.yaml: model.image.sizes is not a setting; did you mean 'size'"),
        (rewrite("embedding_dim: 24\n", ""), "model.yaml: model.embedding_dim is missing"),
        (rewrite("embedding_dim: 24", "embedding_dim: 25"), "model.yaml: projector none needs features of"),
        (rewrite("size: 32", "size: 32, pretrained: false, weights: null"), "model.image has no pretrained weights"),
        (rewrite("pooling: last", "pooling: attentive"), "model.text has no pretrained weights for pool."),
    ],
)
def test_an_invalid_folder_is_one_error_line(pair, spoil, message):
    folder, _ = pair
    spoil(folder)
    if message.startswith("model.image has"):
        path = folder / "model.yaml"
        first, rest = path.read_text().split("\n", 1)
        path.write_text(first.replace(first[first.index(", weights: /") : first.index(", size")], "") + "\n" + rest)
    with pytest.raises(ValueError, match=message) as error:
        list(teacher_models(folder))
    assert "\n" not in str(error.value) and "published" in str(error.value)


def test_weights_without_a_scale_need_one_in_the_file(pair, tmp_path):
    folder, _ = pair
    state = make_clip(kind=CustomTextCLIP).state_dict()
    del state["logit_scale"]
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(ValueError, match=r"model.yaml: model.logit_scale: the weights have none; write the log of"):
        read_pair(folder / "model.yaml")


def test_an_incomplete_saved_model_is_no_teacher(tmp_path):
    folder = tmp_path / "mine/0"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    with pytest.raises(ValueError, match=r"mine/0/model.safetensors is missing; `vitrine keep EXPERIMENT NAME`"):
        list(teacher_models(tmp_path / "mine"))
