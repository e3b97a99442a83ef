"""The bundled network on a GPU, where Triton computes its neck: against PyTorch on the CPU, and against itself."""

import pytest
import torch

from fairmot.export.networks import build_network
from fairmot.export.networks.deform_conv import DeformConv2d, triton_builds

pytestmark = pytest.mark.gpu


def build_moved_network():
    """The bundled network; its deformable layers start with offsets."""
    if not triton_builds(torch.device("cuda")):
        pytest.skip("Triton builds no kernels here")
    torch.manual_seed(0)
    network = build_network("dla_34_lite")
    for layer in network.modules():
        if isinstance(layer, DeformConv2d):
            torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.1 / layer.weight.shape[1] ** 0.5)
    return network


def outputs_and_gradients(network, images):
    network.zero_grad()
    outputs = network(images)
    sum(output.square().mean() for output in outputs.values()).backward()
    gradients = {name: p.grad.to("cpu", copy=True) for name, p in network.named_parameters() if p.grad is not None}
    return {name: output.detach().cpu() for name, output in outputs.items()}, gradients


def test_gpu_gives_the_outputs_and_gradients_of_the_cpu():
    network = build_moved_network().eval()
    images = torch.rand(2, 3, 96, 160)
    expected = outputs_and_gradients(network.double(), images.double())
    network.float().cuda().to(memory_format=torch.channels_last)
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = outputs_and_gradients(network, images.cuda().to(memory_format=torch.channels_last))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            # A sample that rounding moves over a cell's edge has another derivative; few are.
            assert float((mine[name] - value).norm()) <= 0.05 * float(value.norm()), name


def trained(folder, steps):
    """All that a trainer of the blobs holds after some steps, and the steps' losses."""
    pytest.importorskip("av", reason="PyAV, which the training's packages want, is not installed")
    from trainee import blob_store

    from fairmot.training.augment import Augmenter
    from fairmot.training.augment_settings import AugmentSettings
    from fairmot.training.distributed import Processes
    from fairmot.training.losses import FairMOTLoss
    from fairmot.training.settings import TrainSettings
    from fairmot.training.trainer import Trainer, repeat_to_the_bit

    repeat_to_the_bit()
    device = torch.device("cuda", torch.cuda.current_device())
    settings = TrainSettings(size=(256, 192), steps=steps, batch=8, warmup=2)
    store = blob_store().to(device)
    network = build_moved_network().to(device).to(memory_format=torch.channels_last)
    loss = FairMOTLoss(network.head_sizes.embedding, store.spaces).to(device)
    augmenter = Augmenter(store, settings.size, AugmentSettings(minimum_height=4), settings.seed)
    trainer = Trainer(settings, augmenter, network, loss, folder, Processes(device))
    sums = []
    for _ in range(steps):
        trainer.learn(*trainer.draw())
        sums.append(torch.stack(list(trainer.sums.values())))
    tensors = {"sums": torch.stack(sums)}
    tensors |= {f"average.{name}": value for name, value in trainer.average.network.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        tensors[name] = parameter.detach()
        for key, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"{name}.{key}"] = value
    return tensors


def test_gpu_training_repeats_to_the_bit(tmp_path):
    first = trained(tmp_path, 6)
    odd = [torch.empty(1_000_003 + 77_777 * i, device="cuda") for i in range(9)]  # then memory lies elsewhere
    del odd[::2]
    second = trained(tmp_path, 6)
    assert bool(first["sums"].isfinite().all())
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
