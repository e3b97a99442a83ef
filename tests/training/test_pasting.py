"""Cut-out people in labeled frames: the plane, the scale, and the labels after occlusion."""

import cv2
import numpy as np
import pytest
from trainee import write_folder

from fairmot.core.errors import ConfigError, SourceError
from fairmot.training.augment_settings import CrowdSettings
from fairmot.training.loading import load_samples
from fairmot.training.pasting import fitted_plane, paste_into
from fairmot.training.samples import Kind, Sample
from fairmot.training.settings import TrainSettings
from fairmot.training.sprites import Cutout


def frame(feet, slope=0.5, horizon=40.0, identities=None) -> Sample:
    """A gray street with standing people at `(x, y)` of `feet`."""
    boxes = []
    for x, y in feet:
        height = slope * (y - horizon)
        boxes.append((x - 0.2 * height, y - height, x + 0.2 * height, y))
    count = len(boxes)
    names = np.full(count, -1) if identities is None else np.array(identities)
    image = np.full((300, 400, 3), 90, np.uint8)
    tlbr = np.array(boxes, "f").reshape(-1, 4)
    return Sample(image, tlbr, np.ones(count, int), np.zeros(count, int), names, "own", "own", "own/street")


STREET = [(40, 120), (120, 160), (200, 200), (280, 240), (360, 280)]


def cutout(identity: int = 3) -> Cutout:
    image = np.full((160, 60, 4), 255, np.uint8)
    image[..., 1] = 0
    return Cutout(image, identity)


def write_frame(folder, stem, sample):
    """Write an image with labels in JDE form."""
    for name in ("images", "labels_with_ids"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), sample.image)
    boxes = sample.tlbr / (400, 300, 400, 300)
    rows = np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1)
    lines = ["0 -1 " + " ".join(map(str, row)) for row in rows.tolist()]
    (folder / "labels_with_ids" / f"{stem}.txt").write_text("\n".join(lines))


def test_plane_of_the_labels():
    plane = fitted_plane(frame(STREET))
    assert plane is not None
    assert plane.slope == pytest.approx(0.5, rel=1e-4)
    assert plane.horizon == pytest.approx(40, abs=0.01)
    assert plane.height(200) == pytest.approx(80, rel=1e-4)
    assert plane.feet == pytest.approx((120, 280))


def test_no_plane():
    assert fitted_plane(frame(STREET[:3])) is None
    assert fitted_plane(frame([(60 * i, 200 + i) for i in range(1, 6)])) is None  # all equally far
    assert fitted_plane(frame(STREET, slope=-0.5, horizon=400)) is None  # larger when farther
    seated = frame(STREET)
    seated.tlbr[:, 1] += 0.6 * (seated.tlbr[:, 3] - seated.tlbr[:, 1])
    assert fitted_plane(seated) is None
    ignored = frame(STREET)
    ignored.kinds[:2] = Kind.IGNORE
    assert fitted_plane(ignored) is None


def test_pasted_people_stand_on_the_plane_and_hide_behind_nobody():
    street = frame(STREET)
    plane = fitted_plane(street)
    new = []
    for seed in range(20):
        pasted = paste_into(street, plane, [cutout()], seed, 6, CrowdSettings())
        mine = pasted.identities == 3
        assert pasted.space == "cutouts"
        assert pasted.name == street.name
        assert {tuple(box) for box in pasted.tlbr[~mine].tolist()} <= {tuple(box) for box in street.tlbr.tolist()}
        new += pasted.tlbr[mine].tolist()
        for left, top, right, bottom in pasted.tlbr[mine].tolist():
            for box in street.tlbr.tolist():
                behind = box[3] > bottom and box[0] < right - 4 and box[2] > left + 4 and box[1] < bottom
                assert not (behind and box[1] < bottom - 4 and box[3] > top)
    boxes = np.array(new)
    assert len(boxes) > 30
    ratio = (boxes[:, 3] - boxes[:, 1]) / (0.5 * (boxes[:, 3] - 40))
    assert abs(np.median(ratio) - 1) < 0.03
    assert ratio.std() < 0.1


