"""One person at one moment, to be looked at along any rays: which solid each ray hits, and its colour there."""

from dataclasses import dataclass, replace

import numpy as np

from training.synthetic import anatomy, paint_face, paint_scene
from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.paint import Gloss, column, lit, soft
from training.synthetic.rays import (
    FAR,
    SIDE_STEPS,
    STEPS,
    Blend,
    Ellipsoid,
    Scalars,
    Vectors,
    carve,
    first_hit,
    forms_of,
    intervals,
    points_at,
    product,
)
from training.synthetic.room import room_depth

# Codes of hits that are not one of the fixed solids.
WALL = -1
FACE = -2
MOUTH = -3
FRONT = 0.55  # radians of yaw up to which a camera looks from the front
INFLATE = 0.017  # how far the smooth union may lie outside its solids, world units
GLOSS: dict[str, Gloss] = {
    "face": (0.10, 24),
    "eye": (0.25, 60),
    "ear": (0.06, 20),
    "hair": (0.16, 14),
    "neck": (0.05, 20),
    "body": (0.03, 10),
    "collar": (0.03, 10),
}
MATT = (0.0, 1)  # gloss of the inside of the mouth
# Colours inside the mouth.
INSIDE = {
    "cavity": (0.22, 0.05, 0.06),
    "teeth": (0.97, 0.95, 0.90),
    "tongue": (0.80, 0.36, 0.38),
}


@dataclass(kw_only=True)
class Hits:
    """Where rays [M] end."""

    depth: Scalars  # distance along the ray
    index: Scalars  # number of a fixed solid, or one of WALL, FACE, MOUTH
    inner: Scalars  # number of the solid inside the mouth; -1 elsewhere
    on_cut: np.ndarray  # [E, M]: whether a fixed solid is hit where something is cut away from it


