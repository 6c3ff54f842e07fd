"""What the server can do for a page, without HTTP: the state, pictures, paths, latents, videos."""

import tempfile
import threading
from collections.abc import Hashable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

from applications.latents import Latents
from dnnlib.errors import UserError
from dnnlib.files import file_checksum, parse_json, shown
from training.cameras import resample_labels
from training.sampling.camera_paths import cameras_of
from training.sampling.options import LAYERS
from viewer.drawing import Artist, Picture
from viewer.exporting import DONE, RUNNING, Export
from viewer.messages import MAX_KEYS, FrameWish, VideoWish, frame_wish, path_wish, video_wish
from viewer.models import LOADING, READY, Follower, Load, Panel
from viewer.worker import Busy, Work, Worker

ANSWER_SECONDS = 120.0  # that a picture may take
NOT_YET = "The model is still loading."

Plain = dict[str, Any]


class Service:
    """The models of a viewer and what computes with them. `close` ends its threads and removes its files.

    Args:
        paths: of the models, side by side.
        load: loads one of them.
        seconds: between two looks at whether they have changed on the disk.
    """

    def __init__(self, paths: Sequence[Path], load: Load, seconds: float | None = None):
        self.panels = [Panel(path=path) for path in paths]
        self.worker = Worker()
        self.follower = Follower(self.panels, load, **({} if seconds is None else {"seconds": seconds}))
        self.folder = tempfile.TemporaryDirectory(prefix="pv3d-viewer-")
        self.export: Export | None = None
        self.exports = 0  # that were begun
        self.uploading = threading.Lock()  # one file at a time
        self.exporting = threading.Lock()

    def close(self) -> None:
        """End all threads and remove all files."""
        self.follower.stop()
        with self.exporting:
            if self.export is not None:
                self.export.stop()
        self.worker.stop()
        self.folder.cleanup()

    # --- Pictures -----------------------------------------------------------------------------------------------------

    def state(self) -> Plain:
        """Return what the page should know of models and of the video."""
        export = self.export
        return {
            "panels": [_about(panel) for panel in self.panels],
            "export": None if export is None else export.about(),
            "layers": list(LAYERS),
        }

    def frame(self, body: bytes) -> tuple[Picture, int]:
        """Return the picture that a request asks for, and the version of the model that it is of.

        Raises:
            UserError: it asks for what there is not. Superseded: the same page has asked for a newer one.
        """
        wish = frame_wish(body)
        artist, version = self._artist(wish.panel)
        work = _drawing(artist, wish)
        return self._result((wish.client, wish.panel), work), version

    def _result(self, key: Hashable, work: Work) -> Any:
        """Return what the worker's `work` returns. Busy if that takes too long."""
        future = self.worker.ask(key, work)
        try:
            return future.result(timeout=ANSWER_SECONDS)
        except futures.TimeoutError:
            raise Busy(f"That takes more than {ANSWER_SECONDS:g} seconds: ask for less.") from None

    def _artist(self, number: int) -> tuple[Artist, int]:
        if number >= len(self.panels):
            raise UserError("There is no such model: reload the page.")
        panel = self.panels[number]
        version, artist = panel.version, panel.artist
        if artist is None:
            raise UserError(panel.problem or NOT_YET)
        return artist, version

    # --- Cameras and latents ------------------------------------------------------------------------------------------

    def path(self, body: bytes) -> Plain:
        """Return as many cameras as are wanted along a path of key cameras."""
        labels, frames = path_wish(body)
        return {"labels": resample_labels(labels, frames).tolist()}

    def cameras(self, body: bytes, name: str) -> Plain:
        """Return the cameras of a file, as gen_videos.py --cameras reads them. UserError if it is none."""
        try:
            content = parse_json(body)
        except ValueError as error:
            raise UserError(f"{shown(name)} is not valid JSON ({error}): choose another file.") from error
        if isinstance(content, list) and len(content) > MAX_KEYS:
            raise UserError(f"{shown(name)} has {len(content)} cameras: up to {MAX_KEYS} are possible here.")
        return {"labels": cameras_of(content, Path(shown(name))).tolist()}

    def latents(self, path: Path, name: str) -> Plain:
        """Load latents of a file that was sent, for all models that they are of.

        Raises:
            UserError: they are damaged, or of none of the models.
        """
        key = file_checksum(path)[:16]
        found: Latents | None = None
        refusal: UserError | None = None
        for number in range(len(self.panels)):
            try:
                artist, _ = self._artist(number)
                found = self._result(("latents", number), _opening(artist, key, path))
            except UserError as error:
                refusal = error
        if found is None:
            assert refusal is not None
            raise UserError(str(refusal).replace(str(path), shown(name)))
        return {
            "id": key,
            "name": shown(name),
            "frames": len(found),
            "fps": found.fps,
            "labels": found.cameras.tolist(),
        }

    # --- Videos -------------------------------------------------------------------------------------------------------

    def start_export(self, body: bytes) -> Plain:
        """Begin to make a video; what was made before is removed. UserError if one is being made."""
        wish: VideoWish = video_wish(body)
        artist, _ = self._artist(wish.panel)
        artist.require_size(wish)
        resample_labels(wish.labels, wish.frames)  # refuses what is impossible at once
        with self.exporting:
            if self.export is not None:
                if self.export.state == RUNNING:
                    raise Busy("A video is being made already: wait for it, or stop it.")
                self.export.stop()
            self.exports += 1
            path = Path(self.folder.name) / f"video{self.exports}{wish.suffix}"
            self.export = Export(self.worker, artist, wish, path, self.exports)
            return self.export.about()

    def stop_export(self) -> Plain:
        """Stop making a video, if one is being made."""
        with self.exporting:
            if self.export is not None:
                self.export.stop()
                self.export = None
        return {}

    def exported(self) -> Export:
        """Return the video that was made. UserError if none was."""
        export = self.export
        if export is None or export.state != DONE:
            raise UserError("There is no video: make one first.")
        return export


def _drawing(artist: Artist, wish: FrameWish) -> Work:
    return lambda is_stale: artist.draw(wish, is_stale)


def _opening(artist: Artist, key: str, path: Path) -> Work:
    return lambda _: artist.scenes.add_latents(key, path)


def _about(panel: Panel) -> Plain:
    """Return what the page should know of a model."""
    artist = panel.artist
    if artist is None:
        return {"name": panel.name, "status": LOADING, "problem": panel.problem, "version": panel.version}
    G = artist.model.G
    return {
        "name": panel.name,
        "status": READY,
        "problem": panel.problem,
        "version": panel.version,
        "resolution": G.config.img_resolution,
        "rays": G.config.rendering.resolution,
        "max_time": G.max_time,
        "can_blend": artist.scenes.can_blend,
        "device": str(artist.model.device),
    }
