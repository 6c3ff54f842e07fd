"""One picture or video of one's own as a dataset, and the sentences for what is none."""

from pathlib import Path

import pytest

from dnnlib.errors import UserError
from preprocessing.single import make_dataset_of
from tests.helpers import tiny
from training.data.frames import encode_png


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
