"""Plan files: whole or refused, read back as written; plans of other machines are refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from support import tiny_network

from fairmot.core import ConfigError, ModelError, OutputError
from fairmot.engine import ModelInfo
from fairmot.engine.graph.prepare import VERSION, prepare
from fairmot.engine.model import ModelFile
from fairmot.engine.trt.cache import file_sha256, locked, plan_path, timing_cache_path
from fairmot.engine.trt.errors import build_failure, parse_failure
from fairmot.engine.trt.layers import Layer, differences, read_layers
from fairmot.engine.trt.plan import BuildSettings, Host, Plan

HOST = Host("NVIDIA H200", (9, 0), "8.6.0", "abc123")
SETTINGS = BuildSettings((96, 64), (1, 4), aux_streams=2)
LAYERS = (
    Layer("stem + relu", "CaskConvolution", ("half HWC8",), ("half HWC8",)),
    Layer("proj", "PluginV2", ("half HWC8", "half HWC8"), ("half HWC8",)),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelInfo:
    return ModelInfo.read(tiny_network.save(tmp_path_factory.mktemp("model") / "tiny.onnx"))


@pytest.fixture
def plan(model: ModelInfo) -> Plan:
    return Plan(model, file_sha256(model.path), SETTINGS, HOST, VERSION, LAYERS, os.urandom(5000))


def test_read_back_as_written(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.plan"
    plan.write(path)
    assert Plan.read(path) == plan
    assert [file.name for file in path.parent.iterdir()] == ["a.plan"]
    assert plan.size == (96, 64)


HEADER_OF_VERSION_2 = (
    b'{"model":{"path":"weights/dla.onnx","size":[576,320],"architecture":"dla_34_lite","stride":4,"size_multiple":32,'
    b'"channel_order":"rgb","mean":[0.0,0.0,0.0],"std":[1.0,1.0,1.0],"border":128,"class_names":["person"],'
    b'"raw_heads":false,"embedding_size":64},'
    b'"model_sha256":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",'
    b'"settings":{"size":[576,320],"batches":[1,4],"precision":"fp16","dcn":"plugin","aux_streams":3},'
    b'"host":{"gpu":"NVIDIA H200","compute_capability":[9,0],"tensorrt":"8.6.0","plugins":"abc123"},'
    b'"graph_version":5,'
    b'"layers":[{"name":"stem + relu","kind":"CaskConvolution","inputs":["half HWC8"],"outputs":["half HWC8"]}]}'
)
WRITTEN_MODEL = ModelInfo(
    path=Path("weights/dla.onnx"),
    size=(576, 320),
    architecture="dla_34_lite",
    stride=4,
    size_multiple=32,
    channel_order="rgb",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    border=128,
    class_names=("person",),
    raw_heads=False,
    embedding_size=64,
)
WRITTEN_SHA256 = "0123456789abcdef" * 4
WRITTEN = Plan(WRITTEN_MODEL, WRITTEN_SHA256, BuildSettings((576, 320), (1, 4)), HOST, 5, LAYERS[:1], b"engine")


def test_plans_in_caches_stay_valid(tmp_path: Path) -> None:
    """A change of this file's bytes, or of what they are read as, has all users build their engines again."""
    rest = len(HEADER_OF_VERSION_2).to_bytes(4, "little") + HEADER_OF_VERSION_2 + b"engine"
    content = b"FAIRMOT PLAN 2\n" + hashlib.sha256(rest).digest() + rest
    (tmp_path / "cached.plan").write_bytes(content)
    (tmp_path / "cached.plan").chmod(0o600)
    read = Plan.read(tmp_path / "cached.plan")
    assert read == WRITTEN
    assert read.mismatch(HOST) is None
    WRITTEN.write(tmp_path / "new.plan")
    assert (tmp_path / "new.plan").read_bytes() == content