def test_labels_follow_what_is_seen():
    # Every label is checked against what the pasted people, all magenta, leave of its box.
    street = frame([(x, y) for x, y in STREET] + [(x, 150) for x in (200, 300)])
    plane = fitted_plane(street)
    found = set()
    for seed in range(60):
        pasted = paste_into(street, plane, [cutout()], seed, 8, CrowdSettings())
        magenta = (pasted.image[..., 2].astype(int) - pasted.image[..., 1]) > 60
        kept = {tuple(box): kind for box, kind in zip(pasted.tlbr.tolist(), pasted.kinds.tolist(), strict=True)}
        for box in street.tlbr:
            left, top, right, bottom = np.round(box).astype(int)
            seen = 1 - magenta[top:bottom, left:right].mean()
            kind = kept.get(tuple(box.tolist()), int(Kind.NONE))
            if seen > 0.4:
                assert kind == Kind.PERSON
            elif 0.1 < seen < 0.2:
                assert kind == Kind.IGNORE
            elif seen == 0:
                assert kind == Kind.NONE
            found.add(Kind(kind))
    assert {Kind.PERSON, Kind.IGNORE} <= found


def test_known_people_keep_their_names():
    street = frame(STREET, identities=[7, 8, 9, 10, 11])
    pasted = paste_into(street, fitted_plane(street), [cutout(3)], 1, 6, CrowdSettings())
    assert pasted.space == "own"
    assert set(pasted.identities.tolist()) <= {-1, 7, 8, 9, 10, 11}
    assert -1 in pasted.identities


def test_a_set_of_pasted_frames(tmp_path):
    (tmp_path / "cutouts").mkdir()
    person = cutout().image
    person[:10, :10, 3] = 0
    cv2.imwrite(str(tmp_path / "cutouts" / "full_0.webp"), person)
    for number in range(2):
        write_frame(tmp_path / "street", f"camera{number}_frame_0", frame(STREET))
    sets = {"street": 0.5, "pasted": 0.5}
    settings = TrainSettings(sets=sets, workers=1, pasted=3, held_out=("street/camera1",))
    pasted = [sample for sample in load_samples(tmp_path, settings) if sample.group == "pasted"]
    assert len(pasted) == 3
    assert {sample.name for sample in pasted} == {"street/camera0_frame_0"}  # nothing of what is held out
    assert any(len(sample.kinds) > len(STREET) for sample in pasted)


@pytest.mark.parametrize("group", ["crowd", "pasted"])
def test_no_cutouts(tmp_path, group):
    for name, labels in (("street", frame(STREET)), ("background", frame([]))):
        folder = tmp_path / name
        write_frame(folder, "camera0_frame_0", labels)
    with pytest.raises(SourceError, match="There are no cut-outs in"):
        load_samples(tmp_path, TrainSettings(sets={"street": 0.4, "background": 0.1, group: 0.5}, workers=1))


def test_no_frames_to_stand_in(tmp_path):
    write_folder(tmp_path, 2)
    for labels in (tmp_path / "mine" / "labels_with_ids").iterdir():
        labels.write_text("-1 -1 0.5 0.5 0.1 0.1\n")
    with pytest.raises(ConfigError, match="Pasted people need labeled frames"):
        load_samples(tmp_path, TrainSettings(sets={"mine": 0.5, "pasted": 0.5}, workers=1))


def test_objects_of_other_classes_tell_no_plane_and_keep_their_class():
    street = frame([*STREET, (100, 290)])
    street.tlbr[-1] = (96, 270, 104, 290)  # a narrow low thing, off the people's plane
    street.classes[-1] = 1
    plane = fitted_plane(street)
    assert plane is not None
    assert plane.horizon == pytest.approx(40, abs=0.01)
    pasted = paste_into(street, plane, [cutout()], 1, 6, CrowdSettings())
    assert (pasted.identities == 3).any()
    assert pasted.classes.tolist() == [int(np.array_equal(box, street.tlbr[-1])) for box in pasted.tlbr]
    assert 1 in pasted.classes
