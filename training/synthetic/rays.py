"""Rays against ellipsoids and against smooth blends of ellipsoids; everything vectorised over rays.

Shapes: M rays from one eye point, E ellipsoids. An ellipsoid is its centre and the symmetric matrix Q of
(p - centre)^T Q (p - centre) = 1, so rotated ones and cylinders cost nothing extra.
"""

from dataclasses import dataclass, replace

import numpy as np

FAR = np.float32(1e9)  # "no hit"
BLEND = 62.0  # sharpness of the smooth union, 1 / world units
PRODUCT = 200_000  # multiplications up to which BLAS stays on one thread
SURFACE = 1e-4  # distance at which tracing of a blend stops, world units
LEAST_STEP = 5e-4  # of a ray outside, world units
STEPS = 10  # most steps of tracing a blend
SIDE_STEPS = 40  # the same from the side, where rays graze the nose before a cheek, and would pass through both

Vectors = np.ndarray  # float32 [3, M]: points, directions, normals or colours
Scalars = np.ndarray  # [M]: a number for each of them
Triple = tuple[float, float, float]


# --- Linear algebra ---------------------------------------------------------------------------------------------------


def unit(v: Vectors) -> Vectors:
    """Scale vectors to length 1."""
    x, y, z = v
    return v * (1 / np.sqrt(x * x + y * y + z * z + 1e-20))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multiply [I, K] @ [K, M] in slices of M so small that BLAS starts no threads: they would cost more than save."""
    columns = max(PRODUCT // a.size, 1)
    total = b.shape[1]
    if total <= columns:
        return a @ b
    result = np.empty([len(a), total], np.result_type(a, b))
    for start in range(0, total, columns):
        part = slice(start, start + columns)
        np.matmul(a, b[:, part], out=result[:, part])
    return result


def points_at(
    eye: np.ndarray,
    directions: Vectors,
    distance: Scalars,
) -> Vectors:
    """Return the points at distances along directions from eye [3]."""
    return eye.astype(np.float32)[:, None] + directions * distance


def rotation_matrix(
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> np.ndarray:
    """Return the rotation [3, 3] about z (roll), then x (pitch), then y (yaw), radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    about_y = [
        [cos, 0, sin],
        [0, 1, 0],
        [-sin, 0, cos],
    ]
    cos, sin = np.cos(pitch), np.sin(pitch)
    about_x = [
        [1, 0, 0],
        [0, cos, -sin],
        [0, sin, cos],
    ]
    cos, sin = np.cos(roll), np.sin(roll)
    about_z = [
        [cos, -sin, 0],
        [sin, cos, 0],
        [0, 0, 1],
    ]
    return np.array(about_y) @ np.array(about_x) @ np.array(about_z)


# --- Ellipsoids -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """One solid: `part` says what it is made of (render.py), `cut` is a solid that is taken away from it."""

    part: str
    centre: Triple
    radii: Triple
    pitch: float = 0.0  # rotation about x, then about z, radians
    roll: float = 0.0
    cut: "Ellipsoid | None" = None
    on_head: bool = True  # moves with the head


def both_sides(*solids: Ellipsoid) -> list[Ellipsoid]:
    """Return each solid's mirror image in x, and the solid."""
    both = []
    for solid in solids:
        x, y, z = solid.centre
        both += [replace(solid, centre=(-x, y, z), roll=-solid.roll), solid]
    return both


@dataclass(frozen=True)
class Forms:
    """Ellipsoids as arrays: centre [E, 3], matrix [E, 3, 3], both float64."""

    centre: np.ndarray
    matrix: np.ndarray

    def moved(
        self,
        rotation: np.ndarray,
        shift: np.ndarray,
    ) -> "Forms":
        """Return the same solids after p -> rotation @ p + shift."""
        return Forms(self.centre @ rotation.T + shift, rotation @ self.matrix @ rotation.T)

    def normals(
        self,
        index: np.ndarray,
        points: Vectors,
    ) -> Vectors:
        """Return the outward unit normals at points of ellipsoids index [M]."""
        centre = self.centre.astype(np.float32)
        offset = points - centre[index].T
        numbers = self.matrix.astype(np.float32).reshape(-1, 9)
        matrix = numbers.T[:, index].reshape(3, 3, -1)
        return unit((matrix * offset).sum(axis=1))


