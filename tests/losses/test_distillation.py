"""Distillation losses against open_clip, slow loops, hand-worked values and closed forms; several teachers; errors."""

import math
from dataclasses import replace

import pytest
import torch
from drawn_pairs import batch, loss_params, outputs, unit
from open_clip.loss import DistillClipLoss

from pipeline_lib.losses.build import DISTILLATION, build_losses
from pipeline_lib.losses.class_distillation import class_distillation
from pipeline_lib.losses.contrastive_distillation import TeacherPairs, contrastive_distillation
from pipeline_lib.losses.feature_distillation import feature_distillation
from pipeline_lib.losses.teachers import DistillationTeachers, Teacher, select_teachers

SMALL = Teacher("small", 5, (20.0, 20.0), ("hat", "mug"))
LARGE = Teacher("large", 7, (50.0, 30.0), ("hat", "mug"))
TEACHERS = DistillationTeachers((SMALL, LARGE), 5, ("hat", "mug"))


def built(name, teachers=TEACHERS, chosen=None):
    """The named loss; `chosen` are its params' teachers with their weights, all if None."""
    params = loss_params(**{name: {"weight": 1.0, **({} if chosen is None else {"teachers": chosen})}})
    return build_losses(params, [name], teachers)[name]


def batch_with_teachers(count=6, has_text=None):
    """Outputs of both teachers side by side: columns :5 and 5: of embeddings, :2 and 2: of log probabilities."""
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
    teacher = TeacherPairs(unit(count, teacher_dim, 2), unit(count, teacher_dim, 3), (40.0, 40.0))
    _, expected = DistillClipLoss()(image, text, scale, teacher.image, teacher.text, torch.tensor(40.0))
    found = contrastive_distillation(image, text, scale, teacher)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    gradients = torch.autograd.grad(found, (image, text, scale))
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, (image, text, scale)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def slow_contrastive(image, text, scales, teacher):
    """Row by row and direction by direction; scales are (text -> image, image -> text)."""
    total, count = 0.0, len(image)
    for rows, columns, teacher_rows, teacher_columns, direction in (
        (image, text, teacher.image, teacher.text, 1),
        (text, image, teacher.text, teacher.image, 0),
    ):
        for i in range(count):
            logits = [scales[direction] * float(rows[i] @ columns[j]) for j in range(count)]
            targets = [teacher.scale[direction] * float(teacher_rows[i] @ teacher_columns[j]) for j in range(count)]
            log_norm = math.log(sum(math.exp(value) for value in logits))
            norm = sum(math.exp(value) for value in targets)
            total -= sum(math.exp(t) / norm * (s - log_norm) for t, s in zip(targets, logits, strict=True)) / count / 2
    return total


def test_contrastive_with_a_scale_for_each_direction_equals_a_slow_loop():
    image, text, scale = unit(5, 4, 0), unit(5, 4, 1), torch.tensor([3.0, 8.0])
    teacher = TeacherPairs(unit(5, 6, 2), unit(5, 6, 3), (5.0, 12.0))
    found = contrastive_distillation(image, text, scale, teacher)
    assert found.item() == pytest.approx(slow_contrastive(image, text, (3, 8), teacher), abs=1e-5)
    swapped = contrastive_distillation(image, text, scale, replace(teacher, scale=(12.0, 5.0)))
    assert abs(swapped - found) > 1e-2


def test_contrastive_has_its_minimum_where_student_and_teacher_are_equal():
    """There it is the entropy of the teacher's rows, and its gradient is 0."""
    image, text = unit(6, 4, 0).requires_grad_(), unit(6, 4, 1)
    teacher = TeacherPairs(image.detach(), text, (9.0, 9.0))
    same = contrastive_distillation(image, text, torch.tensor(9.0), teacher)
    logits = 9 * image.detach() @ text.T
    entropy = [-(one.softmax(1) * one.log_softmax(1)).sum(1).mean() for one in (logits, logits.T)]
    assert same.item() == pytest.approx(float(sum(entropy)) / 2, abs=1e-5)
    assert torch.autograd.grad(same, image)[0].abs().max() < 1e-5
    other = contrastive_distillation(unit(6, 4, 8), text, torch.tensor(9.0), teacher)
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
    """A uniform student against (3/4, 1/4): log 2 minus the teacher's entropy."""
    teacher = torch.tensor([[0.75, 0.25]]).log()
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert class_distillation(torch.zeros(1, 2), teacher, 1.0).item() == pytest.approx(math.log(2) - entropy, abs=1e-6)
    assert class_distillation(teacher + 5, teacher, 3.0).item() == pytest.approx(0, abs=1e-6)


