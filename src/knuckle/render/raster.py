"""From triangles to pixels: which triangle is nearest at every pixel centre, for a batch of meshes at once.

Plain PyTorch, the same code on CPU and GPU. The work is split into rows and then into pixels, so that
its amount follows the covered area:

1. Every triangle is cut by the pixel rows between its highest and lowest vertex.
2. A row's span runs between the two points where the row crosses the triangle's sides.
3. Every pixel of the spans competes with its nearness; the nearest wins (an integer maximum, which
   commutes, so the outcome does not depend on the order in which the pixels arrive).

Pixel centres lie at integers. **Tie rule**: a centre on a side belongs to the triangle to its right or
below it: it is covered where top <= y < bottom and left <= x < right. The crossing of a row with a side
is computed from the upper to the lower vertex, whichever triangle asks, so two triangles that share a
side agree on it to the last bit: no holes, no pixel covered twice.

All arithmetic is elementwise, so a mesh gives the same bits alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

TRIANGLE_MASK: Final = (1 << 32) - 1
"""The low half of a depth key holds the triangle, the high half the float32 pattern of its nearness."""

CHUNK: Final = 8
CHUNK_PIXELS: Final = 1 << 19
"""Meshes, and pixels of their pictures, that are worked on together on a CPU: intermediate results stay in its caches,
and in memory that the allocator keeps instead of fetching it from the system each time."""


class Coverage(NamedTuple):
    """What is seen at each pixel centre, packed in one integer: nearness first, then triangle, 0 for nothing."""

    key: Int64[Tensor, "B H W"]

    @property
    def triangle(self) -> Int64[Tensor, "B H W"]:
        """The nearest triangle, -1 where there is none."""
        return torch.where(self.key > 0, triangle_of(self.key), -1)

    @property
    def nearness(self) -> Float32[Tensor, "B H W"]:
        """The interpolated nearness (inverse depth) of the nearest triangle, 0 where there is none. A view."""
        return nearness_of(self.key)


def triangle_of(key: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """The triangle a depth key names."""
    return TRIANGLE_MASK - (key & TRIANGLE_MASK)


def nearness_of(key: Int64[Tensor, "*n"]) -> Float32[Tensor, "*n"]:
    """The nearness a depth key holds, without arithmetic: its high half read as a float (little-endian)."""
    return key.view(torch.int32)[..., 1::2].view(torch.float32)


class _Rows(NamedTuple):
    """One entry for each row of each triangle: the span of pixels and the nearness along it."""

    pixel: Tensor  # flat index of the first pixel
    length: Tensor  # covered pixels, may be 0
    nearness: Tensor  # at the first covered pixel
    slope: Tensor  # change of nearness from pixel to pixel
    triangle: Tensor


def rasterize(
    xy_pixels: Float32[Tensor, "B V 2"],
    nearness: Float32[Tensor, "B V"],
    faces: Int64[Tensor, "F 3"],
    shape_hw: tuple[int, int],
    front: Float32[Tensor, " B"] | None = None,
) -> Coverage:
    """Find the nearest triangle at every pixel centre.

    Args:
        xy_pixels: Projected vertices.
        nearness: Inverse depth of the vertices, or any other quantity that is linear in the image and
            grows towards the viewer (for a parallel projection: a constant minus the depth). Triangles
            with a vertex at or below 0, or with a coordinate that is not finite, are dropped: nothing
            may pass the plane of the camera.
        faces: Vertices of the triangles, shared by the batch.
        shape_hw: Height and width of the image.
        front: +1 or -1 for each mesh: the sign of (b - a) x (c - a) in pixels (y down) of the triangles
            (a, b, c) to keep. None keeps both faces.

    Returns:
        The nearest triangle and its nearness. Of two equally near triangles the lower index wins.
    """
    height, width = shape_hw
    batch = len(xy_pixels)
    key = torch.zeros(batch, height * width, dtype=torch.int64, device=xy_pixels.device)
    on_cpu = key.device.type == "cpu"
    by_sorting = not on_cpu and torch.are_deterministic_algorithms_enabled()
    step = min(CHUNK, max(1, CHUNK_PIXELS // (height * width))) if on_cpu else max(batch, 1)
    for start in range(0, batch, step):
        part = slice(start, start + step)
        rows = _rows(xy_pixels[part], nearness[part], faces, shape_hw, None if front is None else front[part])
        if rows is not None:
            keep_largest(key[part].view(-1), *_competing_pixels(rows), by_sorting=by_sorting)
    return Coverage(key.reshape(batch, height, width))


def _rows(xy: Tensor, nearness: Tensor, faces: Tensor, shape_hw: tuple[int, int], front: Tensor | None) -> _Rows | None:
    """Steps 1 and 2: the non-empty spans of all triangles that can be seen, None if there are none."""
    height, width = shape_hw
    batch, count = len(xy), len(faces)
    # Corner-major columns (3, B, F): every later step works on contiguous vectors.
    corners = faces.t().reshape(-1)
    x, y, w = (v.index_select(1, corners).reshape(batch, 3, count) for v in (xy[..., 0], xy[..., 1], nearness))
    top, bottom = y.amin(1), y.amax(1)
    first_row = top.ceil().clamp(0, height)
    row_count = bottom.ceil().clamp(0, height) - first_row
    seen = (row_count > 0) & (x.amax(1) > -1) & (x.amin(1) < width) & (w.amin(1) > 0) & (w.amax(1) < torch.inf)
    if front is not None:
        xa, ya = x[:, 0], y[:, 0]
        area = (x[:, 1] - xa) * (y[:, 2] - ya) - (x[:, 2] - xa) * (y[:, 1] - ya)
        seen &= area * front[:, None] > 0
    chosen = seen.reshape(-1).nonzero()[:, 0]
    if len(chosen) == 0:
        return None
    image, triangle = chosen // count, chosen % count
    first_corner = image * (3 * count) + triangle
    at, levels = _by_height([first_corner + k * count for k in range(3)], y.reshape(-1))
    columns, nearnesses = ([v.reshape(-1).index_select(0, k) for k in at] for v in (x, w))
    long, upper, lower = (
        _side(*((v[i], v[j]) for v in (columns, levels, nearnesses))) for i, j in ((0, 2), (0, 1), (1, 2))
    )

    start, length = first_row.reshape(-1).index_select(0, chosen), row_count.reshape(-1).index_select(0, chosen).int()
    row_of, step = _expand(length)
    row = start.index_select(0, row_of) + step
    below = row >= levels[1].index_select(0, row_of)
    long_x, long_w = _crossing(row, long, row_of)
    short = [torch.cat(columns) for columns in zip(upper, lower, strict=True)]
    short_x, short_w = _crossing(row, short, row_of + below * len(chosen))
    first = torch.minimum(long_x, short_x).ceil_().clamp_(0, width)
    pixels = torch.maximum(long_x, short_x).ceil_().clamp_(0, width).sub_(first).int()
    apart = long_x - short_x
    slope = (long_w - short_w).div_(apart.abs().clamp_min_(1e-6).copysign_(apart))
    nearness_at_first = long_w.addcmul_(first - long_x, slope)
    pixel = (image * (height * width)).index_select(0, row_of) + row.long() * width + first.long()
    return _Rows(pixel, pixels, nearness_at_first, slope, triangle.index_select(0, row_of))


def _by_height(at: list[Tensor], levels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Three corners of triangles and their levels from the highest (smallest) to the lowest; compare-and-swaps."""
    at, y = list(at), [levels.index_select(0, corner) for corner in at]
    for i, j in ((0, 1), (1, 2), (0, 1)):
        swap = y[j] < y[i]
        y[i], y[j] = torch.minimum(y[i], y[j]), torch.maximum(y[i], y[j])
        at[i], at[j] = torch.where(swap, at[j], at[i]), torch.where(swap, at[i], at[j])
    return at, y


