"""Parts that compare: losses of CPU and GPU, the teacher in narrow types, exported students; and the doctor."""

from __future__ import annotations

import contextlib
import io
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from tas_mm import doctor
from tas_mm.analysis.trial import build_model, synthetic_batch
from tas_mm.config import read_config
from tas_mm.models.teachers.teacher import FrozenTeacher
from tas_mm.student import student_checkpoint, student_config
from tas_mm.student.export import export
from tas_mm.student.weights import build_student

from .setup import Setup, set_precision
from .steps import Rows

AGREEMENT = 1e-3
"""Largest difference of float32 losses of CPU and GPU, relative to the loss."""
FORMS = ('mmpretrain', 'export', 'torchscript', 'onnx')
PARITY = 1e-3
"""Largest difference of an exported student's output, relative to the largest."""


def doctor_rows(setup: Setup) -> Rows:
    """Print the doctor's table, and what torch says of the device.

    Raises:
        RuntimeError: If tas_mm cannot run.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = doctor.main()
    print(printed.getvalue())
    if status:
        raise RuntimeError(printed.getvalue())
    rows = [dict(what='doctor', answer=printed.getvalue().splitlines()[-1])]
    if setup.device == 'cuda':
        properties = torch.cuda.get_device_properties(0)
        facts = dict(
            device=properties.name,
            capability=f'{properties.major}.{properties.minor}',
            memory=f'{properties.total_memory / 2**30:.1f} GiB',
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            nccl='.'.join(map(str, torch.cuda.nccl.version())),
            bfloat16=torch.cuda.is_bf16_supported(),
        )
        rows += [dict(what=name, answer=str(fact)) for name, fact in facts.items()]
    return rows


# ---- losses ---------------------------------------------------------------------------------------------------------


def agreement_rows(setup: Setup, pair: str) -> Rows:
    """Compare losses and gradients of the device with those of the CPU in float32, on the same batch and weights.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair.

    Raises:
        RuntimeError: If a loss in float32, without TF32, differs by more than ``AGREEMENT``.
    """
    torch.manual_seed(0)
    model = without_dropout(build_model(setup.config(pair, 'tas'))).train()
    give_logits(model.teacher.network)
    batch = synthetic_batch(model, setup.batch_sizes[0] // 2)
    wanted, gradient = _losses(model, batch)
    model.to(setup.device)
    batch = batch[0].to(setup.device), [sample.to(setup.device) for sample in batch[1]]
    rows = []
    for name in ('float32', 'TF32', 'bfloat16', 'float16')[: 4 if setup.device == 'cuda' else 3]:
        set_precision(tf32=name != 'float32')
        amp = torch.autocast(setup.device, getattr(torch, name)) if 'loat16' in name else contextlib.nullcontext()
        with amp:
            losses, found = _losses(deepcopy(model), batch)
        worst = max(wanted, key=lambda loss: _relative(losses[loss], wanted[loss]))
        apart = float((found - gradient).norm() / gradient.norm())
        rows.append(
            dict(precision=name, losses_differ_by=_relative(losses[worst], wanted[worst]), most=worst, gradient=apart)
        )
    if not rows[0]['losses_differ_by'] <= AGREEMENT:
        raise RuntimeError(f'losses of the CPU and of the device differ: {rows}')
    return rows


def without_dropout(model: nn.Module) -> nn.Module:
    """Switch off what draws random numbers in a step, which differ between devices.

    Args:
        model (nn.Module): Changed in place, and returned.
    """
    for module in model.modules():
        name = 'p' if isinstance(module, _DropoutNd) else 'drop_prob'
        if hasattr(module, name):
            setattr(module, name, 0.0)
    return model


def give_logits(network: nn.Module) -> None:
    """Draw weights for linear layers that begin at 0, as some heads do: else all logits are 0, in any type.

    Args:
        network (nn.Module): Changed in place.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.trunc_normal_(module.weight, std=0.02)


