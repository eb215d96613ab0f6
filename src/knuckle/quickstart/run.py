"""The steps of the quickstart: render, train, measure, predict, show.

Everything goes through the doors that a user's own work would go through: images on disk, a recipe, a run
folder, `evaluate`, a `Predictor`. Nothing is kept from one run to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import UInt8

from knuckle.data.images import read_image
from knuckle.draw import contact_sheet, draw_hands, hand_tile, write_image
from knuckle.evaluate import Report, evaluate, write_report
from knuckle.evaluate.compare import predictions_of_model
from knuckle.evaluate.mean_pose import in_boxes, mean_pose
from knuckle.formats import read
from knuckle.hands import Hands
from knuckle.metrics import nme, pck
from knuckle.predict import Predictor, load
from knuckle.quickstart.page import Page, write_page
from knuckle.render import render
from knuckle.render.folder import render_folder
from knuckle.skeleton import GESTURES
from knuckle.train import train
from knuckle.train.dry_run import step_seconds
from knuckle.train.recipe import Recipe, check_recipe

LEARNING_SEED: Final = 0
FRESH_SEED: Final = 1
"""Of hands that are rendered after training."""
FRESH_HANDS: Final = 12
TRAINING_SECONDS: Final = 160.0
"""That training may take, so that all of it ends within five minutes on two slow cores."""
TIMED_STEPS: Final = 4
KEPT_FOR_VALIDATION: Final = 0.05
KEPT_FOR_TEST: Final = 0.2
LEAST_EPOCHS: Final = 3
LARGEST_PHOTO: Final = 900
"""Longer side of a photo on the page, pixels."""

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]


def nothing_shown(total: int, what: str) -> AbstractContextManager[Callable[[int], None]]:
    """Progress that nobody watches."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True)
class Settings:
    """How much the quickstart does.

    Attributes:
        hands: rendered hands; a fifth of them is kept for the test.
        size: side of the rendered pictures, pixels.
        crop: side of the network's input, pixels.
        epochs: passes over the training part, at most: a slow machine takes as many as fit into `TRAINING_SECONDS`.
        backbone: a timm network.
    """

    hands: int = 3000
    size: int = 128
    crop: int = 64
    epochs: int = 10
    backbone: str = "cs3darknet_focus_s"


def quickstart(
    out: Path,
    photos: Sequence[Path] = (),
    *,
    settings: Settings | None = None,
    say: Callable[[str], object] = print,
    progress: Progress = nothing_shown,
) -> Path:
    """Render hands, train a small network on them, measure it, and show what it finds.

    Args:
        out: folder to make.
        photos: pictures of one hand each that fills the frame, to try the network on.
        settings: how much to do; None is enough for a first impression in minutes.
        say: takes one sentence before each step.
        progress: opens a display of so many things, and gives a function that takes the number done.

    Returns:
        The page, one self-contained HTML file.

    Raises:
        ValueError: the folder is not empty or cannot be made, or a photo cannot be read.
    """
    settings = settings or Settings()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(
            f"{out} is not empty; name another folder with --out, or delete it if a quickstart stopped there."
        )
    pictures = [read_image(photo) for photo in photos]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{out} cannot be made ({error.strerror or error}).") from error
    began = time.perf_counter()
    say(f"1 of 4: rendering {settings.hands} hands into {out / 'hands'}.")
    with progress(settings.hands, "hands") as update:
        render_folder(out / "hands", settings.hands, LEARNING_SEED, settings.size, progress=update)
    labels = out / "hands" / "annotations.json"
    settings = replace(settings, epochs=affordable_epochs(labels, settings))
    times = "once" if settings.epochs == 1 else f"{settings.epochs} times"
    say(f"2 of 4: training {settings.backbone} on four fifths of them, {times} over.")
    run = train(recipe(labels, settings), out / "model")
    say("3 of 4: measuring it on hands that it has not seen.")
    compared = predictions_of_model(run, read(run / "test.json"), device="cpu")
    report = evaluate(compared.pred, compared.true)
    learnt = read(run / "train.json")
    chance = chance_pck(learnt, compared.true)
    write_report(report, compared.pred, compared.true, out / "evaluation")
    say("4 of 4: predicting on hands rendered just now.")
    model = load(run, flip_test=True, device="cpu")
    fresh_images, fresh_truth = render(FRESH_HANDS, FRESH_SEED, settings.size)
    fresh_found = model.predict(list(fresh_images), [box[None] for box in fresh_truth.box])
    write_image(out / "fresh.png", fresh_sheet(fresh_images, fresh_truth, fresh_found))
    drawn = [out / "photos" / f"{number}.png" for number in range(len(pictures))]
    for picture, file in zip(pictures, drawn, strict=True):
        write_image(file, shrunk(draw_hands(picture, hands_in(picture, model))))
    page = Page(
        title="knuckle: a first model",
        summary=summary(report, len(learnt), chance, settings.size, time.perf_counter() - began),
        report=report,
        pictures=[
            ("Hands rendered just now: prediction in colours, truth in white", out / "fresh.png"),
            *((photo.name, file) for photo, file in zip(photos, drawn, strict=True)),
            ("The worst of the test: truth, and prediction beside it", out / "evaluation" / "gallery.png"),
            ("How far off, and how often", out / "evaluation" / "pck_curve.png"),
            ("While it learnt", run / "curves.png"),
        ],
    )
    return write_page(page, out / "index.html")


