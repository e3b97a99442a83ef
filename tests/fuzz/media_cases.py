"""Damaged videos, images and playlists."""

from __future__ import annotations

import zlib
from functools import partial

from fuzz.cases import KINDS, Case, Medium, kind
from fuzz.corpus import FEW, FRAMES, encode_image
from fuzz.mutations import mend_png

VIDEOS = ("mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "gif", "mjpeg", "ogg", "other")
STATES_LENGTH = ("mp4", "mov", "avi")
"""Containers that say how many frames there should be, so that a loss can be told."""
_BOMB_BYTES = 120_000_000  # what 30000x30000 pixels of one bit take
IMAGES = ("jpg", "png", "webp", "tiff", "bmp")


def _extras(case: Case) -> list[str]:
    """Options under which the same frames are tracked."""
    choices = (["--no-video"], ["--save-detections", "out/found.npz"], ["--camera-motion"], ["--interpolate"])
    return [word for words in choices if case.chance(0.15) for word in words]


def _video(container: str, case: Case) -> None:
    corpus = case.corpus
    ending, data = case.pick(corpus.videos[container])
    donors = [content for files in corpus.videos.values() for _, content in files]
    if case.chance(0.5):
        donors = [content for _, content in corpus.videos[container]]
    path = case.write(f"clip.{ending}", case.damage(data, donors))
    case.media, case.frames = [Medium("video", path, data)], FRAMES
    case.track(path, *_extras(case))


for _name in VIDEOS:
    KINDS[_name] = partial(_video, _name)


def _damaged_image(case: Case, container: str, data: bytes) -> bytes:
    donors = [content for files in case.corpus.images.values() for _, content in files]
    data = case.damage(data, donors)
    if container == "png" and case.chance(0.6):
        data = mend_png(data)
    return data


def _image(container: str, case: Case) -> None:
    """One image as a source of its own, in a folder, or in a MOTChallenge sequence with ground truth."""
    ending, whole = case.pick(case.corpus.images[container])
    data = _damaged_image(case, container, whole)
    way = case.pick(("alone", "folder", "sequence"))
    if way == "alone":
        path = case.write(f"photo.{ending}", data)
        case.media, case.frames = [Medium("image", path, whole)], 1
        case.track(path, *_extras(case))
        return
    at = case.random.randrange(FEW)
    folder = "walk/img1" if way == "sequence" else "photos"
    for number, image in enumerate(case.corpus.pngs):
        name = f"{folder}/{number + 1:06d}.{ending if number == at else 'png'}"
        path = case.write(name, data if number == at else image)
        case.media.append(Medium("image", path, whole if number == at else image))
    case.frames = FEW
    if way == "sequence":
        case.write("walk/seqinfo.ini", case.corpus.seqinfo.replace("imExt=.png\n", ""))
        case.write("walk/gt/gt.txt", case.corpus.gt)
        case.track(case.folder / "walk", *_extras(case), *(["--eval"] if case.chance(0.5) else []))
    else:
        case.track(case.folder / "photos", *_extras(case))


for _name in IMAGES:
    KINDS[_name] = partial(_image, _name)


@kind("bomb")
def bomb(case: Case) -> None:
    """Small images that claim to be huge, some of them with all the data they promise."""
    width, height = case.pick(((3000, 2000), (30000, 30000), (65500, 65500), (1, 2**31 - 1), (2**31 - 1, 1), (0, 9)))
    kind_of_pixel, row = case.random.choice(((0, width // 8), (3, width), (2, 3 * width)))
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8 if kind_of_pixel else 1, kind_of_pixel))
    promised = height * (1 + row)
    pixels = zlib.compress(bytes(min(promised, _BOMB_BYTES)), 1)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header + bytes(3)), (b"PLTE", bytes(768)), (b"IDAT", pixels), (b"IEND", b"")):
        if name != b"PLTE" or kind_of_pixel == 3:
            data += len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
    case.notes.append(f"{width}x{height} pixels of type {kind_of_pixel} in {len(data)} bytes")
    if case.chance(0.5) or case.whole:
        path = case.write("photos/1.png", data)
        case.write("photos/2.png", encode_image(".png"))
        case.track(path.parent, "--no-video")
    else:
        case.track(case.write("photo.png", data), "--no-video")


@kind("playlist")
def playlist(case: Case) -> None:
    """Text files that make FFmpeg open others; nothing outside of the folder is there to be opened."""
    case.write("part.ts", case.corpus.videos["ts"][0][1])
    name, text = case.pick(
        (
            ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3.0,\npart.ts\n#EXT-X-ENDLIST\n"),
            ("list.ffconcat", "ffconcat version 1.0\nfile part.ts\nduration 3\nfile part.ts\n"),
            ("cam.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 50004 RTP/AVP 96\n"),
            ("list.mpd", "<MPD><Period><AdaptationSet><BaseURL>part.ts</BaseURL></AdaptationSet></Period></MPD>\n"),
        )
    )
    data = case.damage_text(text)
    if not case.whole and case.chance(0.4):
        target = case.random.choice(
            (
                b"http://127.0.0.1:1/a.ts", b"file:part.ts", b"../part.ts", b"/dev/null", b"concat:part.ts|part.ts",
                b"data:video/mp4;base64,AAAA", b"list.m3u8", b"subfile,,start,0,end,99,,:part.ts", b"pipe:0",
            )
        )  # fmt: skip
        data = data.replace(b"part.ts", target)
        case.notes.append(f"part.ts becomes {target!r}")
    case.harmless = False  # what may be opened is a matter of trust, not of this test
    case.track(case.write(name, data), "--no-video")
