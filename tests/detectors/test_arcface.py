"""detectors.arcface: the reference's preprocessing, blocks, embeddings and scores."""

import copy

import numpy as np
import pytest
import torch

from detectors.arcface import ArcFaceEmbedder, preprocess
from metrics.multiview import PAIRS_IDENTITY
from tests.helpers import golden
from tests.helpers.detector_weights import channels_first, crc32, faces
from tests.helpers.golden_metrics import array, hold

CASES = ("base", "up", "crop112")
UNIT = 3e-6
pytestmark = pytest.mark.usefixtures("one_thread")


def prepared(case: str) -> torch.Tensor:
    return preprocess(channels_first(faces(case)))


@pytest.fixture(scope="module")
def embeddings(arcface) -> dict[str, torch.Tensor]:
    """Embeddings of each case, before the division by their length, [4, 512]."""
    with torch.inference_mode():
        return {case: arcface.unnormalised(prepared(case)) for case in CASES}


def unit(vectors: torch.Tensor) -> torch.Tensor:
    lengths = vectors.norm(dim=1, keepdim=True)
    return vectors / lengths


def scores(vectors: torch.Tensor) -> np.ndarray:
    similarities = vectors @ vectors.T
    return np.array([similarities[pair].item() for pair in PAIRS_IDENTITY])


def picked(values: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """Values at places [P, dimensions]."""
    return values.numpy()[tuple(places.T)]


def test_state_dict_has_the_public_names_and_shapes(arcface):
    listing = golden.FOLDER / "metrics" / "arcface_state_dict_keys.txt"
    lines = [line.split("\t") for line in listing.read_text().splitlines()]
    listed = {name: shape for name, shape, *_ in lines}
    shapes = {name: str(tuple(tensor.shape)) for name, tensor in arcface.state_dict().items()}
    assert shapes == listed


@pytest.mark.parametrize("case", CASES)
def test_preprocessing(case):
    x = prepared(case)
    places = array("arcface", f"pre_{case}_idx")
    hold("arcface", f"pre_{case}_val", picked(x, places), atol=UNIT)
    exact = x.double()
    deviation = exact.std(unbiased=False)
    stats = [exact.min(), exact.max(), exact.mean(), deviation]
    hold("arcface", f"pre_{case}_stats", stats, atol=UNIT)


def test_enlarged_frames_are_the_reference_s():
    hold("arcface", "crc32_up", crc32(faces("up")))


@pytest.mark.parametrize("case", CASES)
def test_embeddings_and_scores(case, embeddings):
    hold("arcface", f"prenorm_{case}", embeddings[case], atol=2e-3)  # of lengths near 400
    vectors = unit(embeddings[case])
    hold("arcface", f"emb_{case}", vectors, atol=UNIT)
    hold("arcface", f"pair_scores_{case}", scores(vectors), atol=UNIT)
    hold("arcface", f"pair_scores_{case}_f64", scores(vectors), atol=UNIT)


def test_id_score(embeddings):
    hold("arcface", "pairs", PAIRS_IDENTITY)
    base = scores(unit(embeddings["base"]))
    up = scores(unit(embeddings["up"]))
    hold("arcface", "id_score", np.mean([base, up]), atol=UNIT)


@pytest.fixture(scope="module")
def exact_blocks(arcface) -> list[torch.Tensor]:
    """Outputs of all blocks in float64 for the first frame of the case base; compares the embeddings, too."""
    exact = copy.deepcopy(arcface).double()
    blocks = []

    def remember(module, inputs, output) -> None:
        blocks.append(output[:1])

    for module in (exact.input_layer, *exact.body):
        module.register_forward_hook(remember)
    with torch.inference_mode():
        embedded = exact(prepared("base").double())
    hold("arcface", "emb_base_f64", embedded, atol=1e-6)
    return blocks


def test_blocks_in_float64(exact_blocks):
    shapes = [block.shape[1:] for block in exact_blocks]
    hold("arcface", "block_shapes", shapes)
    stats = []
    for block in exact_blocks:
        deviation = block.std(unbiased=False)
        stats.append([block.mean(), deviation, block.abs().max()])
    hold("arcface", "block_stats", stats, rtol=1e-4, atol=1e-4)


def test_values_of_blocks_in_float64(exact_blocks):
    values = []
    places = array("arcface", "block_idx")
    for block, where in zip(exact_blocks[1:], places, strict=True):
        values.append(picked(block, where))
    hold("arcface", "block_val", values, rtol=1e-4, atol=1e-4)


def test_embedder_gives_unit_vectors_of_each_frame_alone(arcface, embeddings):
    embedder = ArcFaceEmbedder(arcface, name="test", checksum="")
    frames = channels_first(faces("base"))
    one = embedder(frames[2:3])
    assert one.shape == (1, embedder.dim)
    assert one.dtype == torch.float32
    together = unit(embeddings["base"])
    torch.testing.assert_close(one, together[2:3], rtol=0, atol=UNIT)
    torch.testing.assert_close(one.norm(), torch.tensor(1.0))