@pytest.mark.parametrize(
    ("model", "settings", "host", "plan_name", "timing_name"),
    [
        (
            WRITTEN_MODEL,
            WRITTEN.settings,
            HOST,
            "dla-fp16-plugin-576x320-b1-4-cf4e05176cf65aad.plan",
            "NVIDIA-H200-8.6.0.cache",
        ),
        (
            WRITTEN_MODEL,
            BuildSettings(None, (1,), "fp32", "native", 0),
            Host("NVIDIA H200", (9, 0), "10.9.0.34", None),
            "dla-fp32-native-576x320-b1-2038827bb2202daa.plan",
            "NVIDIA-H200-10.9.0.34.cache",
        ),
        (
            ModelFile(Path("a/b.onnx"), (64, 32)),
            BuildSettings((96, 64), (8,), "fp16", "nvidia"),
            HOST,
            "b-fp16-nvidia-96x64-b8-b2f1771c54f3f040.plan",
            "NVIDIA-H200-8.6.0.cache",
        ),
    ],
)
def test_names_in_caches_stay(
    model: ModelFile,
    settings: BuildSettings,
    host: Host,
    plan_name: str,
    timing_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "cache"))
    assert plan_path(model, WRITTEN_SHA256, settings, host).name == plan_name
    assert timing_cache_path(host).name == timing_name


def test_a_truncated_file_at_every_length(plan: Plan, tmp_path: Path) -> None:
    plan.write(tmp_path / "whole.plan")
    content = (tmp_path / "whole.plan").read_bytes()
    path = tmp_path / "part.plan"
    for length in (*range(1, 40), *range(40, len(content), 101), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match="truncated or damaged: build it again"):
            Plan.read(path)