def forms_of(solids: list[Ellipsoid]) -> Forms:
    """Return the solids' centres and matrices; a radius of inf makes a cylinder."""
    count = len(solids)
    centre = np.empty([count, 3])
    matrix = np.empty([count, 3, 3])
    for number, solid in enumerate(solids):
        axes = np.diag(1.0 / np.square(solid.radii))
        if solid.pitch or solid.roll:
            turn = rotation_matrix(pitch=solid.pitch) @ rotation_matrix(roll=solid.roll)
            axes = turn @ axes @ turn.T
        centre[number] = solid.centre
        matrix[number] = axes
    return Forms(centre, matrix)


# --- Rays against ellipsoids ------------------------------------------------------------------------------------------


def intervals(
    eye: np.ndarray,
    directions: Vectors,
    forms: Forms,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where each ray enters and leaves each solid, both [E, M]; a miss is (FAR, -FAR).

    Args:
        eye: [3].
        directions: of length 1.
    """
    offset = eye - forms.centre  # [E, 3]
    lean = np.einsum("eij,ej->ei", forms.matrix, offset)
    constant = np.einsum("ei,ei->e", lean, offset) - 1
    constant = constant[:, None].astype(np.float32)
    inverse = product(_quadratic(forms.matrix).astype(np.float32), _squares(directions))
    np.divide(1, inverse, out=inverse)
    middle = product(-lean.astype(np.float32), directions)
    middle *= inverse
    half = middle * middle  # in place from here on: this is the busiest place
    inverse *= constant
    half -= inverse
    miss = half <= 0
    np.maximum(half, 0, out=half)
    np.sqrt(half, out=half)
    entry = middle - half
    exit_ = np.add(middle, half, out=middle)
    np.copyto(entry, FAR, where=miss)
    np.copyto(exit_, -FAR, where=miss)
    return entry, exit_


def _squares(vectors: Vectors) -> np.ndarray:
    """Return the products [6, M] of coordinates: x2 y2 z2 xy xz yz."""
    x, y, z = vectors
    return np.stack(
        [
            x * x,
            y * y,
            z * z,
            x * y,
            x * z,
            y * z,
        ]
    )


def _quadratic(matrix: np.ndarray) -> np.ndarray:
    """Return the coefficients [E, 6] of p^T matrix p for symmetric matrices [E, 3, 3], in the order of `_squares`."""
    return np.stack(
        [
            matrix[:, 0, 0],
            matrix[:, 1, 1],
            matrix[:, 2, 2],
            2 * matrix[:, 0, 1],
            2 * matrix[:, 0, 2],
            2 * matrix[:, 1, 2],
        ],
        axis=1,
    )


def carve(
    entry: np.ndarray,
    exit_: np.ndarray,
    cut_entry: np.ndarray,
    cut_exit: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first hit of solids less their cuts, all [E, M]: distance, and whether it lies on the cut's wall."""
    removed = (entry >= cut_entry) & (entry < cut_exit)
    on_wall = removed & (cut_exit < exit_)
    hit = np.where(removed, FAR, entry)
    hit = np.where(on_wall, cut_exit, hit)
    return hit, on_wall


def first_hit(distances: np.ndarray) -> tuple[Scalars, Scalars]:
    """Return the nearest of distances [E, M], and its index, -1 where all miss."""
    index = distances.argmin(axis=0)
    nearest = np.take_along_axis(distances, index[None], axis=0)[0]
    return nearest, np.where(nearest < FAR, index, -1)


# --- Rays against a blend ---------------------------------------------------------------------------------------------


class Blend:
    """A smooth union of E ellipsoids: the zero set of -log(sum_i exp(-BLEND d_i)) / BLEND, d_i the distance to solid i.

    d_i is the usual first-order estimate k0 (k0 - 1) / k1 of the distance to an ellipsoid: k0 is the length of the
    offset from its centre divided by the radii, k1 of the offset divided by their squares.
    """

    def __init__(self, forms: Forms):
        self.forms = forms
        of_k0 = _polynomial(forms.matrix, forms.centre)
        of_k1 = _polynomial(forms.matrix @ forms.matrix, forms.centre)
        self._coefficients = np.concatenate([of_k0, of_k1]).astype(np.float32)

    def distance(self, points: Vectors) -> Scalars:
        """Return the signed distance at points (an estimate away from the surface)."""
        nearest, weight, _ = self._weights(points)
        return nearest - np.log(weight.sum(axis=0)) / BLEND

    def normals(self, points: Vectors) -> Vectors:
        """Return the outward unit normals at points of the surface."""
        _, weight, k1 = self._weights(points)
        share = weight / (weight.sum(axis=0) * k1)
        matrix = self.forms.matrix
        numbers = matrix.astype(np.float32).reshape(-1, 9)
        mixed = product(numbers.T, share).reshape(3, 3, -1)
        lean = np.einsum("eij,ej->ei", matrix, self.forms.centre).astype(np.float32)
        return unit((mixed * points).sum(axis=1) - product(lean.T, share))

    def _weights(self, points: Vectors) -> tuple[Scalars, np.ndarray, np.ndarray]:
        """Return the distance to the nearest solid, exp(-BLEND d_i) relative to it [E, M], and k1 [E, M]."""
        terms = np.concatenate([_squares(points), points, np.ones_like(points[:1])])
        squares = product(self._coefficients, terms)
        k0, k1 = np.split(np.sqrt(np.maximum(squares, 1e-12)), 2)
        each = k0 * (k0 - 1) / k1
        nearest = each.min(axis=0)
        return nearest, np.exp(-BLEND * (each - nearest)), k1

    def trace(
        self,
        eye: np.ndarray,
        directions: Vectors,
        start: Scalars,
        end: Scalars,
        steps: int = STEPS,
    ) -> Scalars:
        """Return the first hit along unit directions from eye [3], between start and end; FAR where there is none."""
        result = np.full_like(start, FAR)
        active = np.arange(len(start))
        t = start
        before = step = np.zeros_like(start)
        for _ in range(steps):
            distance = self.distance(points_at(eye, directions, t))
            step = _next_step(distance, before, step)
            after = t + step
            settled = np.abs(distance) < SURFACE
            result[active[settled]] = after[settled]
            going = ~settled & (after < end)
            active = active[going]
            directions = directions[:, going]
            t = after[going]
            end = end[going]
            step = step[going]
            before = distance[going]
            if not len(active):
                break
        near = np.abs(before) < 4 * SURFACE  # grazing rays that did not settle
        result[active[near]] = t[near]
        return result


def _next_step(
    distance: Scalars,
    before: Scalars,
    step: Scalars,
) -> Scalars:
    """Return the step of sphere tracing, lengthened to the secant's where a ray approaches; one that grazes moves on.

    Args:
        distance: of the rays' points from the surface.
        before, step: the last distance, and the step since; 0 at first.
    """
    stride = np.where(distance > SURFACE, np.maximum(distance, LEAST_STEP), distance)
    closer = np.where(before == distance, FAR, before - distance)
    ratio = step / closer  # 1 / cosine of the angle of approach
    return np.where(ratio > 0, distance * np.clip(ratio, 0.3, 3.0), stride)


def _polynomial(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return coefficients [E, 10] of (p - centre)^T matrix (p - centre) for x2 y2 z2 xy xz yz x y z 1."""
    lean = np.einsum("eij,ej->ei", matrix, centre)
    constant = np.einsum("ei,ei->e", lean, centre)
    return np.concatenate([_quadratic(matrix), -2 * lean, constant[:, None]], axis=1)