HAS_TEXT = [True, True, False, True, True, False]


def by_teacher(name, student, batch):
    """The loss against each teacher alone, from the plain functions on its columns."""
    rows = batch.has_text
    losses = []
    for teacher, columns, classes in ((SMALL, slice(0, 5), slice(0, 2)), (LARGE, slice(5, 12), slice(2, 4))):
        if name == "contrastive_distillation":
            image, text = student.image_embedding[rows], student.text_embedding[rows]
            pairs = TeacherPairs(
                batch.teacher_image[rows][:, columns], batch.teacher_text[rows][:, columns], teacher.scale
            )
            losses.append(contrastive_distillation(image, text, student.logit_scale, pairs))
        else:
            losses.append(class_distillation(student.class_logits, batch.teacher_classes[:, classes], 2.0))
    return losses


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_target_of_a_mixed_row_is_the_mixture_of_both_teachers_rows(temperature):
    """KL divergence from share * p_i + (1 - share) * p_j; an equal student has loss 0."""
    logits, teacher = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    share, partner = torch.tensor([0.3, 1.0, 0.8]), torch.tensor([1, 0, 2])
    total = 0.0
    for i in range(3):
        own, other = ((teacher[j] / temperature).softmax(0) for j in (i, int(partner[i])))
        target, student = share[i] * own + (1 - share[i]) * other, (logits[i] / temperature).softmax(0)
        total += float((target * (target / student).log()).sum())
    mixed = (teacher[partner], share)
    found = class_distillation(logits, teacher, temperature, mixed).item()
    assert found == pytest.approx(temperature**2 * total / 3, rel=1e-5)
    assert found != pytest.approx(class_distillation(logits, teacher, temperature).item(), rel=1e-3)
    mixture = share[:, None] * teacher.softmax(1) + (1 - share[:, None]) * teacher[partner].softmax(1)
    assert class_distillation(mixture.log(), teacher, 1.0, mixed).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_of_a_mixed_batch_reads_each_teachers_columns():
    plain, loss = batch_with_teachers(), built("class_distillation")
    partner, share = torch.tensor([1, 2, 3, 4, 5, 0]), torch.tensor([0.2, 0.4, 1.0, 0.5, 0.6, 0.7])
    mixed = replace(plain, mix_share=share, mixed_teacher_classes=plain.teacher_classes[partner])
    student = replace(outputs(6, 5), class_logits=torch.randn(6, 2, generator=torch.Generator().manual_seed(9)))
    expected = [
        class_distillation(
            student.class_logits,
            plain.teacher_classes[:, columns],
            2.0,
            (plain.teacher_classes[partner][:, columns], share),
        )
        for columns in (slice(0, 2), slice(2, 4))
    ]
    assert loss(student, mixed).item() == pytest.approx(torch.stack(expected).mean().item())
    assert loss(student, mixed).item() != pytest.approx(loss(student, plain).item(), rel=1e-3)


@pytest.mark.parametrize("name", ["contrastive_distillation", "class_distillation"])
@pytest.mark.parametrize(
    ("teachers", "weights"),
    [({}, (0.5, 0.5)), ({"small": 3.0, "large": 1.0}, (0.75, 0.25)), ({"large": 2.0}, (0, 1)), ({"small": 1}, (1, 0))],
)
def test_several_teachers_are_averaged_by_their_weights(name, teachers, weights):
    inputs = batch_with_teachers(has_text=HAS_TEXT)
    student = outputs(unit(6, 5, 0), unit(6, 5, 1), class_logits=4 * unit(6, 2, 2))
    losses = by_teacher(name, student, inputs)
    expected = sum(weight * loss.item() for weight, loss in zip(weights, losses, strict=True))
    assert built(name, chosen=teachers)(student, inputs).item() == pytest.approx(expected, abs=1e-5)
    assert abs(losses[0] - losses[1]) > 1e-3, "equal losses would hide a wrong weight"