class Scene:
    """One person at one moment, ready to be looked at from anywhere."""

    def __init__(self, identity: Identity, expression: Expression):
        self.identity = identity
        self.expression = expression
        self.rotation, self.shift = anatomy.head_pose(expression)
        self._place_fixed_solids(anatomy.fixed_solids(identity))
        face = anatomy.face_solids(identity, expression)
        self.face = Blend(forms_of(face))  # in head coordinates, as the hull around it
        self.hull = forms_of([_inflated(solid) for solid in face])
        self.mouth = anatomy.mouth_of(identity, expression)
        inside = anatomy.mouth_solids(self.mouth)
        self.inside = forms_of(inside)
        self.inside_colours = np.array([INSIDE[solid.part] for solid in inside], dtype=np.float32)

    def _place_fixed_solids(self, solids: list[Ellipsoid]) -> None:
        """Move solids, and what is cut away from them, to the world."""
        parts = np.array([solid.part for solid in solids])
        self.parts = {str(part): parts == part for part in np.unique(parts)}  # which solids [E] belong to it
        self.forms = anatomy.in_world(solids, self.rotation, self.shift)
        cuts = [solid.cut for solid in solids if solid.cut is not None]
        self.cuts = anatomy.in_world(cuts, self.rotation, self.shift)
        self.cut_of = np.flatnonzero([solid.cut is not None for solid in solids])  # numbers of the solids with a cut

    def look(self, eye: np.ndarray, directions: Vectors) -> tuple[Vectors, Scalars]:
        """Return the colour and the distance seen from eye [3] along unit directions."""
        hits = self._hit_fixed_solids(eye, directions)
        to_head = self.rotation.T
        head_eye = to_head @ (eye - self.shift)
        head_directions = product(to_head.astype(np.float32), directions)
        # More steps would mend a ray or two from the front, too, but change the frames of every seed.
        steps = STEPS if abs(np.arctan2(eye[0], eye[2])) < FRONT else SIDE_STEPS
        self._hit_face(head_eye, head_directions, hits, steps)
        self._hit_mouth(head_eye, head_directions, hits)
        points = points_at(eye, directions, hits.depth)
        return self._paint(points, -directions, hits), hits.depth

    # --- What the rays hit --------------------------------------------------------------------------------------------

    def _hit_fixed_solids(self, eye: np.ndarray, directions: Vectors) -> Hits:
        entry, exit_ = intervals(eye, directions, self.forms)
        on_cut = np.zeros(entry.shape, dtype=bool)
        if len(self.cut_of):
            solids = self.cut_of
            cut_entry, cut_exit = intervals(eye, directions, self.cuts)
            entry[solids], on_cut[solids] = carve(entry[solids], exit_[solids], cut_entry, cut_exit)
        depth, index = first_hit(entry)
        return Hits(
            depth=np.where(index == WALL, room_depth(eye, directions), depth),
            index=index,
            inner=np.full_like(index, -1),
            on_cut=on_cut,
        )

    def _hit_face(self, eye: np.ndarray, directions: Vectors, hits: Hits, steps: int) -> None:
        """Let the face hide what is behind it; eye and directions in head coordinates."""
        entry, exit_ = intervals(eye, directions, self.hull)
        start = entry.min(axis=0)
        end = np.minimum(exit_.max(axis=0), hits.depth)
        near = np.flatnonzero(start < end)
        found = self.face.trace(eye, directions[:, near], start[near], end[near], steps)
        closer = found < hits.depth[near]
        rays = near[closer]
        hits.depth[rays] = found[closer]
        hits.index[rays] = FACE

    def _hit_mouth(self, eye: np.ndarray, directions: Vectors, hits: Hits) -> None:
        """Let rays that reach the face in the open mouth go on inside; eye and directions in head coordinates."""
        face = np.flatnonzero(hits.index == FACE)
        points = points_at(eye, directions[:, face], hits.depth[face])
        rays = face[paint_face.mouth_opening(self.mouth, points)]
        reached = hits.depth[rays]
        entry, exit_ = intervals(eye, directions[:, rays], self.inside)
        entry[0] = np.where(exit_[0] > reached, exit_[0], FAR)  # the cavity is seen from inside
        entry[entry < reached] = FAR
        nearest, inner = first_hit(entry)
        hit = inner >= 0
        rays = rays[hit]
        hits.inner[rays] = inner[hit]
        hits.depth[rays] = nearest[hit]
        hits.index[rays] = MOUTH

    # --- Its colour ---------------------------------------------------------------------------------------------------

    def _paint(self, points: Vectors, view: Vectors, hits: Hits) -> Vectors:
        """Return lit colours of the points that were hit; `view` points to the eye."""
        colour = np.empty_like(points)
        wall = np.flatnonzero(hits.index == WALL)
        colour[:, wall] = paint_scene.wall(self.identity, points[:, wall])

        def put(pick: np.ndarray, albedo: Vectors, normal: Vectors, gloss: Gloss) -> None:
            colour[:, pick] = lit(
                self.identity,
                albedo,
                normal=normal,
                view=view[:, pick],
                gloss=gloss,
            )

        pick = np.flatnonzero(hits.index == FACE)
        head = self.to_head(points[:, pick])
        albedo = paint_face.face(self.identity, self.expression, self.mouth, head)
        put(
            pick,
            albedo,
            self._turned(self.face.normals(head)),
            GLOSS["face"],
        )

        pick = np.flatnonzero(hits.index == MOUTH)
        head = self.to_head(points[:, pick])
        solids = hits.inner[pick]
        bright = np.clip(1 - (self.mouth.front - head[2]) * 9, 0.25, 1)  # deeper is darker
        albedo = self.inside_colours[solids].T * bright
        put(
            pick,
            albedo,
            self._turned(self.inside.normals(solids, head)),
            MATT,
        )

        fixed = np.flatnonzero(hits.index >= 0)
        for part, members in self.parts.items():
            pick = fixed[members[hits.index[fixed]]]
            if len(pick):
                own = points[:, pick]
                normal = self._normals(own, hits.index[pick], hits.on_cut[:, pick])
                put(pick, self._albedo(part, own), normal, GLOSS[part])
        return np.clip(colour, 0, 1)

    def _normals(
        self,
        points: Vectors,
        solids: Scalars,
        on_cut: np.ndarray,
    ) -> Vectors:
        """Return unit normals at points of the fixed solids [M]; where something is cut away they face into the cut."""
        normal = self.forms.normals(solids, points)
        cut = np.flatnonzero(on_cut[solids, np.arange(len(solids))])
        if len(cut):
            numbers = np.searchsorted(self.cut_of, solids[cut])
            normal[:, cut] = -self.cuts.normals(numbers, points[:, cut])
        return normal

    def _albedo(self, part: str, points: Vectors) -> Vectors:
        """Return the colour of a fixed solid's part at world points, [3, M] or [3, 1]."""
        identity = self.identity
        if part == "eye":
            return paint_face.eyes(identity, self.expression, self.to_head(points))
        if part == "hair":
            return paint_scene.hair(identity, self.to_head(points))
        if part == "body":
            return paint_scene.clothes(identity, points - column(anatomy.PLACE))
        if part == "collar":
            return paint_scene.collar(identity)
        if part == "neck":
            lit_part = soft(-0.2 - points[1], 0.12)  # the rest is in the shadow of the head
            return column(identity.skin) * (0.55 + 0.45 * lit_part)
        return column(identity.skin) * 0.95

    # --- Coordinates --------------------------------------------------------------------------------------------------

    def to_head(self, points: Vectors) -> Vectors:
        """Return world points in head coordinates."""
        return product(self.rotation.T.astype(np.float32), points - column(self.shift))

    def _turned(self, normal: Vectors) -> Vectors:
        """Return head directions in the world."""
        return product(self.rotation.astype(np.float32), normal)


def _inflated(solid: Ellipsoid) -> Ellipsoid:
    """Return a solid large enough to hold its share of the smooth union."""
    x, y, z = solid.radii
    return replace(solid, radii=(x + INFLATE, y + INFLATE, z + INFLATE))
