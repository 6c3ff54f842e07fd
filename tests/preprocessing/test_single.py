"""One picture or video of one's own as a dataset, and the sentences for what is none."""

from pathlib import Path

import pytest

from dnnlib.errors import UserError
from preprocessing.single import make_dataset_of
from tests.helpers import tiny
from training import synthetic
from training.cameras import frontal_label
from training.data.frames import encode_png
from training.synthetic import Expression


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("text.png", b"hello", r"text\.png"),
        ("cut.jpg", b"\xff\xd8\xff", r"cut\.jpg"),
        ("me.txt", b"hello", r"me\.txt is no picture or video by its name"),
        ("noise.png", encode_png(tiny.pixels(0, 3, 64, 64).numpy()), "no face was found"),
    ],
)
def test_what_gives_no_clip_gets_a_sentence(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as raised:
        make_dataset_of(source, tmp_path / "made.zip", 32)
    assert "files cannot be read" not in str(raised.value) and not (tmp_path / "made.zip").exists()


@pytest.mark.parametrize(("left", "doubt"), [(0, None), (105, "cut off: ")])
def test_a_face_at_the_edge_is_taken_with_a_warning(left: int, doubt: str | None, tmp_path: Path) -> None:
    """What lies beyond the edge is filled in by mirroring: a second half of a face, perhaps."""
    frame, _ = synthetic.render_frame(synthetic.random_identity(3), Expression(), frontal_label().numpy(), 256)
    (tmp_path / "me.png").write_bytes(encode_png(frame[:, :, left:]))
    notes = make_dataset_of(tmp_path / "me.png", tmp_path / "made.zip", 64)
    warnings = [note for note in notes if note.startswith("Warning: me: ")]
    assert [warning.partition("me: ")[2][:9] for warning in warnings] == ([] if doubt is None else [doubt])
