from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from knuckle.render.mesh import BONES, HandAsset, faces_around_vertices, load_asset

NUM_BONES = len(BONES)
TIP_BONES = [BONES.index(f"{finger}_distal") for finger in ("thumb", "index", "middle", "ring", "little")]


@pytest.fixture(scope="module")
def asset() -> HandAsset:
    return load_asset()


def signed_volume(vertices: Tensor, faces: Tensor) -> float:
    """By the divergence theorem; positive where triangles run counter-clockwise seen from outside."""
    a, b, c = vertices[faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_shapes_and_types(asset: HandAsset) -> None:
    num_vertices, num_faces = len(asset.vertices), len(asset.faces)
    assert asset.faces.shape == (num_faces, 3)
    assert asset.weights.shape == (num_vertices, NUM_BONES)
    assert asset.bone_heads.shape == (NUM_BONES, 3)
    assert asset.shape_vertices.shape == (12, num_vertices, 3)
    assert asset.shape_heads.shape == (12, NUM_BONES, 3)
    assert asset.nail.shape == (num_vertices,)
    assert {asset.faces.dtype, asset.tip_vertices.dtype, asset.vertex_faces.dtype} == {torch.int64}
    assert {asset.vertices.dtype, asset.weights.dtype, asset.nail.dtype} == {torch.float32}


def test_every_vertex_belongs_to_a_triangle(asset: HandAsset) -> None:
    assert set(asset.faces.flatten().tolist()) == set(range(len(asset.vertices)))


def test_weights_sum_to_one(asset: HandAsset) -> None:
    assert asset.weights.min() >= 0
    torch.testing.assert_close(asset.weights.sum(1), torch.ones(len(asset.weights)))


def test_every_bone_moves_some_skin(asset: HandAsset) -> None:
    assert set(asset.weights.argmax(1).tolist()) == set(range(NUM_BONES))


def test_hand_space_is_as_documented(asset: HandAsset) -> None:
    heads = dict(zip(BONES, asset.bone_heads, strict=True))
    torch.testing.assert_close(heads["palm"], torch.zeros(3))
    assert heads["middle_proximal"][:1].abs() < 1e-3
    assert 78 < heads["middle_proximal"][1] < 84
    xs = [float(heads[f"{finger}_proximal"][0]) for finger in ("thumb", "index", "middle", "ring", "little")]
    assert xs == sorted(xs, reverse=True), "x grows towards the thumb"
    assert heads["forearm_elbow"][1] < heads["forearm_wrist"][1] < -50
    nails = asset.vertices[asset.nail > 0]
    fingers = nails[nails[:, 0] < 40]  # without the thumb, whose nail looks sideways
    normals = asset.normals(asset.vertices[None])[0][asset.nail > 0][nails[:, 0] < 40]
    assert len(fingers) > 20
    assert normals[:, 2].mean() < -0.5, "nails look to the back of the hand, -z"


def test_bone_frames_are_rotations_along_the_bones(asset: HandAsset) -> None:
    frames = asset.bone_frames
    torch.testing.assert_close(frames @ frames.mT, torch.eye(3).expand_as(frames), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(NUM_BONES), atol=1e-5, rtol=0)
    for distal, tips in zip(TIP_BONES, asset.tip_vertices, strict=True):
        ends = torch.cat([asset.bone_heads[distal - 2 : distal + 1], asset.vertices[tips].mean(0, keepdim=True)])
        along = torch.nn.functional.normalize(ends.diff(dim=0), dim=1)
        torch.testing.assert_close(frames[distal - 2 : distal + 1, :, 1], along, atol=1e-4, rtol=0)


def test_faces_wind_counter_clockwise_from_outside_and_a_mirrored_hand_needs_them_flipped(asset: HandAsset) -> None:
    mirrored = asset.vertices * torch.tensor([-1.0, 1.0, 1.0])
    volume = signed_volume(asset.vertices, asset.faces)
    assert 3e5 < volume < 9e5, "cubic millimetres"
    assert signed_volume(mirrored, asset.faces) == pytest.approx(-volume)
    assert signed_volume(mirrored, asset.faces.flip(1)) == pytest.approx(volume)


def test_tips_are_skin_of_the_last_bone_beyond_its_joint(asset: HandAsset) -> None:
    for bone, tips in zip(TIP_BONES, asset.tip_vertices, strict=True):
        assert (asset.weights[tips, bone] == 1).all()
        own = asset.vertices[asset.weights[:, bone] == 1] - asset.bone_heads[bone]
        along = own @ asset.bone_frames[bone][:, 1]
        tip = (asset.vertices[tips].mean(0) - asset.bone_heads[bone]) @ asset.bone_frames[bone][:, 1]
        assert 15 < tip < 35
        assert along.max() - tip < 4, "at most 4 mm under the finger's very end"


def test_each_finger_has_a_nail_near_its_tip(asset: HandAsset) -> None:
    nails = asset.vertices[asset.nail > 0]
    for tips in asset.tip_vertices:
        distance = (nails - asset.vertices[tips].mean(0)).norm(dim=1)
        assert (distance < 15).sum() >= 6
    assert asset.nail.abs().max() <= 5


def test_normals_of_a_sphere_point_outwards() -> None:
    corners = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float32)
    faces = torch.tensor([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    asset = load_asset()
    octahedron = HandAsset(
        **{
            **asset.__dict__,
            "faces": faces,
            "vertex_faces": torch.from_numpy(faces_around_vertices(faces.numpy(), len(corners))),
        }
    )
    normals = octahedron.normals(torch.stack([corners, 5 * corners]))
    torch.testing.assert_close(normals, corners.expand(2, -1, -1))


def test_normals_are_unit_and_do_not_depend_on_the_batch(asset: HandAsset) -> None:
    vertices = (
        asset.vertices + torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(0)) * asset.shape_vertices[0]
    )
    normals = asset.normals(vertices)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(normals.shape[:2]))
    assert torch.equal(asset.normals(vertices[1:2])[0], normals[1])


def test_faces_around_vertices_lists_each_corner_once() -> None:
    faces = np.array([[0, 1, 2], [2, 1, 3]])
    assert faces_around_vertices(faces, 4).tolist() == [[0, 2], [0, 1], [0, 1], [1, 2]]


def test_loading_twice_reads_once_and_moving_keeps_the_values(asset: HandAsset) -> None:
    assert load_asset() is asset
    moved = asset.to("meta")
    assert moved.device.type == "meta"
    assert moved.vertices.shape == asset.vertices.shape
