"""A small world for the study: rendered hands in FreiHAND's layout, others as own photos with Labelme files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from knuckle.formats import write
from knuckle.geometry import CropRule
from knuckle.hands import Hands
from knuckle.methods.weights import ModelSpec, build, save_model
from knuckle.render import SceneConfig
from knuckle.render.dataset import render_labeled
from knuckle.render.labels import Labels
from knuckle.render.poses import PoseMix, parse_gestures

CLASSES = (0, 6)
CONFIG = replace(
    SceneConfig(),
    poses=PoseMix(gesture=1.0, interpolation=0.0, synergy=0.0, weights=parse_gestures("0:0.5,6:0.5")),
    lens=None,  # FreiHAND's cameras have no distortion
    framing=None,
    companions=None,
    occluders=None,
    jewelry=None,
    sensor=None,
)
WHOLE_IMAGE = CropRule(size=64, frame_padding=0.8, whole_image=True, alignment="corner")


def write_world(folder: Path, base: int = 20, own: int = 10) -> tuple[Labels, Hands]:
    """`FreiHAND`, `lists` with its gestures, and `photos` with folders c0 and c6.

    Returns:
        What is known of the base hands, and the own hands as they were written.
    """
    images, labels = render_labeled(base, seed=5, size=64, config=CONFIG, device="cpu")
    assert labels is not None
    write_freihand(folder / "FreiHAND", images, labels)
    lists = folder / "lists"
    lists.mkdir()
    for gesture in CLASSES:
        names = [f"{row:08d}.jpg\n" for row in np.flatnonzero(labels.gesture == gesture)]
        (lists / f"c{gesture}.txt").write_text("".join(names))
    photos, own_labels = render_labeled(own, seed=6, size=96, config=CONFIG, device="cpu")
    assert own_labels is not None
    names = [f"c{gesture}/{row}.png" for row, gesture in enumerate(own_labels.gesture.tolist())]
    hands = own_labels.hands(names).replace(root=folder / "photos", gesture=np.full(own, -1))
    for name, photo in zip(names, photos, strict=True):
        write_picture(folder / "photos" / name, photo)
    write(hands, folder / "photos", "labelme")
    return labels, hands


def write_freihand(root: Path, images: UInt8[np.ndarray, "n s s 3"], labels: Labels) -> None:
    """The training set of a release with one background: pictures, cameras, points in metres."""
    for number, image in enumerate(images):
        write_picture(root / "training" / "rgb" / f"{number:08d}.jpg", image)
    camera = np.zeros((len(labels), 3, 3))
    camera[:, 0, 0] = camera[:, 1, 1] = labels.focal
    camera[:, :2, 2], camera[:, 2, 2] = labels.principal, 1
    (root / "training_K.json").write_text(json.dumps(camera.tolist()))
    (root / "training_xyz.json").write_text(json.dumps((labels.xyz.astype(np.float64) / 1000).tolist()))


def write_picture(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))


def write_untrained_model(path: Path, rule: CropRule = WHOLE_IMAGE) -> Path:
    """A tiny heatmap network that has learnt nothing."""
    torch.manual_seed(0)
    spec = ModelSpec("heatmap", "mobilenetv3_small_050", rule)
    save_model(path, build(spec), spec, {})
    return path