def test_every_damaged_byte_is_noticed(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    plan.write(path)
    whole = path.read_bytes()
    for place in (*range(len(b"FAIRMOT PLAN 2\n"), len(whole), 23), len(whole) - 1):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged"):
            Plan.read(path)


@pytest.mark.parametrize("content", [b"", b"x", b"\x08\x0a an ONNX file", b"ptrt and so on", b"FAIRMOT PLANE"])
def test_not_a_plan(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a plan"):
        Plan.read(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be read: No such file"):
        Plan.read(tmp_path / "none.plan")
    with pytest.raises(ModelError, match=r"cannot be read: Is a directory"):
        Plan.read(tmp_path)


@pytest.mark.parametrize("missing", ["model", "settings", "settings/aux_streams", "host", "layers", "graph_version"])
def test_a_header_of_another_version(plan: Plan, tmp_path: Path, missing: str) -> None:
    path = tmp_path / "a.plan"
    plan.write(path)
    magic, _, rest = path.read_bytes().partition(b"\n")
    length = int.from_bytes(rest[32:36], "little")  # after the checksum
    header = json.loads(rest[36 : 36 + length])
    *parents, last = missing.split("/")
    holder = header[parents[0]] if parents else header
    del holder[last]
    text = json.dumps(header).encode()
    rest = len(text).to_bytes(4, "little") + text + rest[36 + length :]
    path.write_bytes(magic + b"\n" + hashlib.sha256(rest).digest() + rest)
    with pytest.raises(ModelError, match="another version of this program: build it again"):
        Plan.read(path)


def test_a_plan_of_the_first_format(tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    path.write_bytes(b"FAIRMOT PLAN 1\n\x02\0\0\0{}")
    with pytest.raises(ModelError, match="another version of this program: build it again"):
        Plan.read(path)


def test_a_folder_that_cannot_be_written(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"Cannot write .*a\.plan"):
        plan.write(tmp_path / "file" / "a.plan")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu": "NVIDIA L4", "compute_capability": (8, 9)}, "H200 (sm_90), not on this NVIDIA L4 (sm_89)"),
        ({"tensorrt": "10.16.1"}, "TensorRT 8.6.0, not 10.16.1"),
        ({"plugins": "def456"}, "plugins abc123, not def456"),
        ({"plugins": None}, "plugins abc123, not none"),
    ],
)
def test_other_machines(plan: Plan, change: dict, words: str) -> None:
    assert plan.mismatch(HOST) is None
    assert words in (plan.mismatch(replace(HOST, **change)) or "")


def test_native_plans_do_not_depend_on_the_plugins(plan: Plan) -> None:
    native = replace(plan, host=replace(HOST, plugins=None))
    assert native.mismatch(HOST) is None
    older = replace(plan, graph_version=VERSION - 1)
    assert "graph version" in (older.mismatch(HOST) or "")


def test_the_cache_distinguishes_everything(model: ModelInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path))
    paths = {
        plan_path(model, checksum, settings, host)
        for checksum in ("a", "b")
        for settings in (
            SETTINGS,
            replace(SETTINGS, batches=(1,)),
            replace(SETTINGS, precision="fp32"),
            replace(SETTINGS, dcn="native"),
            replace(SETTINGS, size=(128, 64)),
            replace(SETTINGS, aux_streams=0),
        )
        for host in (
            HOST,
            replace(HOST, gpu="NVIDIA H100"),
            replace(HOST, tensorrt="8.6.1"),
            replace(HOST, plugins="x"),
        )
    }
    assert len(paths) == 2 * 6 * 4
    assert all(path.parent == tmp_path / "engines" and path.name.startswith("tiny-fp") for path in paths)
    own_size = plan_path(model, "a", replace(SETTINGS, size=None), HOST)
    assert own_size == plan_path(model, "a", SETTINGS, HOST)
    assert timing_cache_path(HOST).name == "NVIDIA-H200-8.6.0.cache"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batches": ()}, "not none"),
        ({"batches": (0,)}, "from 1 to 64, not 0"),
        ({"batches": (1, 10**20)}, "from 1 to 64"),
        ({"batches": (4, 1, 4)}, "different numbers"),
        ({"precision": "int8"}, 'fp16 or fp32, not "int8"'),
        ({"dcn": "mine"}, "plugin or native or nvidia"),
        ({"aux_streams": -1}, r"aux-streams must be 0 to 16, not -1\."),
        ({"aux_streams": 17}, "not 17"),
    ],
)
def test_settings_out_of_range(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BuildSettings(**values)


def test_which_engines_need_the_plugins() -> None:
    uses = {
        (precision, dcn): BuildSettings(precision=precision, dcn=dcn).uses_plugins  # type: ignore[arg-type]
        for precision in ("fp16", "fp32")
        for dcn in ("plugin", "native", "nvidia")
    }
    assert [mode for mode, used in uses.items() if not used] == [
        ("fp16", "native"),
        ("fp32", "native"),
        ("fp32", "nvidia"),
    ]


def test_one_process_builds_and_the_others_wait(tmp_path: Path) -> None:
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def build(name: str) -> None:
        with locked(tmp_path / "cache" / "a.plan"):
            order.append(f"{name} in")
            inside.set()
            assert go_on.wait(10)
            order.append(f"{name} out")

    threads = [threading.Thread(target=build, args=(name,)) for name in "ab"]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert order == ["a in"]
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["a in", "a out", "b in", "b out"]


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"), locked(tmp_path / "file" / "a.plan"):
        pass


# As TensorRT 8.6 reports layers (profiling verbosity detailed); one engine in two formats of the report.
REPORT = {
    "Layers": [
        {
            "Name": "stem + node_stem_relu",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "images", "Dimensions": [1, 3, 64, 96],
                        "Format/Datatype": "Four wide channel vectorized row major FP16 format"}],
            "Outputs": [{"Name": "x", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
            "ParameterType": "Convolution",
        },
        {"Name": "proj", "LayerType": "PluginV2",
         "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}],
         "Outputs": [{"Name": "y", "Format/Datatype": "Row major linear FP32"}]},
        {"Name": "fused", "LayerType": "Myelin", "ParameterType": "Convolution",
         "Inputs": [{"Format/Datatype": "Float"}], "Outputs": [{"Format/Datatype": "Int32"}]},
    ],
    "Bindings": ["images"],
}  # fmt: skip


def test_reading_the_report_of_an_engine() -> None:
    layers = read_layers(json.dumps(REPORT))
    assert layers == (
        Layer("stem + node_stem_relu", "CaskConvolution", ("half CHW4",), ("half HWC8",)),
        Layer("proj", "PluginV2", ("half linear",), ("float linear",)),
        Layer("fused", "Myelin (Convolution)", ("float",), ("Int32",)),
    )
    assert [layer.is_convolution for layer in layers] == [True, False, True]
    assert read_layers('{"Layers": ["only", "names"]}') == (Layer("only", "", (), ()), Layer("names", "", (), ()))


def test_an_engine_that_is_not_as_asked_for() -> None:
    graph = prepare(tiny_network.build(), tiny_network.SIZE)
    kinds = ("DeformConvBlock", "FusedDeformConv", "UpsampleAdd")
    plugins = [node.name for node in graph.graph.node if node.op_type in kinds]
    whole = [
        Layer(f"{node.name} [profile 0]", "PluginV2", ("half HWC8",), ("half HWC8",))
        for node in graph.graph.node
        if not onnx.defs.has(node.op_type, max_inclusive_version=17)
    ]
    assert differences(whole, graph, "fp16") == []
    assert len(plugins) == 3
    found = differences(whole[1:], graph, "fp16")
    assert found == [f"1 plugin layers are missing ({plugins[0]})"]
    longer = [replace(layer, name=layer.name.replace(plugins[0], f"{plugins[0]}_2")) for layer in whole]
    assert differences(longer, graph, "fp16") == found  # another layer, whose name holds the missing one's
    conversion = Layer(f"Reformatting CopyNode for Input Tensor 0 to {plugins[0]}", "Reformat", (), ())
    assert differences([*whole[1:], conversion], graph, "fp16") == found
    slow = Layer("box.0", "CaskConvolution", ("float linear",), ("half linear",))
    assert differences([*whole, slow], graph, "fp16") == ["1 layers run in float32 (box.0)"]
    single = replace(whole[0], inputs=("float linear", "half linear"))
    assert differences([single, *whole[1:]], graph, "fp16") == [f"1 layers run in float32 ({plugins[0]})"]
    bias = replace(whole[0], inputs=("half HWC8", "float linear"))
    assert differences([bias, *whole[1:]], graph, "fp16") == []
    assert differences([slow], prepare(tiny_network.build(), tiny_network.SIZE, (1,), "fp32", "native"), "fp32") == [
        "1 layers run in half precision (box.0)"
    ]


UNKNOWN = "Plugin not found, are the plugin name, version, and namespace correct?"


@pytest.mark.parametrize(
    ("operator", "detail", "message"),
    [
        ("Sorcery", UNKNOWN, r'does not know the operator "Sorcery" of m\.onnx at "x": export the model without it\.'),
        ("DeformConv", UNKNOWN, r'operator "DeformConv" of .*: build the plugins again'),
        ("Conv", "Assertion\n failed.", r'cannot read m\.onnx at "x" \(Conv: Assertion failed\): export'),
        (None, "Failed to parse the ONNX model.", r"cannot read m\.onnx \(an operator: Failed to parse"),
    ],
)
def test_what_the_parser_cannot_read(operator: str | None, detail: str, message: str) -> None:
    nodes = [onnx.helper.make_node(operator, ["a"], ["b"], name="x")] if operator else []
    graph = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))
    error = parse_failure("8.6.0", Path("m.onnx"), graph, len(nodes) - 1, detail)
    assert re.search(message, str(error))
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (["2: [x.cpp] Error Code 2: OutOfMemory (no further information)", "other"], "lower --batch or --size"),
        (["Requested amount of GPU memory (99 bytes) could not be allocated. There may not be enough free"], "lower"),
        (["Skipping tactic due to insufficient memory on requested size of 1 detected"], "lower"),
        (["first", "10: Could not find any implementation\n for node x."], r"m\.onnx \(10: .* for node x\): try"),
        ([], "it gives no reason"),
    ],
)
def test_what_tensorrt_cannot_build(errors: list[str], message: str) -> None:
    error = build_failure("8.6.0", Path("a/m.onnx"), errors)
    assert re.search(message, str(error))
    assert "\n" not in str(error)


