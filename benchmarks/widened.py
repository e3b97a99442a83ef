"""Make the input of `benchmarks.gpu`: `python -m benchmarks.widened FOLDER --weights HALF.onnx`. Needs no GPU.

`FOLDER/dla_34.pth` and `.onnx`: FairMOT's network with the weights of HALF.onnx, a trained network of the same layers
with half the channels. Every channel is there several times (Chen et al., "Net2Net", arXiv:1511.05641, section 3.1) and
what it gave is shared between its copies in random parts, so that the large network computes what the small one does:
real detections and embeddings for the association and for the numeric comparison, at the large one's cost.
`FOLDER/street.mp4`: the rendered scene in 1920x1080, H.264.

The bundled network has layers of its own; the one before it was such a half and is in the repository's history:

    git show 1049b16:weights/dla_34_lite.onnx > HALF.onnx
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import av
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from fairmot.core.errors import ModelError, UserError
from fairmot.export.networks import Network, build_network
from fairmot.export.networks.dla import Tree
from fairmot.export.onnx_model import save, to_onnx
from fairmot.video.synthetic.scene import Scene

SIZE = (1088, 608)
PEOPLE = 40


def widened_network(weights: Path) -> Network:
    """Return a `dla_34` that computes what an exported narrower one of the same layers does.

    Raises:
        ModelError: if the file cannot be read or its layers are not those of `dla_34` with fewer channels.
    """
    narrow = _exported_weights(weights)
    network = build_network("dla_34").eval()
    layers = _layers(network)
    _check(weights, narrow, layers)
    norms = _norms(network)
    generator = torch.Generator().manual_seed(1)  # of the parts in which copies of a channel share what one gave
    with torch.no_grad():
        for name, module in layers.items():
            weight: Tensor = module.weight  # type: ignore[assignment]
            weight.copy_(_widened(narrow[f"{name}.weight"], weight.shape, generator))
            bias = narrow.get(f"{name}.bias")
            norm = norms.get(name)
            if norm is not None:  # the export folded it into the convolution; here it adds the bias alone
                assert norm.running_var is not None
                assert bias is not None
                norm.weight.copy_((norm.running_var + norm.eps).sqrt())
                norm.bias.copy_(_repeated(bias, norm.bias.shape[0]))
                if module.bias is not None:
                    module.bias.zero_()
            elif bias is not None:
                module.bias.copy_(_repeated(bias, module.bias.shape[0]))
    return network


def _exported_weights(path: Path) -> dict[str, Tensor]:
    try:
        model = onnx.load(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX file.") from error
    return {
        tensor.name.removeprefix("network.").removesuffix(".half"): torch.from_numpy(
            numpy_helper.to_array(tensor).astype("float32")
        )
        for tensor in model.graph.initializer
        if tensor.name.startswith("network.")
    }


def _layers(network: Network) -> dict[str, nn.Module]:
    """Return the layers that an exported file holds: all that outputs use, without the folded BatchNorm."""
    unused = {
        f"{path}.project.0" for path, tree in network.named_modules() if isinstance(tree, Tree) and tree.levels > 1
    }
    return {
        name: module
        for name, module in network.named_modules()
        if hasattr(module, "weight") and not isinstance(module, nn.BatchNorm2d) and name not in unused
    }


def _check(path: Path, narrow: dict[str, Tensor], layers: dict[str, nn.Module]) -> None:
    kernels = {f"{name}.weight": tuple(layer.weight.shape) for name, layer in layers.items()}  # type: ignore[operator]
    found = {name: tuple(weight.shape) for name, weight in narrow.items() if name.endswith(".weight")}
    difference = next((f"has {name}" for name in found if name not in kernels), None)
    difference = difference or next((f"lacks {name}" for name in kernels if name not in found), None)
    difference = difference or next(
        (f"has {name} {found[name]}" for name, wide in kernels.items() if not _divides(found[name], wide)), None
    )
    if difference:
        raise ModelError(
            f"{path} {difference}, so it is no dla_34 with a part of its channels; git show "
            "1049b16:weights/dla_34_lite.onnx gives one."
        )


def _divides(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    """Return whether whole copies of a kernel's channels fill the wide one."""
    return shape[2:] == wide[2:] and not any(
        few == 0 or many % few for few, many in zip(shape[:2], wide[:2], strict=True)
    )


def _norms(network: Network) -> dict[str, nn.BatchNorm2d]:
    """Return the BatchNorm that follows a layer, by the layer's name; see `fairmot.export.onnx_model`."""
    norms: dict[str, nn.BatchNorm2d] = {}
    for path, module in network.named_modules():
        children = dict(module.named_children())
        prefix = f"{path}." if path else ""
        for (name, layer), (_, following) in itertools.pairwise(children.items()):
            if isinstance(following, nn.BatchNorm2d) and not isinstance(layer, nn.BatchNorm2d | nn.ReLU):
                norms[f"{prefix}{name}"] = following
        if {"actf", "conv"} <= set(children):
            norms[f"{prefix}conv"] = module.actf[0]
    return norms


def _widened(weight: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Repeat the channels of a kernel; the parts of copied inputs are random and add up to 1."""
    inputs = shape[1] // weight.shape[1]
    wide = _repeated(weight, shape[0])
    parts = 0.5 + torch.rand((*wide.shape[:2], inputs, 1, 1), generator=generator)
    parts /= parts.sum(dim=2, keepdim=True)
    return (wide[:, :, None] * parts).reshape(shape)


def _repeated(values: Tensor, count: int) -> Tensor:
    """Repeat each row, so that concatenated maps stay in the order of their parts."""
    return values.repeat_interleave(count // len(values), dim=0)


def write_street(path: Path, scene: Scene) -> None:
    """Encode a rendered scene."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(scene.frame_rate), options={"preset": "veryfast"})
        stream.width, stream.height = scene.size
        stream.pix_fmt = "yuv420p"
        for number in range(1, scene.frames + 1):
            frame = av.VideoFrame.from_ndarray(scene.render(number), format="bgr24")
            frame.pts = number - 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True, metavar="HALF.onnx", help="of the narrower network")
    parser.add_argument("--frames", type=int, default=500, help="of the video; 0 makes none (500)")
    options = parser.parse_args()
    try:
        network = widened_network(options.weights)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": 0, "state_dict": network.state_dict()}, options.folder / "dla_34.pth")
    save(to_onnx(network, "dla_34", SIZE, ["person"]), options.folder / "dla_34.onnx")
    if options.frames:
        scene = Scene(people=PEOPLE, size=(1920, 1080), frames=options.frames, frame_rate=25.0)
        write_street(options.folder / "street.mp4", scene)
    return 0


if __name__ == "__main__":
    sys.exit(main())
