"""TAS (arXiv 2410.12342) in a plain PyTorch loop: no Runner, no config file.

    python examples/minimal_distill.py [STEPS] [SEED]

Trains a small vision transformer on 1,297 handwritten digits, then a small CNN on 50 of them, alone and distilled, for
the same number of steps. ``TASDistiller`` does the work, in any loop: it cuts both networks, builds the assistant,
observes the networks' passes and compares what they know on the three paths. Needs scikit-learn for the digits, but no
GPU and no download.
"""

import sys
from functools import partial

import torch
from mmengine.logging import MMLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import tas_mm  # noqa: F401  (adapts the stack)
from tas_mm.models import TASDistiller
from tas_mm.recipes.sources import build_classifier, build_classifier_from

SIZE = 16
STUDENT = dict(  # a ResNet-18 for small images, an eighth as wide as usual
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)


def data() -> tuple[Tensor, Tensor]:
    """Return 1,797 digits of 8x8 pixels, enlarged, normalized and in three equal channels, and their labels."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate((images - 0.305) / 0.376, SIZE, mode='bilinear').expand(-1, 3, -1, -1)
    return images, torch.tensor(digits.target)


def vary(images: Tensor) -> Tensor:
    """Turn, scale and move each image a little, so that the teacher sees new views."""
    angle, size = 0.3 * (2 * torch.rand(len(images)) - 1), 1 + 0.2 * (2 * torch.rand(len(images)) - 1)
    cos, sin = size * angle.cos(), size * angle.sin()
    move = 0.25 * (2 * torch.rand(2, len(images)) - 1)
    maps = torch.stack([torch.stack([cos, -sin, move[0]]), torch.stack([sin, cos, move[1]])]).permute(2, 0, 1)
    return F.grid_sample(images, F.affine_grid(maps, images.shape), padding_mode='border')  # maps: Bx2x3


def distilled(
    student: nn.Module, teacher: nn.Module, distiller: TASDistiller, images: Tensor, labels: Tensor
) -> Tensor:
    """Compute the paper's loss of a batch: images ``(B, C, H, W)`` and labels ``(B, )``."""
    with torch.no_grad():
        taught, _ = distiller.teacher_observer(teacher, images, mode='tensor')
    learned, logits = distiller.student_observer(student, images, mode='tensor')
    return F.cross_entropy(logits, labels) + sum(distiller(learned, taught, labels).values())


def train(parameters: list[nn.Parameter], loss_of, images: Tensor, labels: Tensor, steps: int, batch: int) -> None:
    """Train in an ordinary loop."""
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        drawn = torch.randperm(len(images))[:batch]  # each image once: a copy would be its own negative
        loss = loss_of(vary(images[drawn]), labels[drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == steps - 1:
            print(f'  step {step:3d}  loss {loss.item():.3f}', flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy in percent."""
    model.eval()
    return 100 * (model(images, mode='tensor').argmax(dim=1) == labels).float().mean().item()


def main(steps: int = 300, seed: int = 0) -> dict[str, float]:
    MMLogger.get_current_instance().setLevel('WARNING')
    torch.manual_seed(seed)
    images, labels = data()
    test = images[1297:], labels[1297:]
    vit = dict(img_size=SIZE, patch_size=4, embed_dim=64, depth=4, num_heads=4)
    teacher = build_classifier('timm:vit_tiny_patch16_224', num_classes=10, **vit)
    # timm's initial weights suit wide networks; torch's own let one so narrow learn faster.
    teacher.apply(lambda module: module.reset_parameters() if isinstance(module, nn.Linear) else None)
    print('teacher: a ViT, on 1,297 digits')
    loss_of = lambda x, y: F.cross_entropy(teacher(x, mode='tensor'), y)  # noqa: E731
    train(list(teacher.parameters()), loss_of, images[:1297], labels[:1297], 2 * steps, 64)
    results = {'teacher': accuracy(teacher, *test)}
    teacher.eval().requires_grad_(False)

    few = images[:50], labels[:50]
    for name in ('alone', 'distilled'):
        torch.manual_seed(seed)
        student = build_classifier_from(STUDENT)
        student.init_weights()
        student.train()
        print(f'student {name}: a ResNet, on 50 digits')
        if name == 'alone':
            loss_of = lambda x, y: F.cross_entropy(student(x, mode='tensor'), y)  # noqa: B023, E731
            train(list(student.parameters()), loss_of, *few, steps, 50)
        else:
            distiller = TASDistiller(input_size=SIZE)
            distiller.prepare(student, teacher)
            loss_of = partial(distilled, student, teacher, distiller)
            # The distiller's own parameters are those of the projector and the losses.
            train([*student.parameters(), *distiller.parameters()], loss_of, *few, steps, 50)
        results[f'student {name}'] = accuracy(student, *test)
    return results


if __name__ == '__main__':
    for network, value in main(*map(int, sys.argv[1:])).items():
        print(f'{network}: {value:.1f} %')
