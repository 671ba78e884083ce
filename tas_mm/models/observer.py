"""Observers: capture feature, logits and stage outputs in a network's own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor, nn

from .knowledge import Observation
from .utils import each_tensor

if TYPE_CHECKING:
    from .stages import StageView

KNOWLEDGE = ('feature', 'logits')
Regions: TypeAlias = Tensor | Callable[[Any], Tensor] | None


class Observer:
    """Hooks that capture a network's knowledge while the observer runs it, and do nothing otherwise.

    The hooks are never removed between passes, so ``torch.compile`` compiles them with the network.

    Args:
        view (StageView): View of the network.
        stages (iterable): Numbers of the stages to capture, 1 to 4. Defaults to none.
        knowledge (collection): Any of ``'feature'``, ``'logits'``, ``'pyramid'`` and ``'dense_logits'``. Logits that
            the network does not have are None. Defaults to the first two.

    Examples:
        >>> import tas_mm, torch
        >>> from tas_mm.models.stages import Observer, view_of
        >>> from mmpretrain import get_model
        >>> model = get_model('resnet18_8xb16_cifar10')
        >>> seen, logits = Observer(view_of(model, (32, 32)), stages=[3])(model, torch.zeros(2, 3, 32, 32))
        >>> tuple(seen.feature.shape), tuple(seen.map(3).shape)
        ((2, 512), (2, 256, 8, 8))
    """

    def __init__(self, view: StageView, stages: Iterable[int] = (), knowledge: Collection[str] = KNOWLEDGE) -> None:
        self.view = view
        self._seen: dict[Any, Any] | None = None  # None outside of a pass
        self.sources: dict[Any, str] = {stage: view.stages[stage - 1].source for stage in stages}
        """Names of the observed modules, by what they provide."""
        self.hooks = [
            self._module(source).register_forward_hook(partial(self._see, stage))
            for stage, source in self.sources.items()
        ]
        self._sees_feature = False
        if 'feature' in knowledge:
            self.keep_feature()
        if 'logits' in knowledge and view.logits_source is not None:
            self.sources['logits'] = view.logits_source
            source = self._module(view.logits_source)
            self.hooks.append(source.register_forward_hook(self._see_logits, with_kwargs=True))
        for name, source in (('pyramid', view.pyramid_source), ('dense_logits', view.dense_source)):
            if name in knowledge:
                self.sources[name] = source
                self.hooks.append(self._module(source).register_forward_hook(partial(self._see, name)))

    def __call__(
        self, run: Callable[..., Any], *args: Any, regions: Regions = None, **kwargs: Any
    ) -> tuple[Observation, Any]:
        """Run a network. Return its knowledge and its output.

        Args:
            run (callable): Runs the network of the view.
            *args: Arguments of ``run``.
            regions (Tensor | callable, optional): Regions of a detector's batch whose features are wanted, or a
                function that returns them for the output of ``run``. Defaults to None.
            **kwargs: Further arguments of ``run``.

        Raises:
            RuntimeError: If an observed module did not run.
        """
        self._seen = seen = {}
        try:
            output = run(*args, **kwargs)
        finally:
            self._seen = None
        if lost := [self.sources[name] for name in self.sources if name not in seen]:
            raise RuntimeError(
                f'{type(self.view.model).__name__}: {lost[0]!r}, which the distiller reads, did not run. It was '
                'skipped, or replaced after the model was built, perhaps by a hook. Replace it in the config'
            )
        regions = regions(output) if callable(regions) else regions
        feature = self.view.feature_of(seen.pop('feature'), regions) if 'feature' in seen else None
        logits = self.view.logits_of(seen.pop('logits')) if 'logits' in seen else None
        pyramid = tuple(seen.pop('pyramid', ()))
        dense = self.view.dense_logits_of(seen.pop('dense_logits')) if 'dense_logits' in seen else None
        known = Observation(self.view, feature, logits, seen, regions=regions, pyramid=pyramid, dense_logits=dense)
        return known, output

    def __deepcopy__(self, memo: dict) -> Observer:
        """Copy the observer with its network. If the copied model shares the network, share the observer too."""
        if memo.get(id(self.view.model)) is self.view.model:
            return self
        memo[id(self)] = copied = object.__new__(type(self))
        copied.__dict__.update(deepcopy(self.__dict__, memo))
        return copied

    def keep_feature(self) -> None:
        """Capture the feature too, for example for a cache, even if no loss reads it."""
        if self._sees_feature or self.view.feature_source is None:
            return
        self._sees_feature = True
        self.sources['feature'] = self.view.feature_source
        module = self._module(self.view.feature_source)
        if self.view.feature_side == 'input':
            self.hooks.append(module.register_forward_pre_hook(self._see_input))
        else:
            self.hooks.append(module.register_forward_hook(partial(self._see, 'feature')))

    def remove(self) -> None:
        """Remove the hooks."""
        for hook in self.hooks:
            hook.remove()

    def _module(self, name: str) -> nn.Module:
        return self.view.model.get_submodule(name)

    def _see(self, name: Any, module: nn.Module, inputs: tuple, output: Any) -> None:
        if self._seen is not None:
            self._seen.setdefault(name, output)  # if a module runs twice, the first output counts

    def _see_logits(self, module: nn.Module, inputs: tuple, kwargs: dict, output: Any) -> None:
        if self._seen is None:
            return
        # A head that receives labels adds a margin, which is not part of its prediction.
        with_labels = self.view.logits_source == 'head' and len(inputs) + len(kwargs) > 1
        output = module.forward(inputs[0]) if with_labels else output
        self._seen.setdefault('logits', output)

    def _see_input(self, module: nn.Module, inputs: tuple) -> None:
        if self._seen is not None:
            self._seen.setdefault('feature', inputs[0])


@contextmanager
def outputs_of(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Keep copies of the last outputs of some modules, by name. Copies, because later modules may write in place."""
    seen: dict[str, Any] = {}

    def keep(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        seen[name] = each_tensor(Tensor.clone, output)

    hooks = [model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
