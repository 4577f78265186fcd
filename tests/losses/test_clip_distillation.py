"""Coarse and frame distillation against slow loops and closed forms; masks; several teachers; errors."""

import math
from dataclasses import replace

import pytest
import torch
from drawn_pairs import batch, loss_params, outputs, unit

from pipeline_lib.losses.build import TEACHER_OUTPUTS, build_losses
from pipeline_lib.losses.coarse_distillation import ScaledSimilarities, coarse_distillation
from pipeline_lib.losses.frame_distillation import frame_distillation
from pipeline_lib.losses.teachers import DistillationTeachers, Teacher
from pipeline_lib.losses.video_scores.scores import SCORES

SMALL = Teacher("small", 5, (20.0, 20.0), ())
LARGE = Teacher("large", 7, (50.0, 30.0), (), words=True)
OTHER = Teacher("other", 4, (40.0, 40.0), (), words=True)
TEACHERS = DistillationTeachers((SMALL, LARGE, OTHER), 6, ())
COUNT, NUM_FRAMES = 6, (3, 1, 4, 2, 4, 1)


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def built(name, **changes):
    return build_losses(loss_params(**{name: {"weight": 1.0, **changes}}), [name], TEACHERS)[name]


def batch_of_clips(has_text=None):
    """Frames of three teachers side by side, words of two with tokenizers of their own."""
    frame_mask = torch.arange(4) < torch.tensor(NUM_FRAMES)[:, None]
    of_each = [torch.arange(5) < torch.tensor(counts)[:, None] for counts in ((5, 2, 3, 1, 4, 2), (1, 3, 2, 4, 5, 2))]
    word_mask = torch.stack(of_each, dim=-1)
    return replace(
        batch(list(range(COUNT)), has_text=has_text),
        teacher_frames=drawn(COUNT, 4, 16, seed=0),
        frame_mask=frame_mask,
        teacher_text=drawn(COUNT, 16, seed=1),
        teacher_words=drawn(COUNT, 5, 11, seed=2),
        teacher_word_mask=word_mask,
    )


def softmax(values):
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def pearson(one, other):
    centred = [[value - sum(values) / len(values) for value in values] for values in (one, other)]
    dot, norms = sum(a * b for a, b in zip(*centred, strict=True)), [math.hypot(*values) for values in centred]
    return dot / math.prod(norms)


def slow_coarse(student, teacher):
    """Row by row, then column by column; each is (values, scale of rows, scale of columns)."""
    (s, *s_scales), (t, *t_scales) = student, teacher
    total = 0.0
    for axis in (0, 1):
        rows = [
            [[scales[axis] * float(value) for value in row] for row in (matrix if axis == 0 else matrix.T)]
            for matrix, scales in ((s, s_scales), (t, t_scales))
        ]
        losses = [1 - pearson(softmax(one), softmax(other)) for one, other in zip(*rows, strict=True)]
        total += sum(losses) / len(losses)
    return total


@pytest.mark.parametrize("count", [2, 3, 9])
def test_coarse_equals_a_slow_loop(count):
    student, teacher = drawn(count, count, seed=0), drawn(count, count, seed=1)
    found = coarse_distillation(ScaledSimilarities(student, 3.0, 2.0), ScaledSimilarities(teacher, 1.0, 4.0))
    assert found.item() == pytest.approx(slow_coarse((student, 3.0, 2.0), (teacher, 1.0, 4.0)), abs=1e-5)


def test_coarse_is_0_for_equal_probabilities_and_4_for_opposite_ones():
    """A constant added to all values changes no probability. Two products have a correlation of 1 or -1."""
    values = drawn(5, 5, seed=0).requires_grad_()
    same = coarse_distillation(
        ScaledSimilarities(values, 2.0, 2.0), ScaledSimilarities(values.detach() + 0.3, 2.0, 2.0)
    )
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(same, values)[0].abs().max() < 1e-3
    two = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    opposite = coarse_distillation(ScaledSimilarities(two, 1.0, 1.0), ScaledSimilarities(1 - two, 1.0, 1.0))
    assert opposite.item() == pytest.approx(4)


def test_coarse_of_equal_probabilities_has_no_nan():
    """A teacher that knows nothing: the correlation is 0, and the gradient is finite."""
    values = drawn(4, 4, seed=0).requires_grad_()
    found = coarse_distillation(ScaledSimilarities(values, 1.0, 1.0), ScaledSimilarities(torch.ones(4, 4), 1.0, 1.0))
    found.backward()
    assert found.item() == pytest.approx(2) and values.grad.isfinite().all()
    assert coarse_distillation(*[ScaledSimilarities(values[:1, :1], 1.0, 1.0)] * 2).item() == 0


def slow_frame(logits, cosines, counts):
    total = 0.0
    for row, count in enumerate(counts):
        weights = softmax([float(value) for value in cosines[row][:count]])
        student = softmax([float(value) for value in logits[row][:count]])
        total -= sum(w * math.log(s) for w, s in zip(weights, student, strict=True))
    return total / sum(counts)


def test_frame_equals_a_slow_loop_without_its_padding():
    logits, cosines = 3 * drawn(COUNT, 4, seed=0), drawn(COUNT, 4, seed=1)
    mask = torch.arange(4) < torch.tensor(NUM_FRAMES)[:, None]
    found = frame_distillation(logits, cosines, mask)
    assert found.item() == pytest.approx(slow_frame(logits, cosines, NUM_FRAMES), abs=1e-6)
    padded = [torch.where(mask, value, 1e4) for value in (logits, cosines)]
    assert frame_distillation(*padded, mask).item() == pytest.approx(found.item(), abs=1e-6)


