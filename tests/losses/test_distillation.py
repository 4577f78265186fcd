"""Distillation against open_clip, slow loops, hand-worked ones and closed forms; several teachers; what is refused."""

import math
from dataclasses import replace

import pytest
import torch
from drawn_pairs import batch, loss_params, outputs, unit
from open_clip.loss import DistillClipLoss

from pipeline_lib.losses.build import DISTILLATION, build_losses
from pipeline_lib.losses.class_distillation import class_distillation
from pipeline_lib.losses.contrastive_distillation import contrastive_distillation
from pipeline_lib.losses.feature_distillation import feature_distillation
from pipeline_lib.losses.teachers import DistillationTeachers, Teacher, select_teachers

SMALL = Teacher("small", 5, (20.0, 20.0), ("hat", "mug"))
LARGE = Teacher("large", 7, (50.0, 30.0), ("hat", "mug"))
LESSON = DistillationTeachers((SMALL, LARGE), 5, ("hat", "mug"))


def built(name, lesson=LESSON, **changes):
    return build_losses(loss_params(**{name: {"weight": 1.0, **changes}}), [name], lesson)[name]


def taught_batch(count=6, has_text=None):
    """Values of both teachers side by side: columns :5 and 5: of embeddings, :2 and 2: of log probabilities."""
    image = torch.cat([unit(count, 5, 3), unit(count, 7, 4)], dim=1)
    text = torch.cat([unit(count, 5, 5), unit(count, 7, 6)], dim=1)
    logits = [torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) for seed in (7, 8)]
    classes = torch.cat([value.log_softmax(1) for value in logits], dim=1)
    plain = batch(list(range(count)), has_text=has_text)
    return replace(plain, teacher_image=image, teacher_text=text, teacher_classes=classes)


@pytest.mark.parametrize(("count", "dim", "teacher_dim"), [(2, 3, 3), (9, 4, 11), (32, 16, 8)])
def test_contrastive_equals_open_clip(count, dim, teacher_dim):
    """Value, and gradients of embeddings and scale."""
    image, text = unit(count, dim, 0).requires_grad_(), unit(count, dim, 1).requires_grad_()
    scale = torch.tensor(14.0, requires_grad=True)
    taught = unit(count, teacher_dim, 2), unit(count, teacher_dim, 3)
    _, expected = DistillClipLoss()(image, text, scale, *taught, torch.tensor(40.0))
    found = contrastive_distillation(image, text, scale, *taught, (40.0, 40.0))
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = torch.autograd.grad(expected, (image, text, scale))
    for mine, theirs in zip(torch.autograd.grad(found, (image, text, scale)), wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)


def slow_contrastive(image, text, scales, teacher_image, teacher_text, teacher_scales):
    """Row by row and way by way; scales are (text -> image, image -> text)."""
    total, count = 0.0, len(image)
    for rows, columns, taught_rows, taught_columns, way in (
        (image, text, teacher_image, teacher_text, 1),
        (text, image, teacher_text, teacher_image, 0),
    ):
        for i in range(count):
            student = [scales[way] * float(rows[i] @ columns[j]) for j in range(count)]
            teacher = [teacher_scales[way] * float(taught_rows[i] @ taught_columns[j]) for j in range(count)]
            norm = math.log(sum(math.exp(value) for value in student))
            whole = sum(math.exp(value) for value in teacher)
            total -= sum(math.exp(t) / whole * (s - norm) for t, s in zip(teacher, student, strict=True)) / count / 2
    return total


def test_contrastive_with_a_scale_for_each_way_equals_a_slow_loop():
    values = unit(5, 4, 0), unit(5, 4, 1), unit(5, 6, 2), unit(5, 6, 3)
    found = contrastive_distillation(*values[:2], torch.tensor([3.0, 8.0]), *values[2:], (5.0, 12.0))
    assert found.item() == pytest.approx(slow_contrastive(*values[:2], (3, 8), *values[2:], (5, 12)), abs=1e-5)
    swapped = contrastive_distillation(*values[:2], torch.tensor([3.0, 8.0]), *values[2:], (12.0, 5.0))
    assert abs(swapped - found) > 1e-2