def _losses(model: BaseModel, batch: tuple[Tensor, list]) -> tuple[dict[str, float], Tensor]:
    """Return the losses of a batch, and all gradients as one vector on the CPU."""
    losses = model(*batch, mode='loss')
    model.parse_losses(losses)[0].backward()
    gradients = [p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return {name: float(value) for name, value in losses.items() if 'loss' in name}, torch.cat(gradients)


def _relative(found: float, wanted: float) -> float:
    return abs(found - wanted) / max(abs(wanted), 0.01)


# ---- teacher --------------------------------------------------------------------------------------------------------


def teacher_rows(setup: Setup, pair: str) -> Rows:
    """Time the teacher in narrow types and in channels-last, and compare its logits with those in float32.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair; its teacher has random weights.
    """
    torch.manual_seed(0)
    model = build_model(setup.config(pair, 'kd')).to(setup.device)
    images, _ = synthetic_batch(model, setup.batch_sizes[-1])
    give_logits(model.teacher.network)
    return _teacher_rows(setup, model.teacher, images)


def kept_teacher_rows(setup: Setup, checkpoint: str, number: int = 512) -> Rows:
    """Do the same with a trained teacher of the benchmark, on test images of Fashion-MNIST.

    Args:
        setup (Setup): Where it runs.
        checkpoint (str): Its weights, in a folder named as the teacher.
        number (int): Number of images. Defaults to 512.
    """
    cfg = read_config(f'tas_mm::benchmark/{Path(checkpoint).parent.name}_to_cnn.py')
    cfg.model.teacher_ckpt = checkpoint
    cfg.test_dataloader.dataset.data_root = str(setup.data / 'fashion_mnist')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).to(setup.device)
        images = DATASETS.build(cfg.test_dataloader.dataset)
    batch = dict(inputs=[images[i]['inputs'] for i in range(number)])
    return _teacher_rows(setup, model.teacher, model.data_preprocessor(batch)['inputs'])


@torch.no_grad()
def _teacher_rows(setup: Setup, teacher: FrozenTeacher, images: Tensor) -> Rows:
    rows: Rows = []
    wanted: Tensor | None = None
    for name in ('float32', 'TF32', 'TF32, channels-last', 'bfloat16, channels-last', 'bfloat16'):
        set_precision(tf32=name != 'float32')
        layout = torch.channels_last if 'channels-last' in name else torch.contiguous_format
        if 'bfloat16' in name:
            teacher.keep_in(torch.bfloat16)
        teacher.network.to(memory_format=layout)
        given = images.to(memory_format=layout)
        logits = teacher.logits(given).float()
        wanted = logits if wanted is None else wanted
        rows.append(
            dict(
                teacher=name,
                images_per_second=len(images) / _seconds(setup, lambda given=given: teacher.logits(given)),
                logits_differ_by=float((logits - wanted).abs().max() / wanted.abs().max()),
                same_answer=float((logits.argmax(1) == wanted.argmax(1)).float().mean()),
            )
        )
    return rows


def _seconds(setup: Setup, work: Any) -> float:
    """Return the median time of some work."""
    taken = []
    for _ in range(setup.rounds):
        setup.synchronize()
        start = time.perf_counter()
        work()
        setup.synchronize()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


# ---- export ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def export_rows(setup: Setup, pair: str) -> Rows:
    """Export a student, run each form on the device, and compare its output with the student's on the CPU.

    An ONNX graph runs on the CPU, in onnxruntime.

    Args:
        setup (Setup): Where it runs.
        pair (str): Name of the pair; its student has random weights.

    Raises:
        RuntimeError: If an output differs by more than ``PARITY`` of the largest.
    """
    set_precision(tf32=False)
    torch.manual_seed(0)
    cfg = setup.config(pair, 'tas')
    model = build_model(cfg)
    checkpoint = student_checkpoint(dict(state_dict=model.state_dict()), student_config(cfg))
    student = build_student(checkpoint)
    images, _ = synthetic_batch(model, 3)
    wanted = student(images)
    rows = [
        dict(form='the student itself', differs_by=_apart(student.to(setup.device)(images.to(setup.device)), wanted))
    ]
    for form in FORMS:
        try:
            data, _ = export(checkpoint, form, tuple(images.shape[-2:]))
        except ImportError as error:
            rows.append(dict(form=form, differs_by=str(error)))
            continue
        rows.append(dict(form=form, differs_by=_apart(_run(form, data, images, setup.device), wanted)))
    if wrong := [row for row in rows if isinstance(row['differs_by'], float) and not row['differs_by'] <= PARITY]:
        raise RuntimeError(f'the output on the device differs: {wrong}')
    return rows


def _apart(found: Tensor, wanted: Tensor) -> float:
    return float((found.cpu() - wanted).abs().max() / wanted.abs().max())


def _run(form: str, data: bytes, images: Tensor, device: str) -> Tensor:
    """Run an exported student on the device."""
    file, given = io.BytesIO(data), images.to(device)
    if form == 'mmpretrain':
        return build_student(torch.load(file, weights_only=True)).to(device)(given)
    if form == 'torchscript':
        return torch.jit.load(file, map_location=device)(given)
    if form == 'export':
        from torch.export.passes import move_to_device_pass

        return move_to_device_pass(torch.export.load(file), device).module()(given)
    from onnxruntime import InferenceSession

    session = InferenceSession(data, providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(None, dict(images=images.numpy()))[0])