def test_frame_has_its_minimum_where_the_weights_are_equal():
    cosines, mask = drawn(3, 4, seed=1), torch.arange(4) < torch.tensor([4, 2, 1])[:, None]
    logits = (cosines + 5).requires_grad_()
    found = frame_distillation(logits, cosines, mask)
    assert torch.autograd.grad(found, logits)[0].abs().max() < 1e-6
    other = frame_distillation(logits.flip(1), cosines, mask)
    assert other > found


HAS_TEXT = [True, True, False, True, True, True]
COLUMNS = {"small": slice(0, 5), "large": slice(5, 12), "other": slice(12, 16)}
WORD_COLUMNS = {"large": (0, slice(0, 7)), "other": (1, slice(7, 11))}


@pytest.mark.parametrize("shares", [{}, {"large": 3.0, "small": 1.0}, {"other": 1.0}])
def test_coarse_averages_its_teachers_each_with_its_score(shares):
    """Rows without a text are left out; each teacher's frames, words and scales are its own."""
    inputs, rows = batch_of_clips(HAS_TEXT), torch.tensor([0, 1, 3, 4, 5])
    scores = {name: kind for name, kind in (("large", "x_clip"), ("small", "ts2_net")) if not shares or name in shares}
    student = outputs(unit(COUNT, 6, 4), unit(COUNT, 6, 5), scale=[7.0, 9.0])
    weights = shares or dict.fromkeys(COLUMNS, 1.0)
    expected, parts = 0.0, []
    for teacher in TEACHERS.teachers:
        if teacher.name not in weights:
            continue
        kind, words = scores.get(teacher.name, "mean"), (None, None)
        if kind == "x_clip":
            number, columns = WORD_COLUMNS[teacher.name]
            words = inputs.teacher_words[rows][..., columns], inputs.teacher_word_mask[rows][..., number]
        own = COLUMNS[teacher.name]
        frames, sentence = inputs.teacher_frames[rows][..., own], inputs.teacher_text[rows][:, own]
        target = SCORES[kind].score(frames, inputs.frame_mask[rows], sentence, *words)
        similarities = student.text_embedding[rows] @ student.image_embedding[rows].T
        parts.append(slow_coarse((similarities, 7.0, 9.0), (target, *teacher.scale)))
        expected += weights[teacher.name] / sum(weights.values()) * parts[-1]
    loss = built("coarse_distillation", teachers=shares, score=scores)
    assert loss(student, inputs).item() == pytest.approx(expected, abs=1e-5)
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("shares", [{}, {"large": 3.0, "small": 1.0}])
def test_frame_averages_its_teachers(shares):
    """The logits of all clips lie one after another, those of clips without a text too."""
    inputs, rows = batch_of_clips(HAS_TEXT), [0, 1, 3, 4, 5]
    flat = drawn(sum(NUM_FRAMES), seed=8).requires_grad_()
    student = outputs(unit(COUNT, 6, 4), unit(COUNT, 6, 5), frame_logits=flat)
    by_clip, weights = flat.detach().split(NUM_FRAMES), shares or dict.fromkeys(COLUMNS, 1.0)
    expected = 0.0
    for name, weight in weights.items():
        own = COLUMNS[name]
        frames, sentences = inputs.teacher_frames[rows][..., own], inputs.teacher_text[rows][:, own]
        cosines = torch.cosine_similarity(frames, sentences[:, None], dim=-1)
        loss = slow_frame([by_clip[row] for row in rows], cosines, [NUM_FRAMES[row] for row in rows])
        expected += weight / sum(weights.values()) * loss
    found = built("frame_distillation", teachers=shares)(student, inputs)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    found.backward()
    assert flat.grad[4:8].abs().max() == 0 and flat.grad.abs().sum() > 0


def test_a_batch_without_texts_has_no_loss():
    inputs, image = batch_of_clips([False] * COUNT), unit(COUNT, 6, 4).requires_grad_()
    logits = drawn(sum(NUM_FRAMES), seed=8).requires_grad_()
    student = outputs(image, unit(COUNT, 6, 5), frame_logits=logits)
    for name, changes in (("coarse_distillation", {"score": {"large": "x_clip"}}), ("frame_distillation", {})):
        loss = built(name, **changes)(student, inputs)
        loss.backward()
        assert loss.item() == 0 and image.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"score": {"small": "x_clip"}},
            r"losses.coarse_distillation.score.small = x_clip compares words, but teacher 'small' has none \(with "
            r"words: large, other\); set features.teacher_words = true and run `dvc repro`, or set score.small = mean",
        ),
        (
            {"score": {"big": "mean"}},
            r"score names 'big', which is none of the teachers that the loss reads \(small, l",
        ),
        (
            {"score": {"large": "mean"}, "teachers": {"small": 1}},
            r"score names 'large', .* \(small\); change it or plan",
        ),
    ],
)
def test_scores_that_no_teacher_has_are_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as error:
        built("coarse_distillation", **changes)
    assert "\n" not in str(error.value)


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="coarse_distillation.score.big"):
        loss_params(coarse_distillation={"score": {"big": "max"}})


def test_every_distillation_lists_what_it_reads():
    from pipeline_lib.losses.build import DISTILLATION

    assert set(TEACHER_OUTPUTS) == set(DISTILLATION)
