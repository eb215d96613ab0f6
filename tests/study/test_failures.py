"""Failures: the gesture and the joint that were made worse are named, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from knuckle.hands import Hands
from knuckle.skeleton import GESTURES, JOINT_NAMES
from knuckle.study.failures import failures
from tests.study.test_evidence import hands_with_errors, scattered

CLASSES = (0, 6, 12)


@pytest.fixture
def pair() -> tuple[Hands, Hands]:
    """Fists off by 9 px, the others by 4; on every hand the thumb's tip by 6 px more."""
    pred, true = hands_with_errors({g: scattered(20, 9 if g == 6 else 4, g) for g in CLASSES})
    xy = pred.xy.copy()
    xy[:, 4, 0] += 6
    return pred.replace(xy=xy), true


def test_what_was_made_worse_is_named(pair: tuple[Hands, Hands]) -> None:
    found = failures({"base hands": pair}, CLASSES)
    assert [row.name for row in found.gestures if row.fails] == [GESTURES[6]]
    assert [row.name for row in found.joints if row.fails] == [JOINT_NAMES[4]]
    assert found.gestures[0].nme == pytest.approx(0.093, abs=0.01)  # 9 px and 6 / 21, over 100
    joint = found.joints[0]
    assert joint.nme - joint.others == pytest.approx(0.06, abs=1e-4)
    first, second = found.sentences()
    assert first.startswith(f"Base hands: shown to be worse than the other gestures: {GESTURES[6]} (NME 0.09")
    assert JOINT_NAMES[4] in second


def test_nothing_is_claimed_of_a_few_hands(pair: tuple[Hands, Hands]) -> None:
    few = np.concatenate([np.flatnonzero(pair[1].gesture == gesture)[:2] for gesture in CLASSES])
    found = failures({"own hands": (pair[0][few], pair[1][few])}, CLASSES)
    assert not any(row.fails for row in (*found.gestures, *found.joints))
    assert "Own hands: no gesture is shown to be worse" in found.sentences()[0]
    assert found.gestures[0].record("gesture")["ratio"] == pytest.approx(
        found.gestures[0].nme / found.gestures[0].others
    )


def test_a_single_gesture_has_no_other_to_be_compared_with(pair: tuple[Hands, Hands]) -> None:
    fists = pair[1].gesture == 6
    first, second = failures({"own hands": (pair[0][fists], pair[1][fists])}, CLASSES).sentences()
    assert first.startswith(
        "Own hands: fist is the only gesture, so there is no other to compare it with; its NME is 0.09"
    )
    assert JOINT_NAMES[4] in second  # joints have others