def test_contrastive_is_least_where_the_student_says_what_the_teacher_says():
    """There it is the entropy of the teacher's rows, and has no slope."""
    image, text = unit(6, 4, 0).requires_grad_(), unit(6, 4, 1)
    same = contrastive_distillation(image, text, torch.tensor(9.0), image.detach(), text, (9.0, 9.0))
    logits = 9 * image.detach() @ text.T
    entropy = [-(one.softmax(1) * one.log_softmax(1)).sum(1).mean() for one in (logits, logits.T)]
    assert same.item() == pytest.approx(float(sum(entropy)) / 2, abs=1e-5)
    assert torch.autograd.grad(same, image)[0].abs().max() < 1e-5
    other = contrastive_distillation(unit(6, 4, 8), text, torch.tensor(9.0), image.detach(), text, (9.0, 9.0))
    assert other > same


def test_feature_distances_by_hand():
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    assert feature_distillation(student, teacher, "cosine").item() == pytest.approx(0.2)
    assert feature_distillation(student, teacher, "mse").item() == pytest.approx(0.4)
    assert feature_distillation(2 * student, teacher, "cosine").item() == pytest.approx(0.2)
    assert feature_distillation(student[:0], teacher[:0], "mse") == 0
    one, other = unit(9, 6, 0), unit(9, 6, 1)
    assert feature_distillation(one, other, "mse").item() == pytest.approx(
        2 * feature_distillation(one, other, "cosine").item(), abs=1e-5
    )


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_class_distillation_equals_a_slow_loop(temperature):
    logits, teacher = 3 * unit(4, 5, 0), 6 * unit(4, 5, 1)
    expected = 0.0
    for i in range(4):
        p = [math.exp(float(value) / temperature) for value in teacher[i]]
        q = [math.exp(float(value) / temperature) for value in logits[i]]
        expected += sum(a / sum(p) * math.log(a / sum(p) * sum(q) / b) for a, b in zip(p, q, strict=True)) / 4
    found = class_distillation(logits, teacher, temperature)
    assert found.item() == pytest.approx(temperature**2 * expected, abs=1e-5)
    assert class_distillation(logits, teacher.log_softmax(1), temperature).item() == pytest.approx(
        found.item(), abs=1e-5
    )


def test_class_distillation_by_hand():
    """A student that halves against (3/4, 1/4): log 2 less the teacher's entropy."""
    teacher = torch.tensor([[0.75, 0.25]]).log()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert class_distillation(torch.zeros(1, 2), teacher, 1.0).item() == pytest.approx(math.log(2) - entropy, abs=1e-6)
    assert class_distillation(teacher + 5, teacher, 3.0).item() == pytest.approx(0, abs=1e-6)


HAS_TEXT = [True, True, False, True, True, False]


def by_teacher(name, said, batch):
    """What each teacher alone costs, from the plain functions on its own columns."""
    keep = batch.has_text
    image, text, scale = said.image_embedding, said.text_embedding, said.logit_scale
    costs = []
    for teacher, columns, classes in ((SMALL, slice(0, 5), slice(0, 2)), (LARGE, slice(5, 12), slice(2, 4))):
        taught = batch.teacher_image[:, columns], batch.teacher_text[:, columns]
        if name == "contrastive_distillation":
            kept = [value[keep] for value in (image, text, *taught)]
            costs.append(contrastive_distillation(*kept[:2], scale, *kept[2:], teacher.scale))
        else:
            costs.append(class_distillation(said.class_logits, batch.teacher_classes[:, classes], 2.0))
    return costs


@pytest.mark.parametrize("name", ["contrastive_distillation", "class_distillation"])
@pytest.mark.parametrize(
    ("teachers", "shares"),
    [({}, (0.5, 0.5)), ({"small": 3.0, "large": 1.0}, (0.75, 0.25)), ({"large": 2.0}, (0, 1)), ({"small": 1}, (1, 0))],
)
def test_several_teachers_are_averaged_by_their_shares(name, teachers, shares):
    seen = taught_batch(has_text=HAS_TEXT)
    said = outputs(unit(6, 5, 0), unit(6, 5, 1), class_logits=4 * unit(6, 2, 2))
    costs = by_teacher(name, said, seen)
    expected = sum(share * cost.item() for share, cost in zip(shares, costs, strict=True))
    assert built(name, teachers=teachers)(said, seen).item() == pytest.approx(expected, abs=1e-5)
    assert abs(costs[0] - costs[1]) > 1e-3, "or an average of anything would do"


