"""CenterNet models with random weights for `benchmarks/architectures.py`: checkpoints, ONNX files, expected boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from fairmot.core.class_names import COCO_NAMES
from fairmot.engine.preprocessing import CENTERNET
from fairmot.export.networks import HeadSizes, Network, build_network
from fairmot.export.networks.deform_conv import DeformConv2d
from fairmot.export.networks.layers import BasicBlock, Bottleneck
from fairmot.export.onnx_model import ExportedNetwork, save, to_onnx

NETWORKS = ("dla_34", "dlav0_34", "resdcn_18", "resdcn_101", "res_18")
SIZE = (512, 512)
_OFFSETS = (1.5, 0.5)  # pixels, standard deviations of what a layer adds to each tap everywhere and cell by cell
_RESIDUAL = 0.3  # weight of the BatchNorm that ends a residual branch: small, as trained, or rounding errors grow
_OUTPUTS = {"hm": 1.0, "wh": 4.0, "reg": 0.3}  # standard deviations: logits, cells, cells
_CALIBRATION = (2, 3, 256, 256)


def build(name: str) -> Network:
    """Return a network with CenterNet's heads: 80 classes, width and height, offset; 256 or 64 hidden channels."""
    hidden = 256 if name.startswith("dla") else 64
    return build_network(name, HeadSizes(classes=len(COCO_NAMES), box=2, embedding=0, hidden=hidden)).eval()


@torch.no_grad()
def _settle(network: Network) -> None:
    """Give fresh weights the scale of trained ones, layer by layer, on random images.

    BatchNorm's statistics become those of its inputs, deformable layers sample around their cells instead of at them,
    and the heads spread. Otherwise a deep network's maps fade to nothing, and every sample lies on a cell.
    """

    def measure(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        module.running_var, module.running_mean = torch.var_mean(inputs[0], (0, 2, 3))

    def spread(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, DeformConv2d)
        everywhere, by_cell = _OFFSETS
        predictor = module.conv_offset_mask
        nn.init.normal_(predictor.weight)
        predictor.weight.mul_(by_cell / predictor(inputs[0]).std((0, 2, 3)).view(-1, 1, 1, 1))
        nn.init.normal_(predictor.bias, std=everywhere)  # type: ignore[arg-type]

    for module in network.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.constant_(last.weight, _RESIDUAL)
    hooks = {nn.BatchNorm2d: measure, DeformConv2d: spread}
    handles = [
        module.register_forward_pre_hook(hooks[kind])
        for module in network.modules()
        for kind in hooks
        if type(module) is kind
    ]
    outputs = network(torch.rand(_CALIBRATION))
    for handle in handles:
        handle.remove()
    for head, deviation in _OUTPUTS.items():
        network.output_layer(head).weight.mul_(deviation / outputs[head].std())


def write(name: str, folder: Path) -> None:
    """Write `name.pth`, `name.onnx` and `name.npz`: a random image and the boxes that PyTorch computes for it.

    Nothing is written again where the ONNX file, the last of them, is there.
    """
    if (folder / f"{name}.onnx").is_file():
        return
    torch.manual_seed(0)
    network = build(name)
    _settle(network)
    torch.save(network.state_dict(), folder / f"{name}.pth")
    images = torch.rand(1, 3, *SIZE[::-1])
    with torch.inference_mode():
        boxes = ExportedNetwork(network)(images)[1]
    np.savez(folder / f"{name}.npz", images=images.numpy(), boxes=boxes.numpy())
    save(to_onnx(network, name, SIZE, COCO_NAMES, preprocessing=CENTERNET), folder / f"{name}.onnx")


def load(name: str, folder: Path) -> Network:
    """Return the network that `write` wrote."""
    network = build(name)
    network.load_state_dict(torch.load(folder / f"{name}.pth", weights_only=True))
    return network


def box_error(boxes: torch.Tensor, name: str, folder: Path) -> float:
    """Return the length of the boxes' difference from the expected ones over the length of those."""
    expected = np.load(folder / f"{name}.npz")["boxes"]
    return float(np.linalg.norm(boxes.cpu().numpy() - expected) / np.linalg.norm(expected))


def image(name: str, folder: Path) -> torch.Tensor:
    """Return the image of the expected boxes, `(1, 3, h, w)` float32 on the CPU."""
    return torch.from_numpy(np.load(folder / f"{name}.npz")["images"])