def sealed(path: Path, header: bytes, length: int | None = None, engine: bytes = b"engine") -> Path:
    """A file with the right checksum, whatever its header holds."""
    rest = (len(header) if length is None else length).to_bytes(4, "little") + header + engine
    path.write_bytes(b"FAIRMOT PLAN 2\n" + hashlib.sha256(rest).digest() + rest)
    return path


@pytest.mark.parametrize(
    "header", [b"", b"{", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b'{"model": 1}', b"9" * 9999]
)
def test_headers_that_are_no_headers(tmp_path: Path, header: bytes) -> None:
    with pytest.raises(ModelError, match="written by another version") as caught:
        Plan.read(sealed(tmp_path / "a.plan", header))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("length", [1_000_000, 2**32 - 1])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match="truncated or damaged"):
        Plan.read(sealed(tmp_path / "a.plan", b"{}", length))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", []),
        ("model/path", 3),
        ("model/size", [1]),
        ("model/size", "96x64"),
        ("model/stride", "4"),
        ("model/stride", None),
        ("model/stride", 4.5),
        ("model/raw_heads", 1),
        ("model/channel_order", "gbr"),
        ("model/class_names", [1]),
        ("model/mean", [0, 0]),
        ("model/extra", 1),
        ("model_sha256", None),
        ("settings", None),
        ("settings/size", None),
        ("settings/size", [96, 64, 3]),
        ("settings/batches", []),
        ("settings/batches", ["1"]),
        ("settings/batches", 4),
        ("settings/precision", "int4"),
        ("settings/aux_streams", True),
        ("host", {}),
        ("host/compute_capability", [9]),
        ("host/compute_capability", 9),
        ("host/plugins", 5),
        ("graph_version", "1"),
        ("layers", 5),
        ("layers", [5]),
        ("layers", [{"name": 1, "kind": "", "inputs": [], "outputs": []}]),
        ("layers", [{"name": "a", "kind": "", "inputs": "b", "outputs": []}]),
    ],
)
def test_values_of_the_wrong_type(plan: Plan, tmp_path: Path, place: str, value: object) -> None:
    path = tmp_path / "a.plan"
    plan.write(path)
    rest = path.read_bytes().partition(b"\n")[2][32:]
    header = json.loads(rest[4 : 4 + int.from_bytes(rest[:4], "little")])
    *parents, last = place.split("/")
    (header[parents[0]] if parents else header)[last] = value
    with pytest.raises(ModelError, match="written by another version"):
        Plan.read(sealed(path, json.dumps(header).encode()))


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_plans_that_others_may_replace_are_refused(plan: Plan, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "shared" / "a.plan"
    plan.write(path)
    path.parent.chmod(mode)
    with pytest.raises(ConfigError, match=r"The plan is not used, because all users may write to the folder"):
        Plan.read(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("up", [0, 1])
def test_plans_of_other_users_are_refused(plan: Plan, tmp_path: Path, up: int) -> None:
    path = tmp_path / "theirs" / "a.plan"
    plan.write(path)
    os.chown([path, path.parent][up], 65534, -1)
    with pytest.raises(ConfigError, match=r"The plan is not used, because .* belongs to the user nobody"):
        Plan.read(path)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_a_plan_written_under_any_umask_can_be_read_back(plan: Plan, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        plan.write(tmp_path / "a.plan")
    finally:
        os.umask(before)
    assert Plan.read(tmp_path / "a.plan") == plan


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
def test_a_cache_that_others_may_write_keeps_no_plans(
    model: ModelInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRMOT_CACHE", str(tmp_path / "cache"))
    folder = plan_path(model, "a", SETTINGS, HOST).parent
    assert folder.stat().st_mode & 0o777 == timing_cache_path(HOST).parent.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="The cache"):
        plan_path(model, "a", SETTINGS, HOST)
    folder.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="The cache"):
        timing_cache_path(HOST)
