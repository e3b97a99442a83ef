"""Strange words on the command line: values of options, addresses, names of files and folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from fuzz.cases import OUTPUT, Case, kind
from fuzz.corpus import FRAMES, ROOT, encode_image
from fuzz.mutations import WORDS


@kind("demo")
def demo(case: Case) -> None:
    """Queries of the scene; two frames of it, as large ones take seconds each."""
    usual = {"people": "4", "frames": "3", "size": "96x64", "seed": "1", "rate": "25"}
    if case.whole:
        case.harmless, case.frames = True, 2
    else:
        for _ in range(case.random.choice((1, 1, 2))):
            key = case.random.choice((*usual, *WORDS[:3], "People", "Size", "none"))
            usual[key] = case.random.choice((*WORDS, "640x480", "64x8192", "63x64", "1e2x1e2", "96x", "x", "96x64x3"))
    query = "&".join(f"{key}={value}" for key, value in usual.items())
    if not case.whole and case.chance(0.3):
        place = case.random.randrange(len(query))
        query = query[:place] + case.random.choice(("&", "=", "?", "&&", "%26", "#", "\n", "")) + query[place + 1 :]
    case.notes.append(repr(query[:80]))
    case.track(f"demo?{query}".replace("\0", ""), "--frames", "2", *(["--eval"] if case.chance(0.3) else []))


@kind("url")
def url(case: Case) -> None:
    """Addresses that nobody answers at, all of this machine, and schemes that reach something else than a stream."""
    rng = case.random
    case.write("clip.mp4", case.corpus.videos["mp4"][0][1])
    scheme = rng.choice(
        (
            "rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "srt", "tcp", "file", "ftp", "sftp", "hls", "data",
            "pipe", "fd", "concat", "subfile", "crypto", "async", "cache", "tee", "unix", "gopher", "mmsh", "ipfs",
            "HTTP", "x", "hls+http", "rtp" if case.chance(0.1) else "tcp", "udp" if case.chance(0.1) else "http",
        )
    )  # fmt: skip
    user = rng.choice(("", "", "u:p@", "u:p@ss@", ":@", "u:%zz@", "ü:ñ@", "u:\x1b[31m@", "@"))
    host = rng.choice(("127.0.0.1", "localhost", "[::1]", "[::1", "::1", "127.1", "", "[", "127.0.0.1%", "[::ffff:0]"))
    port = rng.choice((":1", ":1", ":0", ":-1", ":99999", ":x", ":", ":1:2", ""))
    path = rng.choice(
        ("/cam", "", "/", "//", "/a/../b", "/%00", "/%", "/ü", "/a b", "/" + 3000 * "x", "/\u202ex", "clip.mp4")
    )
    query = rng.choice(("", "", "?", "?a=1&b", "?listen=0", "?timeout=-1", "?key=secret", "#x", "?" + 300 * "q"))
    word = f"{scheme}://{user}{host}{port}{path}{query}"
    if case.whole:
        word = "http://127.0.0.1:1/cam"
    elif case.chance(0.15):
        word = rng.choice(
            ("://", "a://", "http:/127.0.0.1:1/x", "rtsp:", "file:clip.mp4", f"file://{case.folder}/clip.mp4")
        )
    case.notes.append(repr(word[:100]))
    case.track(word, "--no-video")


def _keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@kind("options")
def options(case: Case) -> None:
    """Any option with any value; the keys are those of the default configuration, each of which is an option."""
    rng = case.random
    keys = sorted(_keys(yaml.safe_load((ROOT / "configs" / "default.yaml").read_text(encoding="utf-8"))))
    more: list[str] = []
    if case.whole:
        case.harmless = True
        more = ["--stride", "1", "--tracker.motion-weight=0.5", "--no-video", "--threads", "1"]
    for _ in range(0 if case.whole else rng.choice((1, 1, 2, 3))):
        key, value = rng.choice((*keys, "strid", "", "config", "help", "no-start", "tracker")), rng.choice(WORDS)
        value = rng.choice((value, value, "0", "-1", "1", "0x0", "32x32", "96x64", "99968x99968", "1000000000", "full"))
        if key == "save_detections" and rng.random() < 0.5:
            value = rng.choice(("out/a.npz", "found", "photos", "photos/0.png", "out", ".npz"))
        flag = f"--{key.replace('_', '-') if rng.random() < 0.5 else key}"
        more += rng.choice(([flag, value], [f"{flag}={value}"], [flag]))
    case.notes.append(repr(more)[:200])
    case.track(case.photos(), *(word.replace("\0", "") for word in more))
    if not case.whole and case.chance(0.2):
        case.arguments[0] = rng.choice(
            ("", ".", "..", "-", "--", "photos/*.xyz", "[", "**", "photos/\n", "~", 300 * "a")
        )
        case.notes.append(f"source {case.arguments[0]!r}")


_NAMES = (
    "clip", "0", "0000", "demo", "demo?people=3", "a b", "a\nb", "a\x1b[31mb", "名前 🙂", "e\u0301", "\u202egnp", "-x",
    "--frames", "[ab]", "a*b", "%s%n", "{0}", "$HOME", "a'b\"c", "#", "...", "a:b", "file:x", "concat:x|y", "CON",
    "a\\b", "\udcff\udcfe", "\x7f\x85", " ", "a" * 240, "名" * 80, "a?b", "run.json", "out", "http:", "~", "a=b",
)  # fmt: skip


@kind("names")
def names(case: Case) -> None:
    """Files and folders that are all right but for their names, on terminals of several encodings."""
    name = case.pick(_NAMES)
    case.encoding = case.pick(("utf-8", "ascii", "latin-1"))
    way = case.pick(("video", "folder", "output"))
    case.notes.append(f"{way} {name!r}, terminal {case.encoding}")
    case.harmless, case.frames = True, FRAMES
    if way == "video":
        path = case.write(f"{name}.avi", case.corpus.videos["avi"][0][1])
        case.track(path if case.chance(0.5) else f"./{path.name}")
        if case.chance(0.3) and not name.startswith(("-", "~")):
            case.arguments[0] = path.name
    elif way == "folder":
        for number in range(2):
            case.write(f"{name}/{number}.png", encode_image(".png", number))
        case.frames = 2
        case.track(name if case.chance(0.5) and name[0] not in "-~" and "/" not in name else case.folder / name)
    else:
        case.track(case.write("clip.avi", case.corpus.videos["avi"][0][1]))
        case.arguments[case.arguments.index(OUTPUT)] = f"out/{name}" if case.chance(0.5) or name[0] in "-~" else name
