"""Rays against ellipsoids and against smooth blends of ellipsoids; everything vectorised over rays.

Shapes: M rays from one eye point, E ellipsoids. Points and directions are float32 [3, M]; an ellipsoid is its centre
and the symmetric matrix Q of (p - centre)^T Q (p - centre) = 1, so rotated ones and cylinders cost nothing extra.
"""

from dataclasses import dataclass

import numpy as np

FAR = np.float32(1e9)  # "no hit"
BLEND = 62.0  # sharpness of the smooth union, 1 / world units
PRODUCT = 200_000  # multiplications up to which BLAS stays on one thread
SURFACE = 1e-4  # distance at which tracing of a blend stops, world units
LEAST_STEP = 5e-4  # of a ray outside, world units
STEPS = 10  # most steps of tracing a blend


@dataclass(frozen=True)
class Ellipsoid:
    """One solid: `part` says what it is made of (paint.py), `cut` is a solid that is taken away from it."""

    part: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    pitch: float = 0.0  # rotation about x, then about z, radians
    roll: float = 0.0
    cut: "Ellipsoid | None" = None
    on_head: bool = True  # moves with the head


@dataclass(frozen=True)
class Forms:
    """Ellipsoids as arrays: centre [E, 3], matrix [E, 3, 3], both float64."""

    centre: np.ndarray
    matrix: np.ndarray

    def moved(self, rotation: np.ndarray, shift: np.ndarray) -> "Forms":
        """The same solids after p -> rotation @ p + shift."""
        return Forms(self.centre @ rotation.T + shift, rotation @ self.matrix @ rotation.T)

    def normals(self, index: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Outward unit normals [3, M] at points [3, M] of ellipsoids index [M]."""
        offset = points - self.centre.astype(np.float32)[index].T
        matrix = self.matrix.astype(np.float32).reshape(-1, 9).T[:, index].reshape(3, 3, -1)
        return unit((matrix * offset).sum(axis=1))


def unit(v: np.ndarray) -> np.ndarray:
    """v [3, M] scaled to length 1."""
    x, y, z = v
    return v * (1 / np.sqrt(x * x + y * y + z * z + 1e-20))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a [I, K] @ b [K, M] in slices of M so small that BLAS starts no threads: here they cost more than they save."""
    columns = max(PRODUCT // a.size, 1)
    if b.shape[1] <= columns:
        return a @ b
    result = np.empty([a.shape[0], b.shape[1]], dtype=np.result_type(a, b))
    for start in range(0, b.shape[1], columns):
        np.matmul(a, b[:, start : start + columns], out=result[:, start : start + columns])
    return result


def rotation_matrix(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation [3, 3] about z (roll), then x (pitch), then y (yaw), radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def forms_of(solids: list[Ellipsoid]) -> Forms:
    """The solids' centres and matrices; a radius of inf makes a cylinder."""
    matrix = []
    for solid in solids:
        axes = np.diag(1.0 / np.square(solid.radii))
        if solid.pitch or solid.roll:
            turn = rotation_matrix(0, solid.pitch) @ rotation_matrix(0, 0, solid.roll)
            axes = turn @ axes @ turn.T
        matrix.append(axes)
    return Forms(np.array([solid.centre for solid in solids], dtype=np.float64), np.array(matrix))


def intervals(eye: np.ndarray, directions: np.ndarray, forms: Forms) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray enters and leaves each solid [E, M], along unit directions [3, M]; a miss is (FAR, -FAR)."""
    offset = eye - forms.centre  # [E, 3]
    lean = np.einsum("eij,ej->ei", forms.matrix, offset)
    constant = (np.einsum("ei,ei->e", lean, offset) - 1)[:, None].astype(np.float32)
    q = forms.matrix
    quadratic = np.stack([q[:, 0, 0], q[:, 1, 1], q[:, 2, 2], 2 * q[:, 0, 1], 2 * q[:, 0, 2], 2 * q[:, 1, 2]], axis=1)
    x, y, z = directions
    inverse = product(quadratic.astype(np.float32), np.stack([x * x, y * y, z * z, x * y, x * z, y * z]))
    np.divide(1, inverse, out=inverse)
    middle = product(-lean.astype(np.float32), directions)
    middle *= inverse
    half = middle * middle  # in place: this is the busiest place
    inverse *= constant
    half -= inverse
    miss = half <= 0
    half = np.sqrt(np.maximum(half, 0, out=half), out=half)
    entry, exit_ = middle - half, np.add(middle, half, out=middle)
    np.copyto(entry, FAR, where=miss)
    np.copyto(exit_, -FAR, where=miss)
    return entry, exit_


def carve(entry, exit_, cut_entry, cut_exit) -> tuple[np.ndarray, np.ndarray]:
    """First hit of solids less their cuts: distance [E, M], and whether it lies on the cut's inside wall [E, M]."""
    removed = (entry >= cut_entry) & (entry < cut_exit)
    on_wall = removed & (cut_exit < exit_)
    return np.where(on_wall, cut_exit, np.where(removed, FAR, entry)), on_wall


def first_hit(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest of distances [E, M]: distance [M] and index [M], -1 where all miss."""
    index = distances.argmin(axis=0)
    nearest = np.take_along_axis(distances, index[None], axis=0)[0]
    return nearest, np.where(nearest < FAR, index, -1)


class Blend:
    """A smooth union of E ellipsoids: the zero set of -log(sum_i exp(-BLEND d_i)) / BLEND, d_i the distance to solid i.

    d_i is the usual first-order estimate k0 (k0 - 1) / k1 of the distance to an ellipsoid.
    """

    def __init__(self, forms: Forms):
        self.forms = forms
        squared = forms.matrix @ forms.matrix
        self.coefficients = np.concatenate(
            [_polynomial(forms.matrix, forms.centre), _polynomial(squared, forms.centre)]
        ).astype(np.float32)

    def distance(self, points: np.ndarray, with_normal: bool = False):
        """Signed distance [M] at points [3, M] (an estimate away from the surface), and the outward normal [3, M]."""
        count = len(self.forms.centre)
        x, y, z = points
        terms = np.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, np.ones_like(x)])
        roots = np.sqrt(np.maximum(product(self.coefficients, terms), 1e-12))
        k0, k1 = roots[:count], roots[count:]
        each = k0 * (k0 - 1) / k1
        nearest = each.min(axis=0)
        weight = np.exp(-BLEND * (each - nearest))
        total = weight.sum(axis=0)
        distance = nearest - np.log(total) / BLEND
        if not with_normal:
            return distance
        share = weight / (total * k1)  # [E, M]
        lean = np.einsum("eij,ej->ei", self.forms.matrix, self.forms.centre).astype(np.float32)
        matrix = product(self.forms.matrix.astype(np.float32).reshape(count, 9).T, share).reshape(3, 3, -1)
        return distance, unit((matrix * points).sum(axis=1) - product(lean.T, share))

    def trace(self, eye: np.ndarray, directions: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """First hit [M] along unit directions [3, M] between start and end [M]; FAR where there is none."""
        eye, result = eye.astype(np.float32)[:, None], np.full_like(start, FAR)
        active = np.arange(len(start))
        t, before, step = start, None, None
        for _ in range(STEPS):
            distance = self.distance(eye + directions * t)
            step = _next_step(distance, before, step)
            done = np.abs(distance) < SURFACE
            result[active[done]] = (t + step)[done]
            keep = ~done & (t + step < end)
            active, t, end, step, before = active[keep], (t + step)[keep], end[keep], step[keep], distance[keep]
            directions = directions[:, keep]
            if not len(active):
                break
        near = np.abs(before) < 4 * SURFACE  # grazing rays that did not settle
        result[active[near]] = t[near]
        return result


def _next_step(distance: np.ndarray, before: np.ndarray | None, step: np.ndarray | None) -> np.ndarray:
    """Sphere tracing, lengthened to the secant's step where the ray approaches; one that grazes keeps moving."""
    stride = np.where(distance > SURFACE, np.maximum(distance, LEAST_STEP), distance)
    if before is None:
        return stride
    ratio = step / np.where(before == distance, FAR, before - distance)  # 1 / cosine of the angle of approach
    return np.where(ratio > 0, distance * np.clip(ratio, 0.3, 3.0), stride)


def _polynomial(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Coefficients [E, 10] of (p - centre)^T matrix (p - centre) for x2 y2 z2 xy xz yz x y z 1."""
    lean = np.einsum("eij,ej->ei", matrix, centre)
    constant = np.einsum("ei,ei->e", lean, centre)
    m = matrix
    return np.stack(
        [
            m[:, 0, 0],
            m[:, 1, 1],
            m[:, 2, 2],
            2 * m[:, 0, 1],
            2 * m[:, 0, 2],
            2 * m[:, 1, 2],
            -2 * lean[:, 0],
            -2 * lean[:, 1],
            -2 * lean[:, 2],
            constant,
        ],
        axis=1,
    )