def test_features_go_through_a_learned_map_only_where_widths_differ():
    loss = built("feature_distillation", teachers={"small": 3.0, "large": 1.0})
    assert [tuple(value.shape) for value in loss.parameters()] == [(7, 5)] * 2
    seen, said = taught_batch(has_text=HAS_TEXT), outputs(unit(6, 5, 0), unit(6, 5, 1))
    keep = seen.has_text
    image_map, text_map = (loss.maps[1][side].weight for side in ("image", "text"))
    small = feature_distillation(said.image_embedding, seen.teacher_image[:, :5], "cosine")
    small = small + feature_distillation(said.text_embedding[keep], seen.teacher_text[keep][:, :5], "cosine")
    large = feature_distillation(said.image_embedding @ image_map.T, seen.teacher_image[:, 5:], "cosine")
    large = large + feature_distillation(said.text_embedding[keep] @ text_map.T, seen.teacher_text[keep, 5:], "cosine")
    found = loss(said, seen)
    assert found.item() == pytest.approx((0.75 * small + 0.25 * large).item() / 2, abs=1e-6)
    found.backward()
    assert image_map.grad.abs().sum() > 0 and text_map.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["contrastive_distillation", "feature_distillation"])
def test_a_batch_without_texts_costs_no_more_than_its_images(name):
    seen = taught_batch(has_text=[False] * 6)
    image = unit(6, 5, 0).requires_grad_()
    found = built(name, teachers={"small": 1.0})(outputs(image, unit(6, 5, 1)), seen)
    by_image = feature_distillation(image, seen.teacher_image[:, :5], "cosine") / 2
    assert found.item() == pytest.approx(by_image.item() if name.startswith("feature") else 0.0)
    found.backward()


NONE = Teacher("texts", 0, (1.0, 1.0), ("hat", "mug"))


@pytest.mark.parametrize(
    ("name", "lesson", "asked", "told"),
    [
        (
            "contrastive_distillation",
            LESSON,
            {"big": 1.0},
            r"losses.contrastive_distillation.teachers names 'big', which is none of the teachers \(of retrieval: "
            r"small, large\); change it or plan.features",
        ),
        (
            "feature_distillation",
            DistillationTeachers((NONE, SMALL), 5, ()),
            {"texts": 1.0},
            r"names 'texts', which has no such head \(of retrieval: small\)",
        ),
        (
            "feature_distillation",
            DistillationTeachers((NONE,), 5, ()),
            {},
            r"no teacher has a head of retrieval \(texts\)",
        ),
        (
            "class_distillation",
            replace(LESSON, student_classes=("hat", "lamp")),
            {},
            "the 2 classes of teacher 'small' are not the 2 here, 'lamp' is in one of them alone",
        ),
        ("class_distillation", replace(LESSON, student_classes=("mug", "hat")), {}, "their order differs"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(name, lesson, asked, told):
    with pytest.raises(ValueError, match=told) as error:
        built(name, lesson, teachers=asked)
    assert "\n" not in str(error.value)


def test_a_teacher_without_the_head_takes_no_columns():
    found = select_teachers("feature_distillation", {}, (SMALL, NONE, LARGE), "retrieval")
    assert [(voice.teacher.name, voice.columns, voice.share) for voice in found] == [
        ("small", slice(0, 5), 0.5),
        ("large", slice(5, 12), 0.5),
    ]


@pytest.mark.parametrize(("key", "value"), [("weight", -1), ("teachers", {"a": 0}), ("temperature", 0)])
def test_params_refuse_what_means_nothing(key, value):
    with pytest.raises(ValueError, match=f"class_distillation.{key}"):
        loss_params(class_distillation={key: value})


def test_every_distillation_is_off_by_default():
    params = loss_params()
    assert [getattr(params, name).weight for name in DISTILLATION] == [0.0] * 3