def hands_in(picture: UInt8[np.ndarray, "H W 3"], model: Predictor) -> Hands:
    """The hands that the detector finds in a photo, or else one that may fill it."""
    found = model.predict(picture)
    return found if len(found) else model.predict(picture, boxes="full")


def recipe(labels: Path, settings: Settings) -> Recipe:
    """A short run of the pyramid method on the CPU, which learns most in minutes; a fifth of the hands is the test."""
    content: dict[str, Any] = {
        "data": {"path": str(labels), "validation": KEPT_FOR_VALIDATION, "test": KEPT_FOR_TEST},
        "model": {
            "method": "pyramid",
            "backbone": settings.backbone,
            "size": settings.crop,
            "padding": 1.4,
            "options": {"sigma": 1.0, "width": 64},
        },
        "augmentation": {"mirror": 0.5, "rotation": 45.0, "scale": (0.8, 1.2), "shift": 0.08},
        "train": {
            "epochs": settings.epochs,
            "batch": 32,
            "optimizer": "muon",
            "learning_rate": 4e-3,
            "weight_decay": 0.05,
            "schedule": {"kind": "cosine"},
            "warmup_iterations": 30,
            "warmup_factor": 0.01,
            "clip_norm": 5.0,
            "ema_decay": 0.98,
            "save_best": "nme",
            "validate_every": 3,
            "channels_last": True,
        },
        "device": "cpu",
    }
    return check_recipe(content, "the quickstart's recipe")


def affordable_epochs(labels: Path, settings: Settings) -> int:
    """The passes that fit into `TRAINING_SECONDS` at this machine's speed; not more than asked for, nor too few."""
    rehearsed = recipe(labels, settings)
    quickest = min(step_seconds(rehearsed, TIMED_STEPS))
    learnt = len(read(labels)) * (1 - KEPT_FOR_VALIDATION - KEPT_FOR_TEST)
    fitting = int(TRAINING_SECONDS / (quickest * max(1.0, learnt / rehearsed.train.batch)))
    return min(settings.epochs, max(LEAST_EPOCHS, fitting))


def chance_pck(learnt: Hands, true: Hands) -> float:
    """PCK@0.2 of a guess that never looks at the picture: the mean pose of the training hands in each box."""
    return float(pck(in_boxes(mean_pose(learnt), true), true, 0.2))


def summary(report: Report, learnt: int, chance: float, size: int, seconds: float) -> str:
    """What came out, for someone who knows none of the field's metrics."""
    return (
        f"In {seconds / 60:.1f} minutes a small network learnt from {learnt:,} rendered hands. On "
        f"{report.hands:,} hands that it had never seen, it put {report.pck_box_20:.0%} of the {report.keypoints:,} "
        f"keypoints within a fifth of the hand's size of their true place, where a guess that never looks at the "
        f"picture gets {chance:.0%}; on average it is off by "
        f"{report.nme:.1%} of the hand's size, which is {report.epe:.1f} pixels in pictures of "
        f"{size} x {size}."
    )


def shrunk(picture: np.ndarray) -> np.ndarray:
    """A photo small enough for a page that holds all its pictures; a small one as it is."""
    factor = LARGEST_PHOTO / max(picture.shape[:2])
    return picture if factor >= 1 else cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def fresh_sheet(images: np.ndarray, truth: Hands, found: Hands) -> np.ndarray:
    """Each hand with what was found, and the truth in white under it."""
    tiles, captions = [], []
    for row, image in enumerate(images):
        tiles.append(hand_tile(image, found[row].replace(box=truth[row].box), truth=truth[row]))
        gesture = int(truth.gesture[row])
        name = GESTURES[gesture] if gesture >= 0 else "between gestures"
        captions.append(f"{name}\nNME {nme(found[row], truth[row]):.3f}")
    return contact_sheet(tiles, captions, columns=6)
