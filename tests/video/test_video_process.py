"""The annotated video from a worker process: the same images as from a thread, and its errors here."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from support import clip_files as clips

from fairmot.core import Frame, OutputError, Tracks
from fairmot.core.processes import CAN_SHARE_MEMORY
from fairmot.video import VideoSink
from fairmot.video.frame_ring import FrameRing, RingLayout
from fairmot.video.video_process import MOST_HELD, VideoProcess

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not CAN_SHARE_MEMORY, reason="there is no memory that processes share without a name"),
]

TRACKS = Tracks(np.array([1, 2]), np.float32([[5, 5, 30, 40], [50, 8, 30, 40]]), np.float32([1, 1]), np.array([0, 0]))


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = FrameRing(RingLayout(20480, 12))
    yield ring
    ring.close()


def images_of(path: Path) -> list[np.ndarray]:
    """Return the images below the line of text, which holds the rate."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray")[24:] for frame in container.decode(video=0)]


def test_images_are_those_of_a_thread(tmp_path: Path, ring: FrameRing) -> None:
    """Frames in the ring, planes and BGR, and frames elsewhere."""
    free: list[int] = list(range(ring.layout.slots))
    with (
        VideoSink(tmp_path / "thread.mp4", clips.SIZE, 25, class_names=("a", "b")) as expected,
        VideoProcess(ring, tmp_path / "process.mp4", clips.SIZE, 25, class_names=("a", "b")) as sink,
    ):
        for number in range(1, 41):
            image = clips.flat(number % 40)
            frame = Frame(number, number / 25, image)
            if number % 3 == 0:
                planes = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="nv12").to_ndarray()
                frame = Frame(number, number / 25, planes, "nv12", "ITU709", True)
            expected.write(frame, TRACKS)
            if number % 4:
                assert len(free) >= ring.layout.slots - MOST_HELD - 1, "slots come back"
                slot = free.pop()
                view = ring.view(slot, frame.pixels.shape, lambda slot=slot: free.append(slot))
                view[...] = frame.pixels
                frame = Frame(number, number / 25, view, frame.pixel_format, frame.color_space, frame.full_range)
                del view
            sink.write(frame, TRACKS)
    del frame
    assert len(free) == ring.layout.slots
    pairs = list(zip(images_of(tmp_path / "process.mp4"), images_of(tmp_path / "thread.mp4"), strict=True))
    assert len(pairs) == 40
    for one, other in pairs:
        # Not equal: the text of the rate decides where the encoder spends its bits. Neighbors differ by 5 levels.
        assert np.abs(one.astype(int) - other).mean() < 2
    assert not list(tmp_path.glob(".*"))


def test_a_video_that_cannot_be_made(tmp_path: Path, ring: FrameRing) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match=r"taken/a\.mp4 cannot be written"):
        VideoProcess(ring, tmp_path / "taken" / "a.mp4", clips.SIZE, 25)


def test_a_disk_that_fills_up_is_reported_once(tmp_path: Path, ring: FrameRing) -> None:
    sink = VideoProcess(ring, tmp_path / "a.mp4", clips.SIZE, 25)
    resource.prlimit(sink._worker.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))  # stands for a full disk
    raised: list[str] = []
    for number in range(1, 200):
        try:
            sink.write(Frame(number, number / 25, clips.noise(number)), TRACKS)
        except OutputError as error:
            raised.append(str(error))
    sink.close()
    sink.close()
    assert raised == [f"{tmp_path / 'a.mp4'} cannot be written (file too large); choose another output folder."]
