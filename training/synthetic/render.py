"""Pictures of procedural people: cast rays, paint what they hit, average a few rays where the picture has edges."""

from dataclasses import dataclass

import numpy as np

from training.synthetic import anatomy, paint
from training.synthetic.identity import Identity, random_identity
from training.synthetic.motion import Expression, Motion, random_motion
from training.synthetic.rays import FAR, Blend, carve, first_hit, forms_of, intervals, product

WALL, FACE, MOUTH = -1, -2, -3  # codes of hits that are not one of the fixed solids
INFLATE = 0.017  # how far the smooth union may lie outside its solids, world units
EDGE = 0.06  # colour difference to a neighbour that calls for more rays
SUBPIXELS = ((0.0, -0.36), (0.31, 0.18), (-0.31, 0.18))  # of the further rays; the first went through the centre
# Strength and sharpness of highlights.
GLOSS = {
    "face": (0.10, 24),
    "eye": (0.25, 60),
    "ear": (0.06, 20),
    "hair": (0.16, 14),
    "neck": (0.05, 20),
    "body": (0.03, 10),
    "collar": (0.03, 10),
}
INSIDE = {"cavity": (0.22, 0.05, 0.06), "teeth": (0.97, 0.95, 0.90), "tongue": (0.80, 0.36, 0.38)}


@dataclass(frozen=True)
class SyntheticClip:
    """frames uint8 [T, 3, R, R], cameras float32 [T, 25], depth float32 [T, R, R] (along the ray, at pixel centres)."""

    frames: np.ndarray
    cameras: np.ndarray
    depth: np.ndarray
    fps: float
    identity: Identity
    motion: Motion


def clip_seeds(seed: int) -> tuple[int, int]:
    """The identity's and the motion's seed of clip `seed`."""
    identity, motion = np.random.SeedSequence(int(seed)).generate_state(2)
    return int(identity), int(motion)


def render_clip(seed: int, resolution: int, frames: int, fps: float = 25.0) -> SyntheticClip:
    """Clip number `seed`: a person and a motion of their own, at `resolution` pixels; the same at every call."""
    identity_seed, motion_seed = clip_seeds(seed)
    return render_motion(random_identity(identity_seed), random_motion(motion_seed, frames, fps), resolution, fps)


def render_motion(identity: Identity, motion: Motion, resolution: int, fps: float = 25.0) -> SyntheticClip:
    """A clip of this person with this motion."""
    pairs = [
        render_frame(identity, expression, camera, resolution)
        for expression, camera in zip(motion.expressions, motion.cameras, strict=True)
    ]
    frames, depth = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    return SyntheticClip(frames, motion.cameras, depth, fps, identity, motion)


def render_frame(
    identity: Identity, expression: Expression, camera: np.ndarray, resolution: int
) -> tuple[np.ndarray, np.ndarray]:
    """One frame.

    Args:
        camera: label [25] (training/cameras.py).

    Returns:
        rgb uint8 [3, R, R], and depth float32 [R, R]: distance along the ray through each pixel's centre, world units.
    """
    scene = Scene(identity, expression)
    rows, columns = np.divmod(np.arange(resolution**2), resolution)
    colour, depth = scene.look(*pixel_rays(camera, (columns + 0.5) / resolution, (rows + 0.5) / resolution))
    edges = np.flatnonzero(_edges(colour.reshape(3, resolution, resolution)))
    if len(edges):
        offset = np.array(SUBPIXELS)
        u = (columns[edges] + 0.5 + offset[:, :1]) / resolution  # [3, edges]
        v = (rows[edges] + 0.5 + offset[:, 1:]) / resolution
        finer, _ = scene.look(*pixel_rays(camera, u.ravel(), v.ravel()))
        colour[:, edges] = (finer.reshape(3, len(offset), -1).sum(axis=1) + colour[:, edges]) / (len(offset) + 1)
    rgb = np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)
    return rgb.reshape(3, resolution, resolution), depth.reshape(resolution, resolution)


