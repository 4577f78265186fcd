"""Colours of charts: apart from each other for every kind of colour vision, and clear on their ground."""

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest

CSS = resources.files("pipeline_lib.report").joinpath("chart.css").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--chart-(\w+): (#\w{6})", CSS.split("@media")[part])) for part in (0, 1))
# Machado, Oliveira and Fernandes 2009: complete loss of one kind of cone, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(code):
    values = np.array([int(code[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE 1976 L*a*b* of linear RGB, D65."""
    ratio = XYZ @ np.clip(rgb, 0, 1) / (XYZ @ np.ones(3))
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(first, second):
    """The ratio of WCAG 2."""
    low, high = sorted(float(XYZ[1] @ linear(code)) for code in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", VISION)
@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_any_two_lines_differ_for_every_vision(scheme, kind):
    seen = {name: lab(np.array(VISION[kind]) @ linear(scheme[name])) for name in scheme if re.match(r"c\d", name)}
    assert len(seen) == 6
    distances = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)}
    # 2.3 is a just noticeable difference; shapes and dashes tell lines apart as well.
    assert min(distances.values()) > 12, min(distances, key=distances.get)
    # Right against wrong, as in the confusion matrix, is the pair that colour alone tells apart.
    right, wrong = (lab(np.array(VISION[kind]) @ linear(scheme[name])) for name in ("right", "wrong"))
    assert np.linalg.norm(right - wrong) > 50


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_marks_and_text_are_clear_on_their_ground(scheme):
    for name, code in scheme.items():
        if re.match(r"c\d|right|wrong", name):
            assert contrast(code, scheme["ground"]) >= 3, name  # WCAG 1.4.11, graphical objects
    for name in ("ink", "faint"):
        assert contrast(scheme[name], scheme["ground"]) >= 4.5, name  # WCAG 1.4.3, text
