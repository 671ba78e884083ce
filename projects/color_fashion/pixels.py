"""Classify pixels alone: nearest neighbors and a linear classifier, 1,000 labeled images, here and on Fashion-MNIST.

PYTHONPATH=. python projects/color_fashion/pixels.py
"""

import numpy as np
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, init_default_scope
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tas_mm.analysis.tables import table
from tas_mm.config import read_config

SETS = {
    'garments on photos': 'projects/color_fashion/configs/mobilenetv2_to_vit.py',
    'Fashion-MNIST': 'tas_mm::benchmark/cnn_to_vit.py',
}
CLASSIFIERS = {'5 neighbors': KNeighborsClassifier(5), 'linear': LogisticRegression(C=0.1, max_iter=300)}


def pixels(dataset: ConfigDict) -> tuple[np.ndarray, np.ndarray]:
    """Return all pixels of a data set, ``(N, C*H*W)`` in [0, 1], and its classes."""
    samples = [*DATASETS.build(dataset)]
    images = np.stack([sample['inputs'].numpy().ravel() for sample in samples])
    return images.astype(np.float32) / 255, np.array([int(sample['data_samples'].gt_label) for sample in samples])


def accuracies(config: str) -> list[str]:
    """Test accuracy of each classifier, in percent, after training on the 1,000 images of seed 0, not augmented."""
    cfg = read_config(config)
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    train.update(num_labeled=1000, seed=0)
    train.dataset.pipeline = cfg.val_dataloader.dataset.dataset.pipeline
    seen, unseen = pixels(train), pixels(test)
    return [f'{100 * classifier.fit(*seen).score(*unseen):.1f}' for classifier in CLASSIFIERS.values()]


if __name__ == '__main__':
    init_default_scope('mmpretrain')
    rows = [[name, *accuracies(config)] for name, config in track(SETS.items(), description='Sets')]
    print(table(['set', *CLASSIFIERS], rows))