def pixel_rays(camera: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eye [3] and unit directions float32 [3, M] through image positions u, v [M] (0 to 1, right and down)."""
    camera = np.asarray(camera, dtype=np.float64)
    pose, k = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    y = (v - k[1, 2]) / k[1, 1]
    x = (u - k[0, 2] - k[0, 1] * y) / k[0, 0]
    directions = product(pose[:3, :3], np.stack([x, y, np.ones_like(x)]))
    return pose[:3, 3], (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)


def _edges(colour: np.ndarray) -> np.ndarray:
    """Pixels [R, R] that differ visibly from one of their four neighbours; colour [3, R, R]."""
    marked = np.zeros(colour.shape[1:], dtype=bool)
    across = np.abs(np.diff(colour, axis=2)).max(axis=0) > EDGE
    down = np.abs(np.diff(colour, axis=1)).max(axis=0) > EDGE
    marked[:, 1:] |= across
    marked[:, :-1] |= across
    marked[1:] |= down
    marked[:-1] |= down
    return marked


class Scene:
    """One person at one moment, ready to be looked at from anywhere."""

    def __init__(self, identity: Identity, expression: Expression):
        self.identity, self.expression = identity, expression
        self.rotation, self.shift = anatomy.head_pose(expression)
        self.mouth = anatomy.mouth_of(identity, expression)
        self.solids = anatomy.fixed_solids(identity)
        parts = np.array([solid.part for solid in self.solids])
        self.parts = {part: parts == part for part in dict.fromkeys(parts.tolist())}  # which solids [E] belong to it
        self.forms = anatomy.in_world(self.solids, self.rotation, self.shift)
        self.cut_of = np.array([e for e, solid in enumerate(self.solids) if solid.cut], dtype=int)
        self.cuts = None
        if len(self.cut_of):
            self.cuts = anatomy.in_world([self.solids[e].cut for e in self.cut_of], self.rotation, self.shift)
        face = anatomy.face_solids(identity, expression)
        self.face = Blend(forms_of(face))  # in head coordinates
        hull = [anatomy.Ellipsoid("face", s.centre, tuple(r + INFLATE for r in s.radii), s.pitch) for s in face]
        self.hull = forms_of(hull)
        self.inside = anatomy.mouth_solids(self.mouth)
        self.inside_forms = forms_of(self.inside)
        self.wall = forms_of([anatomy.wall_solid()])

    def to_head(self, points: np.ndarray) -> np.ndarray:
        """World points [3, M] in head coordinates."""
        return product(self.rotation.T.astype(np.float32), points - paint.column(self.shift))

    def look(self, eye: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colour float32 [3, M] and distance [M] seen from eye [3] along unit directions [3, M]."""
        entry, exit_ = intervals(eye, directions, self.forms)
        on_cut = np.zeros(entry.shape, dtype=bool)
        if self.cuts is not None:
            removed = intervals(eye, directions, self.cuts)
            entry[self.cut_of], on_cut[self.cut_of] = carve(entry[self.cut_of], exit_[self.cut_of], *removed)
        depth, index = first_hit(entry)
        wall = intervals(eye, directions, self.wall)[1][0]
        depth = np.where(index < 0, wall, depth)
        head_eye = self.rotation.T @ (eye - self.shift)
        head_directions = product(self.rotation.T.astype(np.float32), directions)
        self._hit_face(head_eye, head_directions, depth, index)
        inner = self._hit_mouth(head_eye, head_directions, depth, index)
        points = eye.astype(np.float32)[:, None] + directions * depth
        return self._paint(points, -directions, index, inner, on_cut), depth

    def _hit_face(self, eye, directions, depth, index) -> None:
        """Lets the face hide what is behind it, in place."""
        entry, exit_ = intervals(eye, directions, self.hull)
        start, end = entry.min(axis=0), np.minimum(exit_.max(axis=0), depth)
        near = np.flatnonzero(start < end)
        found = self.face.trace(eye, directions[:, near], start[near], end[near])
        won = found < depth[near]
        depth[near[won]] = found[won]
        index[near[won]] = FACE

    def _hit_mouth(self, eye, directions, depth, index) -> np.ndarray:
        """Rays that reach the face in the open mouth go on inside, in place; which inner solid [M] they hit."""
        inner = np.full(len(depth), -1)
        face = np.flatnonzero(index == FACE)
        points = eye.astype(np.float32)[:, None] + directions[:, face] * depth[face]
        rays = face[paint.mouth_opening(self.mouth, points)]
        if len(rays):
            entry, exit_ = intervals(eye, directions[:, rays], self.inside_forms)
            entry[0] = np.where(exit_[0] > depth[rays], exit_[0], FAR)  # the cavity is seen from inside
            entry[entry < depth[rays]] = FAR
            nearest, which = first_hit(entry)
            hit = which >= 0
            inner[rays[hit]] = which[hit]
            depth[rays[hit]] = nearest[hit]
            index[rays[hit]] = MOUTH
        return inner

    def _paint(self, points, view, index, inner, on_cut) -> np.ndarray:
        """Lit colours [3, M] of the points that were hit."""
        normal = np.zeros_like(points)
        albedo = np.zeros_like(points)
        gloss, power = np.zeros(points.shape[1], np.float32), np.ones(points.shape[1], np.float32)
        self._paint_face(albedo, normal, points, np.flatnonzero(index == FACE))
        gloss[index == FACE], power[index == FACE] = GLOSS["face"]
        self._paint_mouth(albedo, normal, points, inner)
        fixed = np.flatnonzero(index >= 0)
        normal[:, fixed] = self._normals(index[fixed], points[:, fixed], on_cut[index[fixed], fixed])
        for part, members in self.parts.items():
            pick = fixed[members[index[fixed]]]
            if len(pick):
                albedo[:, pick] = self._albedo(part, points[:, pick])
                gloss[pick], power[pick] = GLOSS[part]
        colour = paint.lit(self.identity, albedo, normal, view, gloss, power)
        pick = np.flatnonzero(index == WALL)
        colour[:, pick] = paint.wall(self.identity, points[:, pick])
        return np.minimum(np.maximum(colour, 0), 1)

    def _paint_face(self, albedo, normal, points, pick) -> None:
        """Albedo and normals of the face at the picked points, in place."""
        head = self.to_head(points[:, pick])
        normal[:, pick] = self._turned(self.face.distance(head, with_normal=True)[1])
        albedo[:, pick] = paint.face(self.identity, self.expression, self.mouth, head)

    def _paint_mouth(self, albedo, normal, points, inner) -> None:
        """Albedo and normals inside the mouth, in place; deeper is darker."""
        pick = np.flatnonzero(inner >= 0)
        if not len(pick):
            return
        head = self.to_head(points[:, pick])
        normal[:, pick] = self._turned(self.inside_forms.normals(inner[pick], head))
        base = paint.column([INSIDE[solid.part] for solid in self.inside])[inner[pick]].T
        albedo[:, pick] = base * np.clip(1 - (self.mouth.front - head[2]) * 9, 0.25, 1)

    def _normals(self, solid, points, on_cut) -> np.ndarray:
        """Unit normals [3, M] of the fixed solids [M] at points; a cut's wall faces into the cut."""
        normal = self.forms.normals(solid, points)
        wall = np.flatnonzero(on_cut)
        if len(wall):
            normal[:, wall] = -self.cuts.normals(np.searchsorted(self.cut_of, solid[wall]), points[:, wall])
        return normal

    def _albedo(self, part: str, points: np.ndarray) -> np.ndarray:
        """Colour [3, M] of a fixed solid's part at world points [3, M]."""
        if part == "eye":
            return paint.eyes(self.identity, self.expression, self.to_head(points))
        if part == "hair":
            return paint.hair(self.identity, self.to_head(points))
        if part == "body":
            return paint.clothes(self.identity, points - paint.column(anatomy.PLACE))
        if part == "collar":
            white = (0.95, 0.95, 0.96) if self.identity.clothes == "suit" else np.array(self.identity.cloth) * 1.1
            return np.broadcast_to(paint.column(white), points.shape)
        shadow = 0.55 + 0.45 * paint.soft(-0.2 - points[1], 0.12) if part == "neck" else 0.95
        return paint.column(self.identity.skin) * shadow * np.ones_like(points)

    def _turned(self, normal: np.ndarray) -> np.ndarray:
        """Head directions [3, M] in the world."""
        return product(self.rotation.astype(np.float32), normal)
