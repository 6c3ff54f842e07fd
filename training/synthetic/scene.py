"""One person at one moment, to be looked at along any rays: which solid each ray hits, and its colour there."""

from dataclasses import dataclass, replace

import numpy as np

from training.synthetic import anatomy, paint_face, paint_scene
from training.synthetic.identity import Identity
from training.synthetic.motion import Expression
from training.synthetic.paint import Surface, column, lit, soft
from training.synthetic.rays import (
    FAR,
    Blend,
    Ellipsoid,
    Forms,
    Scalars,
    Vectors,
    carve,
    first_hit,
    forms_of,
    intervals,
    points_at,
    product,
)

# Codes of hits that are not one of the fixed solids.
WALL = -1
FACE = -2
MOUTH = -3
INFLATE = 0.017  # how far the smooth union may lie outside its solids, world units
# Strength and sharpness of highlights.
GLOSS = {
    "face": (0.10, 24),
    "mouth": (0.0, 1),
    "eye": (0.25, 60),
    "ear": (0.06, 20),
    "hair": (0.16, 14),
    "neck": (0.05, 20),
    "body": (0.03, 10),
    "collar": (0.03, 10),
}
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
        self.inside = anatomy.mouth_solids(self.mouth)
        self.inside_forms = forms_of(self.inside)
        self.wall = forms_of([anatomy.wall_solid()])

    def _place_fixed_solids(self, solids: list[Ellipsoid]) -> None:
        """Move solids, and what is cut away from them, to the world."""
        parts = np.array([solid.part for solid in solids])
        self.parts = {str(part): parts == part for part in np.unique(parts)}  # which solids [E] belong to it
        self.forms = anatomy.in_world(solids, self.rotation, self.shift)
        cuts = {number: solid.cut for number, solid in enumerate(solids) if solid.cut is not None}
        self.cut_of = np.array(list(cuts), dtype=int)  # numbers of the solids with a cut
        self.cuts: Forms | None = None
        if cuts:
            self.cuts = anatomy.in_world(list(cuts.values()), self.rotation, self.shift)

    def look(self, eye: np.ndarray, directions: Vectors) -> tuple[Vectors, Scalars]:
        """Return the colour and the distance seen from eye [3] along unit directions."""
        hits = self._hit_fixed_solids(eye, directions)
        to_head = self.rotation.T
        head_eye = to_head @ (eye - self.shift)
        head_directions = product(to_head.astype(np.float32), directions)
        self._hit_face(head_eye, head_directions, hits)
        self._hit_mouth(head_eye, head_directions, hits)
        points = points_at(eye, directions, hits.depth)
        colour = self._paint(points, -directions, hits)
        return colour, hits.depth

    # --- What the rays hit --------------------------------------------------------------------------------------------

    def _hit_fixed_solids(self, eye: np.ndarray, directions: Vectors) -> Hits:
        entry, exit_ = intervals(eye, directions, self.forms)
        on_cut = np.zeros(entry.shape, dtype=bool)
        if self.cuts is not None:
            cut_entry, cut_exit = intervals(eye, directions, self.cuts)
            solids = self.cut_of
            hit, on_wall = carve(entry[solids], exit_[solids], cut_entry, cut_exit)
            entry[solids] = hit
            on_cut[solids] = on_wall
        depth, index = first_hit(entry)
        _, wall = intervals(eye, directions, self.wall)
        depth = np.where(index < 0, wall[0], depth)
        inner = np.full_like(index, -1)
        return Hits(depth=depth, index=index, inner=inner, on_cut=on_cut)

    def _hit_face(self, eye: np.ndarray, directions: Vectors, hits: Hits) -> None:
        """Let the face hide what is behind it; eye and directions in head coordinates."""
        entry, exit_ = intervals(eye, directions, self.hull)
        start = entry.min(axis=0)
        end = exit_.max(axis=0)
        end = np.minimum(end, hits.depth)
        near = np.flatnonzero(start < end)
        found = self.face.trace(eye, directions[:, near], start[near], end[near])
        closer = found < hits.depth[near]
        rays = near[closer]
        hits.depth[rays] = found[closer]
        hits.index[rays] = FACE

    def _hit_mouth(self, eye: np.ndarray, directions: Vectors, hits: Hits) -> None:
        """Let rays that reach the face in the open mouth go on inside; eye and directions in head coordinates."""
        face = np.flatnonzero(hits.index == FACE)
        points = points_at(eye, directions[:, face], hits.depth[face])
        is_open = paint_face.mouth_opening(self.mouth, points)
        rays = face[is_open]
        if not len(rays):
            return
        reached = hits.depth[rays]
        entry, exit_ = intervals(eye, directions[:, rays], self.inside_forms)
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
        surface = Surface.black(points)
        self._paint_face(surface, points, hits)
        self._paint_mouth(surface, points, hits)
        self._paint_fixed_solids(surface, points, hits)
        colour = lit(self.identity, surface, view)
        wall = np.flatnonzero(hits.index == WALL)
        colour[:, wall] = paint_scene.wall(self.identity, points[:, wall])
        colour = np.maximum(colour, 0)
        return np.minimum(colour, 1)

    def _paint_face(self, surface: Surface, points: Vectors, hits: Hits) -> None:
        pick = np.flatnonzero(hits.index == FACE)
        head = self.to_head(points[:, pick])
        albedo = paint_face.face(self.identity, self.expression, self.mouth, head)
        normal = self._turned(self.face.normals(head))
        surface.put(pick, albedo=albedo, normal=normal, gloss=GLOSS["face"])

    def _paint_mouth(self, surface: Surface, points: Vectors, hits: Hits) -> None:
        """Paint what is inside the mouth; deeper is darker."""
        pick = np.flatnonzero(hits.inner >= 0)
        if not len(pick):
            return
        solids = hits.inner[pick]
        head = self.to_head(points[:, pick])
        normal = self._turned(self.inside_forms.normals(solids, head))
        colours = np.array([INSIDE[solid.part] for solid in self.inside], dtype=np.float32)
        _, _, z = head
        depth = self.mouth.front - z
        bright = np.clip(1 - depth * 9, 0.25, 1)
        albedo = colours[solids].T * bright
        surface.put(pick, albedo=albedo, normal=normal, gloss=GLOSS["mouth"])

    def _paint_fixed_solids(self, surface: Surface, points: Vectors, hits: Hits) -> None:
        """Paint everything but the face, the mouth and the wall."""
        fixed = np.flatnonzero(hits.index >= 0)
        solids = hits.index[fixed]
        for part, members in self.parts.items():
            chosen = members[solids]
            if chosen.any():
                pick = fixed[chosen]
                own_points = points[:, pick]
                albedo = self._albedo(part, own_points)
                normal = self._normals(own_points, solids[chosen], hits.on_cut[:, pick])
                surface.put(pick, albedo=albedo, normal=normal, gloss=GLOSS[part])

    def _normals(
        self,
        points: Vectors,
        solids: Scalars,
        on_cut: np.ndarray,
    ) -> Vectors:
        """Return unit normals at points of the fixed solids [M]; where something is cut away they face into the cut."""
        normal = self.forms.normals(solids, points)
        ray = np.arange(len(solids))
        cut = np.flatnonzero(on_cut[solids, ray])
        if len(cut):
            assert self.cuts is not None
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
            return column(paint_scene.collar(identity))
        skin = column(identity.skin)
        if part == "neck":
            _, y, _ = points
            lit_part = soft(-0.2 - y, 0.12)  # the rest is in the shadow of the head
            return skin * (0.55 + 0.45 * lit_part)
        return skin * 0.95

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
