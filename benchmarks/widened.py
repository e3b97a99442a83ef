"""Makes what `benchmarks.gpu` measures: `python -m benchmarks.widened FOLDER`. Needs no GPU.

`FOLDER/dla_34.pth` and `.onnx`: FairMOT's network with the weights of the bundled `dla_34_lite`, which has the same
layers with half the channels. Every channel is there several times (Chen et al., "Net2Net", arXiv:1511.05641, section
3.1) and what it gave is shared between its copies in random parts, so that the large network computes what the small
one does: real detections and embeddings for the association and for the numeric comparison, at the large one's cost.
`FOLDER/street.mp4`: the rendered scene in 1920x1080, H.264.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import av
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from engine.model import BUNDLED_WEIGHTS
from export.networks import build_network
from export.networks.network import Network
from export.onnx_model import save, to_onnx
from video.scene import Scene

SIZE = (1088, 608)
PEOPLE = 40


def widened_network(weights: Path = BUNDLED_WEIGHTS, architecture: str = "dla_34", seed: int = 1) -> Network:
    """Return a network that computes what an exported narrower one of the same layers does.

    Args:
        weights: the exported model.
        architecture: of the wide network.
        seed: of the parts in which copies of a channel share what one gave.
    """
    narrow = {
        tensor.name.removeprefix("network.").removesuffix(".half"): torch.from_numpy(
            numpy_helper.to_array(tensor).astype("float32")
        )
        for tensor in onnx.load(weights).graph.initializer
        if tensor.name.startswith("network.")
    }
    network = build_network(architecture).eval()
    norms = _norms(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, module in network.named_modules():
            weight = getattr(module, "weight", None)
            if weight is None or isinstance(module, nn.BatchNorm2d) or f"{name}.weight" not in narrow:
                continue  # what no output uses is not exported
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


def _norms(network: Network) -> dict[str, nn.BatchNorm2d]:
    """Return the BatchNorm that follows a layer, by the layer's name; see `export.onnx_model.fold_batch_norm`."""
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
            picture = av.VideoFrame.from_ndarray(scene.render(number), format="bgr24")
            picture.pts = number - 1
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=500, help="of the video; 0 makes none (500)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    network = widened_network()
    torch.save({"epoch": 0, "state_dict": network.state_dict()}, options.folder / "dla_34.pth")
    save(to_onnx(network, "dla_34", SIZE, ["person"]), options.folder / "dla_34.onnx")
    if options.frames:
        scene = Scene(people=PEOPLE, size=(1920, 1080), frames=options.frames, frame_rate=25.0)
        write_street(options.folder / "street.mp4", scene)
    return 0


if __name__ == "__main__":
    sys.exit(main())
