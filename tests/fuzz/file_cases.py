"""Damaged models, plans, detections, texts and settings, and reports of earlier runs."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from fuzz.cases import OUTPUT, Case, kind
from fuzz.mutations import INTEGERS, WORDS, mutate_json

_SIGNED = (*(each for each in INTEGERS if each < 2**63), -1)


@kind("onnx")
def model(case: Case) -> None:
    files = dict(case.pick(case.corpus.models))
    name = case.random.choice(sorted(files))
    if case.whole or case.chance(0.4):
        files[name] = case.damage(files[name], [content for each in case.corpus.models for content in each.values()])
    else:
        graph = onnx.load_from_string(files["model.onnx"])
        for _ in range(case.random.choice((1, 1, 2))):
            case.notes.append(_change_model(case, graph))
        files["model.onnx"] = graph.SerializeToString()
    for each, content in files.items():
        case.write(f"model/{each}", content)
    case.track(case.photos(), "--no-video", weights=case.folder / "model" / "model.onnx")


def _change_model(case: Case, model: onnx.ModelProto) -> str:
    """Change one thing in a model that stays readable."""
    rng, graph = case.random, model.graph
    way = rng.choice(
        ("fact", "fact", "values", "shape", "attribute", "operator", "name", "remove", "version", "beside")
    )
    if way == "fact":
        entry = rng.choice(model.metadata_props)
        word = rng.choice(WORDS)
        entry.value = entry.value.replace("4", word, 1) if rng.random() < 0.3 else word
        return f"{entry.key} = {entry.value[:40]!r}"
    if way == "values":
        tensors = [each for each in graph.initializer if each.data_type in (1, 10) and each.raw_data]
        if tensors:
            tensor = rng.choice(tensors)
            values = numpy_helper.to_array(tensor).copy()
            value = rng.choice((np.nan, np.inf, -np.inf, 6e4, -6e4, 1e-7))
            values.reshape(-1)[rng.randrange(values.size)] = value
            tensor.raw_data = values.tobytes()
            return f"{value} in {tensor.name}"
    if way == "beside":
        tensor = rng.choice(graph.initializer)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        place = rng.choice(("../model.data", "model.data", "/dev/null", "none", "", ".", "model.onnx", "x\x00y"))
        tensor.external_data.add(key="location", value=place)
        tensor.external_data.add(key="offset", value=rng.choice(("0", "-1", "99999999999", "x")))
        tensor.ClearField("raw_data")
        return f"{tensor.name} lies in {place!r}"
    if way == "shape":
        sized = [each for each in graph.initializer if each.dims]
        tensor = rng.choice(sized)
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_SIGNED)
        return f"shape of {tensor.name} = {list(tensor.dims)}"
    node = rng.choice(graph.node)
    if way == "attribute":
        counts = [each for node in graph.node for each in node.attribute if each.ints]
        attribute = rng.choice(counts)
        value = rng.choice(_SIGNED)
        attribute.ints[rng.randrange(len(attribute.ints))] = value
        return f"{attribute.name} has {value}"
    if way == "operator":
        node.op_type = rng.choice(("Relu", "Loop", "Expand", "NonZero", "Sqrt", "Log", "Custom", "", "DCNv2", "Shape"))
        return f"{node.name} is {node.op_type!r}"
    if way == "name":
        names = rng.choice((node.input, node.output))
        if names:
            names[rng.randrange(len(names))] = rng.choice(("heatmap", "images", "", "none", "box", "\x1b[31m"))
        return f"{node.name} goes from {list(node.input)} to {list(node.output)}"
    if way == "version":
        model.opset_import[0].version = rng.choice((0, 1, 11, 18, 99, 2**31, -1))
        model.ir_version = rng.choice((0, 3, 9, 99, 2**31))
        return f"opset {model.opset_import[0].version}, format {model.ir_version}"
    graph.node.remove(node)
    return f"without {node.name}"


@kind("plan")
def plan(case: Case) -> None:
    """Plans are only read: there is no GPU."""
    data = case.corpus.plan
    if not case.whole and case.chance(0.6):
        data = _change_plan(case, data)
    else:
        data = case.damage(data, [case.corpus.models[0]["model.onnx"]])
    path = case.write("a.plan", data)
    case.command = "inspect"
    case.arguments = [str(path)]


def _change_plan(case: Case, data: bytes) -> bytes:
    """Change the header and make the digest right again."""
    start = data.index(b"\n") + 1 + hashlib.sha256().digest_size
    magic, header_start = data[: data.index(b"\n") + 1], start + 4
    end = header_start + int.from_bytes(data[start:header_start], "little")
    header = data[header_start:end]
    if case.chance(0.7):
        changed, note = mutate_json(case.random, json.loads(header))
        header = json.dumps(changed).encode()
        case.notes.append(note)
    else:
        header = case.damage_text(header.decode())
    length = case.random.choice(INTEGERS) % 2**32 if case.chance(0.15) else len(header)
    rest = length.to_bytes(4, "little") + header + data[end:]
    case.notes.append(f"header of {length} bytes, digest mended")
    return magic + hashlib.sha256(rest).digest() + rest


@kind("npz")
def stream(case: Case) -> None:
    data = case.pick(case.corpus.streams)
    if case.whole or case.chance(0.35):
        data = case.damage(data, [case.corpus.models[0]["model.onnx"], *case.corpus.streams])
    else:
        data = _change_arrays(case, data)
    _associate(case, case.write("walk.npz", data))


def _change_arrays(case: Case, data: bytes) -> bytes:
    """Change one member of the archive, its checksum made right again."""
    rng = case.random
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    way = rng.choice(("bytes", "header", "value", "value", "type", "shape", "remove", "more"))
    if way == "bytes":
        members[name] = case.damage(members[name])
    elif way == "header":
        array = np.load(io.BytesIO(members[name]))
        shape = rng.choice(("(1000000000000,)", "(-1,)", "(0,)", "()", "(1, 1, 1, 1, 1)", "(2**40,)", "(9,9)", "x"))
        kind_of = rng.choice((array.dtype.str, "<f8", "|O", "<U9", ">i2", "<c16", "<M8[s]", "|V0", "<f8" * 3))
        text = f"{{'descr': '{kind_of}', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        body = members[name][128:]
        members[name] = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + body
    elif way == "remove":
        del members[name]
    elif way == "more":
        members[rng.choice(("x.npy", "../x.npy", "notes.txt", "frame"))] = members[name]
    else:
        array = np.load(io.BytesIO(members[name])).copy()
        if way == "value" and array.size:
            value = rng.choice((np.nan, np.inf, -1, 0, 0.5, 1e9, 1e18, 1e30, -1e30, 99_999_999, 1))
            array = array.astype(np.float64 if rng.random() < 0.5 else np.float32)
            places = slice(None) if rng.random() < 0.3 else rng.randrange(array.size)
            array.reshape(-1)[places] = value
        elif way == "type":
            kinds: tuple[Any, ...] = (np.float16, np.int8, np.uint64, bool, complex, str, "M8[s]", np.longdouble)
            array = array.astype(rng.choice(kinds))
        elif way == "shape":
            array = rng.choice((array[None], array.reshape(-1)[:0], array.reshape(-1), np.zeros(()), np.tile(array, 3)))
        file = io.BytesIO()
        np.save(file, array)
        members[name] = file.getvalue()
    case.notes.append(f"{way} of {name}")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return out.getvalue()


def _associate(case: Case, source: Path, *more: str) -> None:
    case.command = "associate"
    case.arguments = [str(source), "-o", "out/tracks.txt", *more]


@kind("det")
def detections(case: Case) -> None:
    """A det.txt, alone or in a sequence whose seqinfo.ini says how long it is."""
    text = case.corpus.det
    rewritten = not case.whole and case.chance(0.2)
    data = rewrite(case, text) if rewritten else case.damage_text(text)
    if case.chance(0.5):
        case.write("walk/seqinfo.ini", case.corpus.seqinfo)
        case.write("walk/det/det.txt", data)
        _associate(case, case.folder / "walk")
    else:
        _associate(case, case.write("walk.txt", data), *(["--interpolate"] if case.chance(0.3) else []))


def rewrite(case: Case, text: str) -> bytes:
    """Write a text of boxes in another way that TrackEval reads as the same."""
    rng = case.random
    case.harmless = True
    way = rng.choice((" ", "\t", ";", ", ", "comma", "lines", "blank", "marked", "order"))
    case.notes.append(f"written otherwise: {way!r}")
    if way == "comma":
        return text.replace("\n", ",\n").encode()
    if way == "lines":
        return text.replace("\n", "\r\n").encode()
    if way == "blank":
        return text.replace("\n", "\n\n", 2).rstrip("\n").encode()
    if way == "marked":
        return b"\xef\xbb\xbf" + text.encode()
    if way == "order":
        lines = text.splitlines(keepends=True)
        return "".join(sorted(lines, key=lambda line: -int(line.split(",")[0]))).encode()
    return text.replace(",", way).encode()


@kind("gt")
def ground_truth(case: Case) -> None:
    _evaluate(case, "gt")


@kind("results")
def results(case: Case) -> None:
    _evaluate(case, "results")


@kind("seqinfo")
def sequence_info(case: Case) -> None:
    _evaluate(case, "seqinfo")


def _evaluate(case: Case, damaged: str) -> None:
    """Score results that are equal to the ground truth, by themselves or after tracking."""
    texts = {"gt": case.corpus.gt, "results": case.corpus.gt, "seqinfo": case.corpus.seqinfo}
    if damaged != "seqinfo" and not case.whole and case.chance(0.2):
        data = rewrite(case, texts[damaged])
    else:
        data = case.damage_text(texts[damaged])
    content = {name: text.encode() for name, text in texts.items()} | {damaged: data}
    case.write("walk/gt/gt.txt", content["gt"])
    case.write("walk/seqinfo.ini", content["seqinfo"])
    if damaged != "results" and case.chance(0.5):
        for number, image in enumerate(case.corpus.pngs, 1):
            case.write(f"walk/img1/{number:06d}.png", image)
        case.track(case.folder / "walk", "--eval", "--no-video")
        return
    case.write("results/walk.txt", content["results"])
    case.command = "evaluate"
    case.arguments = [str(case.folder / "walk"), str(case.folder / "results"), "--json", "out/scores.json"]
    case.score = 1.0


@kind("yaml")
def configuration(case: Case) -> None:
    data = case.damage_text(case.corpus.yaml)
    if not case.whole and case.chance(0.5):
        snippet = case.random.choice(_YAML_SNIPPETS)
        case.notes.append(f"with {snippet[:40]!r}")
        lines = data.split(b"\n")
        lines.insert(case.random.randrange(len(lines)), snippet)
        data = b"\n".join(lines)
    path = case.write("mine.yaml", data)
    if case.chance(0.3):
        _associate(case, case.write("walk.txt", case.corpus.det), "--config", str(path))
    else:
        case.track(case.photos(), "--no-video", "--config", str(path))


def _alias_bomb(depth: int, width: int) -> bytes:
    lines = [b"a0: &a0 [x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * width)) for i in range(1, depth)]
    return b"\n".join(lines)


_YAML_SNIPPETS = (
    _alias_bomb(9, 9), _alias_bomb(30, 9), b"start: &a [*a]", b"size: &a {a: *a}", b"? [start]\n: 1", b"? {a: 1}\n: 1",
    b"<<: {start: 2}", b"<<: 5", b"start: !!python/object/apply:os.system [echo]", b"size: !!binary AAAA", b"3: 4",
    b"size: !!set {a, b}", b"start: 2020-01-01", b"start: 1:30", b"start: 0o17", b"frames: 1e3", b"null: 1", b"~: ~",
    b"frames: [1, 2]", b"tracker: 5", b"tracker: [1]", b"tracker: null", b"tracker: {a: {b: c}}", b"config: mine.yaml",
    b"size: " + 5000 * b"[", b"size: " + 5000 * b"{a: ", b"size: |\n  a\n  b", b"size: \xff", b"a" * 3000 + b": 1",
    b"size: " + 9000 * b"9", b"frames: " + 9000 * b"9", b"tracker.motion_weight: 3", b"output: \"\\x1b[31m\\n\\0\"",
    b"weights: \"a\\0b\"", b"weights: {}", b"video: yes", b"video: \"\"", b"sources: [demo]", b"--- \na: 1", b"...",
    b"%YAML 9.9", b"&x", b"*x", b"!", b"- - - -", b"\t", b"tracker: {motion_weight: .nan}", b"true: true",
)  # fmt: skip


@kind("resume")
def resume(case: Case) -> None:
    """Go on after a run whose report was damaged; the worst that may happen is that it is done again."""
    source = case.photos()
    for name, data in case.corpus.finished.items():
        if name == "run.json":
            text = data.decode().replace(case.corpus.finished_source, str(source.resolve()))
            if not case.whole and case.chance(0.5):
                content, note = mutate_json(case.random, json.loads(text))
                case.notes.append(note)
                data = json.dumps(content).encode()
            else:
                data = case.damage_text(text)
        case.write(f"{OUTPUT}/photos/{name}", data)
    case.harmless, case.frames = True, None  # a source that the report does not name gets a second folder
    case.track(source, "--resume")