def test_a_learned_map_is_used_only_where_dims_differ():
    loss = built("feature_distillation", chosen={"small": 3.0, "large": 1.0})
    assert [tuple(value.shape) for value in loss.parameters()] == [(7, 5)] * 2
    inputs, student = batch_with_teachers(has_text=HAS_TEXT), outputs(unit(6, 5, 0), unit(6, 5, 1))
    rows = inputs.has_text
    image_map, text_map = (loss.maps[1][side].weight for side in ("image", "text"))
    image, text = student.image_embedding, student.text_embedding[rows]
    teacher_image, teacher_text = inputs.teacher_image, inputs.teacher_text[rows]
    small = feature_distillation(image, teacher_image[:, :5], "cosine")
    small = small + feature_distillation(text, teacher_text[:, :5], "cosine")
    large = feature_distillation(image @ image_map.T, teacher_image[:, 5:], "cosine")
    large = large + feature_distillation(text @ text_map.T, teacher_text[:, 5:], "cosine")
    found = loss(student, inputs)
    assert found.item() == pytest.approx((0.75 * small + 0.25 * large).item() / 2, abs=1e-6)
    found.backward()
    assert image_map.grad.abs().sum() > 0 and text_map.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["contrastive_distillation", "feature_distillation"])
def test_a_batch_without_texts_has_the_loss_of_its_images(name):
    inputs = batch_with_teachers(has_text=[False] * 6)
    image = unit(6, 5, 0).requires_grad_()
    found = built(name, chosen={"small": 1.0})(outputs(image, unit(6, 5, 1)), inputs)
    by_image = feature_distillation(image, inputs.teacher_image[:, :5], "cosine") / 2
    assert found.item() == pytest.approx(by_image.item() if name.startswith("feature") else 0.0)
    found.backward()


NO_SPACE = Teacher("texts", 0, (1.0, 1.0), ("hat", "mug"))


@pytest.mark.parametrize(
    ("name", "teachers", "chosen", "message"),
    [
        (
            "contrastive_distillation",
            TEACHERS,
            {"big": 1.0},
            r"losses.contrastive_distillation.teachers names 'big', which is none of the teachers "
            r"\(with a retrieval head: small, large\); change it or plan.teachers",
        ),
        (
            "feature_distillation",
            DistillationTeachers((NO_SPACE, SMALL), 5, ()),
            {"texts": 1.0},
            r"names 'texts', which has no such head \(with a retrieval head: small\)",
        ),
        (
            "feature_distillation",
            DistillationTeachers((NO_SPACE,), 5, ()),
            {},
            r"no teacher has a retrieval head \(texts\)",
        ),
        (
            "class_distillation",
            replace(TEACHERS, student_classes=("hat", "lamp")),
            {},
            r"the 2 classes of teacher 'small' are not the student's 2: 1 only there \('mug'\), 1 only here \('lamp'\)",
        ),
        ("class_distillation", replace(TEACHERS, student_classes=("mug", "hat")), {}, "their order differs"),
    ],
)
def test_unusable_teachers_are_refused_in_one_line(name, teachers, chosen, message):
    with pytest.raises(ValueError, match=message) as error:
        built(name, teachers, chosen)
    assert "\n" not in str(error.value)


def test_a_teacher_without_the_head_has_no_columns():
    slices = select_teachers("feature_distillation", {}, (SMALL, NO_SPACE, LARGE), "retrieval")
    assert [(one.teacher.name, one.columns, one.weight) for one in slices] == [
        ("small", slice(0, 5), 0.5),
        ("large", slice(5, 12), 0.5),
    ]


@pytest.mark.parametrize(("key", "value"), [("weight", -1), ("teachers", {"a": 0}), ("temperature", 0)])
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=f"class_distillation.{key}"):
        loss_params(class_distillation={key: value})


def test_every_distillation_is_off_by_default():
    params = loss_params()
    assert [getattr(params, name).weight for name in DISTILLATION] == [0.0] * 5