def _side(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], w: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Sides from their upper to their lower ends: x, y and nearness where they begin, and how far they go."""
    return [x[0], y[0], w[0], x[1] - x[0], (y[1] - y[0]).clamp_min(1e-12), w[1] - w[0]]


def _crossing(row: Tensor, sides: list[Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Where rows cross the sides `at` each of them, and the nearness there."""
    x, y, w, across, down, nearer = (column.index_select(0, at) for column in sides)
    t = torch.sub(row, y).div_(down).clamp_(0, 1)
    return across.mul_(t).add_(x), nearer.mul_(t).add_(w)


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts (2, 3): the owners (0, 0, 1, 1, 1) and the float positions within each (0, 1, 0, 1, 2)."""
    ends = counts.cumsum(0, dtype=counts.dtype)
    total = int(ends[-1])
    # The owner changes where another one's entries end; in a third of the time of `torch.repeat_interleave`.
    changes = torch.zeros(total + 1, dtype=counts.dtype, device=counts.device)
    changes.scatter_add_(0, ends[:-1].long(), torch.ones_like(ends[:-1]))
    owner = changes[:total].cumsum(0, dtype=counts.dtype)
    position = torch.arange(len(owner), dtype=counts.dtype, device=counts.device)
    return owner, (position - (ends - counts).index_select(0, owner)).float()


def _competing_pixels(rows: _Rows) -> tuple[Tensor, Tensor]:
    """Step 3: flat pixel indices and depth keys of all spans; a larger key is nearer, then lower-numbered."""
    owner, step = _expand(rows.length)
    nearness = rows.nearness.index_select(0, owner).addcmul_(step, rows.slope.index_select(0, owner))
    # Positive floats sort like their bit patterns. Rounding may not push a value below the smallest one.
    bits = nearness.clamp_min_(torch.finfo(torch.float32).tiny).view(torch.int32).long()
    key = bits.bitwise_left_shift_(32).bitwise_or_((TRIANGLE_MASK - rows.triangle).index_select(0, owner))
    return rows.pixel.index_select(0, owner).add_(step.long()), key


def keep_largest(
    key: Int64[Tensor, " P"], pixel: Int64[Tensor, " N"], value: Int64[Tensor, " N"], *, by_sorting: bool
) -> None:
    """Raise `key` at each pixel to the largest of its values, if that is larger.

    Args:
        key: changed in place.
        pixel: places in it.
        value: what competes for each place.
        by_sorting: the same numbers, several times as slow. PyTorch may refuse scattered maxima on GPUs where it is to
            use deterministic algorithms alone, though a maximum of integers depends on no order.
    """
    if not by_sorting:
        key.scatter_reduce_(0, pixel, value, reduce="amax")
        return
    value, order = value.sort()
    pixel, by_pixel = pixel[order].sort(stable=True)
    is_last = torch.ones_like(pixel, dtype=torch.bool)
    is_last[:-1] = pixel[1:] != pixel[:-1]
    pixel, value = pixel[is_last], value[by_pixel][is_last]
    key[pixel] = torch.maximum(key[pixel], value)


def barycentric(
    xy_pixels: Float32[Tensor, "B V 2"],
    nearness: Float32[Tensor, "B V"],
    corners: Int64[Tensor, "N 3"],
    x: Float32[Tensor, " N"],
    y: Float32[Tensor, " N"],
) -> Float32[Tensor, "N 3"]:
    """Perspective-correct weights of the three corners at image points, between 0 and 1, of sum 1.

    Args:
        xy_pixels: Projected vertices.
        nearness: Inverse depth of the vertices; all equal for a parallel projection.
        corners: Vertices of the triangle at each point, counted through the batch (image * V + vertex).
        x: Image points, columns.
        y: Image points, rows.
    """
    # Single columns are gathered and worked on several times as fast as rows of three.
    columns = [column.reshape(-1) for column in (*xy_pixels.unbind(-1), nearness)]
    (xa, ya, wa), (xb, yb, wb), (xc, yc, wc) = (
        [column.index_select(0, corner) for column in columns] for corner in corners.t().contiguous()
    )
    for column, shift in ((xa, x), (xb, x), (xc, x), (ya, y), (yb, y), (yc, y)):
        column.sub_(shift)
    a, b, c = xb * yc, xc * ya, xa * yb
    a.addcmul_(xc, yb, value=-1)
    b.addcmul_(xa, yc, value=-1)
    c.addcmul_(xb, ya, value=-1)
    area = a + b + c
    inverse = area / (area * area).clamp_min_(1e-30)
    # Weights linear in the image, times the nearness, give weights linear in space.
    for weight, near in ((a, wa), (b, wb), (c, wc)):
        weight.mul_(inverse).clamp_min_(0).mul_(near)
    total = (a + b + c).clamp_min_(1e-30)
    return torch.stack([a / total, b / total, c / total], dim=1)


def interpolate(
    table: Float32[Tensor, "rows C"], corners: Int64[Tensor, "N 3"], weights: Float32[Tensor, "N 3"]
) -> Float32[Tensor, "N C"]:
    """Attributes at points inside triangles: the weighted sum of the corners' rows of the table."""
    return F.embedding_bag(corners, table, mode="sum", per_sample_weights=weights)


