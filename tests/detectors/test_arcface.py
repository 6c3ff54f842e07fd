"""detectors.arcface: the reference's preprocessing, blocks, embeddings and scores."""

import copy

import numpy as np
import pytest
import torch

from detectors.arcface import ArcFaceEmbedder, preprocess
from tests.helpers import golden
from tests.helpers.detector_weights import channels_first, crc32, faces
from tests.helpers.golden_metrics import array, hold

CASES = ("base", "up", "crop112")
UNIT = {"atol": 3e-6}
PAIRS = [(0, 2), (3, 1), (0, 1), (3, 2), (0, 3), (2, 1)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def embeddings(arcface) -> dict[str, torch.Tensor]:
    """Embeddings of each case, before the division by their length, [4, 512]."""
    with torch.inference_mode():
        return {case: arcface.unnormalised(preprocess(channels_first(faces(case)))) for case in CASES}


def scores(vectors: torch.Tensor) -> np.ndarray:
    return np.array([(vectors[a] @ vectors[b]).item() for a, b in PAIRS])


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_state_dict_has_the_public_names_and_shapes(arcface):
    lines = (golden.FOLDER / "metrics" / "arcface_state_dict_keys.txt").read_text().splitlines()
    listed = {name: shape for name, shape, *_ in (line.split("\t") for line in lines)}
    assert listed == {name: str(tuple(tensor.shape)) for name, tensor in arcface.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_preprocessing(case):
    x = preprocess(channels_first(faces(case)))
    hold("arcface", f"pre_{case}_val", x.numpy()[tuple(array("arcface", f"pre_{case}_idx").T)], **UNIT)
    exact = x.double()
    hold("arcface", f"pre_{case}_stats", [exact.min(), exact.max(), exact.mean(), exact.std(unbiased=False)], **UNIT)


def test_enlarged_frames_are_the_reference_s():
    hold("arcface", "crc32_up", crc32(faces("up")))


@pytest.mark.parametrize("case", CASES)
def test_embeddings_and_scores(case, embeddings):
    hold("arcface", f"prenorm_{case}", embeddings[case], atol=2e-3)  # of lengths near 400
    vectors = unit(embeddings[case])
    hold("arcface", f"emb_{case}", vectors, **UNIT)
    for precision in ("", "_f64"):
        hold("arcface", f"pair_scores_{case}{precision}", scores(vectors), **UNIT)


def test_id_score(embeddings):
    hold("arcface", "pairs", PAIRS)
    hold("arcface", "id_score", np.mean([scores(unit(embeddings[case])) for case in ("base", "up")]), **UNIT)


def test_blocks_and_embeddings_in_float64(arcface):
    exact, blocks = copy.deepcopy(arcface).double(), []
    for module in (exact.input_layer, *exact.body):
        module.register_forward_hook(lambda _, x, y: blocks.append(y[:1]))
    with torch.inference_mode():
        hold("arcface", "emb_base_f64", exact(preprocess(channels_first(faces("base"))).double()), atol=1e-6)
    hold("arcface", "block_shapes", [block.shape[1:] for block in blocks])
    stats = [[block.mean(), block.std(unbiased=False), block.abs().max()] for block in blocks]
    hold("arcface", "block_stats", stats, rtol=1e-4, atol=1e-4)
    values = [
        block.numpy()[tuple(where.T)] for block, where in zip(blocks[1:], array("arcface", "block_idx"), strict=True)
    ]
    hold("arcface", "block_val", values, rtol=1e-4, atol=1e-4)


def test_embedder_gives_unit_vectors_of_each_frame_alone(arcface, embeddings):
    embedder = ArcFaceEmbedder(arcface, name="test", checksum="")
    one = embedder(channels_first(faces("base"))[2:3])
    assert one.shape == (1, embedder.dim) and one.dtype == torch.float32
    torch.testing.assert_close(one, unit(embeddings["base"])[2:3], rtol=0, atol=3e-6)
    torch.testing.assert_close(one.norm(), torch.tensor(1.0))
