"""training.camera_checks.labels: a column of labels is what each of them is alone."""

import numpy as np
import pytest

from training.camera_checks import labels
from training.camera_checks.labels import LabelColumn
from training.cameras import canonical_label, label_fault, parse_label

CAMERA = canonical_label().tolist()
LABELS = [
    CAMERA,
    [*CAMERA[:24], 1],
    [True] * 25,
    ["1.5"] * 25,
    [*CAMERA[:3], float("nan"), *CAMERA[4:]],
    [*CAMERA[:3], None, *CAMERA[4:]],
    [*CAMERA[:3], 1e300, *CAMERA[4:]],
    [*CAMERA[:3], 10**400, *CAMERA[4:]],
    [*CAMERA[:3], [1], *CAMERA[4:]],
    CAMERA[:24],
    None,
    "text",
    {},
    [2 * number for number in CAMERA],
]


@pytest.mark.parametrize("batch", [1, 3, 1024])
def test_a_column_is_its_labels(monkeypatch, batch):
    monkeypatch.setattr(labels, "BATCH", batch)
    column = LabelColumn()
    for number, label in enumerate(LABELS):
        column.add(str(number), label)
    expected = [parse_label(label) for label in LABELS]
    sound = [camera for camera in expected if camera is not None]
    assert np.array_equal(column.cameras(), np.stack(sound))
    assert column.names == [str(number) for number, camera in enumerate(expected) if camera is not None]
    broken: dict[str, list[str]] = {}
    for number, (label, camera) in enumerate(zip(LABELS, expected, strict=True)):
        if camera is None:
            broken.setdefault(label_fault(label), []).append(str(number))
    assert column.broken == broken
    assert list(column.broken) == list(broken), "in order"
