"""What the losses share."""

from torch import Tensor


def exact(x: Tensor) -> Tensor:
    """Half precision to float32, so that a loss is exact whatever the autocast; float32 and float64 stay."""
    return x.float() if x.itemsize < 4 else x
