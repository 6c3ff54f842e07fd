"""Which cameras a model maps when a clip is seen from several sides: in views, pictures and metrics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metrics.multiview import GeneratedViews, protocol_cameras
from metrics.video_sources import code_spec, to_uint8_pv3d
from tests.helpers import tiny
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import Snapshot, save_snapshot
from training.sampling.clips import clip_spec, generate, generate_views
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["MapT", "Map", "All", "Non"])
def subject(request, tmp_path_factory) -> Snapshot:
    """A tiny model of each camera mode."""
    config = tiny.config(generator__camera_mode=request.param)
    path = tmp_path_factory.mktemp("modes") / "network-snapshot-000000.000.pkl"
    save_snapshot(path, config, tiny.networks(config), tiny.labels(0, 3, 16), {"kimg": 0.0})
    return load_generator(path)


def is_one_mapping(subject: Snapshot) -> bool:
    return subject.config.generator.camera_mode != "Non"


def test_views_are_mapped_as_the_model_s_videos_are(subject):
    """Where each frame's own camera is mapped, a view is the video of that camera; else one appearance is seen."""
    G = subject.G
    front, side = protocol_cameras()
    paths = [front.expand(2, -1), side.expand(2, -1)]
    clip = replace(clip_spec(G, 1, 2, paths[0]), times=torch.tensor([0.0, 1.0]))
    (seen,) = generate_views(G, clip, paths)
    (first,) = generate(G, clip)
    assert torch.equal(seen[0]["image"], first["image"])
    (video,) = generate(G, replace(clip, cameras=paths[1]))
    (one_appearance,) = generate(G, replace(clip, cameras=paths[1], mapped_with=front))
    assert not torch.equal(video["image"], one_appearance["image"]), "the two can be told apart"
    expected = one_appearance if is_one_mapping(subject) else video
    assert torch.equal(seen[1]["image"], expected["image"])
    (chosen,) = generate_views(G, replace(clip, mapped_with=front), paths)
    assert torch.equal(chosen[1]["image"], one_appearance["image"]), (
        "a mapping camera that is given counts for all views"
    )


def test_batches_of_several_views_are_those_of_the_whole(subject):
    G = subject.G
    front, side = protocol_cameras()
    paths = [front.expand(3, -1), side.expand(3, -1)]
    clip = clip_spec(G, 1, 2, paths[0])
    batches = list(generate_views(G, clip, paths, SamplingOptions(frames_per_batch=2)))
    assert [len(batch[1]["image"]) for batch in batches] == [2, 1]
    (whole,) = generate_views(G, clip, paths)
    for view in range(2):
        joined = torch.cat([batch[view]["image"] for batch in batches])
        torch.testing.assert_close(joined, whole[view]["image"], rtol=1e-4, atol=1e-5)


def test_the_four_views_of_id_cd_and_we(subject):
    source = GeneratedViews(subject, "", seed=3)
    assert ("mapping" in source.identity) != is_one_mapping(subject)
    front, side = protocol_cameras()
    clip = replace(code_spec(subject, 3, 5, side[None]), times=source.times(5)[:1])
    mapped_with = front if is_one_mapping(subject) else side
    (expected,) = generate(subject.G, replace(clip, mapped_with=mapped_with))
    shown = source.views(5).images[2].astype(int)
    assert np.abs(shown - to_uint8_pv3d(expected["image"])[0].numpy()).max() <= 1