class Fragments(NamedTuple):
    """Surfaces to shade: first the nearest one of every covered pixel, then those behind it that show too."""

    pixel: Int64[Tensor, " N"]
    """Flat index in the batch of pictures."""
    image: Int64[Tensor, " N"]
    x: Float32[Tensor, " N"]
    """Where to shade, in pixels."""
    y: Float32[Tensor, " N"]
    triangle: Int64[Tensor, " N"]
    weight: Float32[Tensor, " N"]
    """Covered part of the pixel."""

    def blocks(self, size: int) -> list[Fragments]:
        """Consecutive blocks of at most `size` fragments, at least one block."""
        columns = (torch.split(column, max(size, 1)) for column in self)
        return [Fragments(*block) for block in zip(*columns, strict=True)]


def nearest_of_quarters(fine: Coverage) -> Int64[Tensor, "B H W"]:
    """The key of the nearest of the four samples of each pixel, from a coverage of twice the resolution.

    Sample (u, v) lies at pixel (u / 2 - 1/4, v / 2 - 1/4).
    """
    upper, lower = (torch.maximum(fine.key[:, k::2, ::2], fine.key[:, k::2, 1::2]) for k in (0, 1))
    return torch.maximum(upper, lower)


def fragments_of(fine: Coverage, nearest: Int64[Tensor, "B H W"], same_surface: float) -> tuple[Fragments, int]:
    """What to shade in each covered pixel, and how many of these are the nearest surfaces.

    Args:
        fine: Coverage at twice the resolution.
        nearest: `nearest_of_quarters` of it.
        same_surface: Samples whose nearness is at least this part of the pixel's nearest one belong to
            the same surface. The others are shaded too, at the nearest of them.
    """
    height, width = nearest.shape[1:]
    image, row, column = nearest.nonzero().t().contiguous()
    line = image * height + row  # through the whole batch
    pixel = line * width + column
    top = nearest.reshape(-1).index_select(0, pixel)
    corner = line * (4 * width) + column * 2
    samples = fine.key.reshape(-1)
    quarters = [samples[step:].index_select(0, corner) for step in (0, 1, 2 * width, 2 * width + 1)]
    place = _where(quarters, top)

    # Most pixels lie amid one surface: only the others need to be looked at sample by sample.
    limit = nearness_of(top) * same_surface
    least = torch.minimum(torch.minimum(quarters[0], quarters[1]), torch.minimum(quarters[2], quarters[3]))
    mixed = (nearness_of(least) < limit).nonzero()[:, 0]
    limit, *quarters = (column.index_select(0, mixed) for column in (limit, *quarters))
    own, covered, behind = torch.zeros_like(limit), torch.zeros_like(limit), torch.zeros_like(quarters[0])
    for quarter in quarters:
        same = nearness_of(quarter) >= limit
        own += same
        covered += quarter > 0
        behind = torch.maximum(behind, torch.where(same, 0, quarter))
    two = behind.nonzero()[:, 0]
    behind, second, *quarters = (column.index_select(0, two) for column in (behind, mixed, *quarters))
    weight = torch.ones_like(top, dtype=torch.float32).index_copy_(0, mixed, own * 0.25)

    place = torch.cat([place, _where(quarters, behind)])
    pixel, image, row, column = (torch.cat([v, v.index_select(0, second)]) for v in (pixel, image, row, column))
    x = (place & 1).float().mul_(0.5).add_(column).sub_(0.25)
    y = (place >> 1).float().mul_(0.5).add_(row).sub_(0.25)
    weight = torch.cat([weight, (covered - own)[two] * 0.25])
    return Fragments(pixel, image, x, y, triangle_of(torch.cat([top, behind])), weight), len(top)


def _where(quarters: Sequence[Tensor], key: Tensor) -> UInt8[Tensor, " N"]:
    """Which of the four samples shows a key, the last one of several. Bytes and a maximum: `torch.where` is slow."""
    place = torch.zeros_like(key, dtype=torch.uint8)
    for k, quarter in enumerate(quarters[1:], start=1):
        place = torch.maximum(place, (quarter == key).view(torch.uint8).mul_(k))
    return place
