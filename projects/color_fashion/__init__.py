"""Fashion-MNIST's garments on pieces of aerial photos: a colored set on which pixels alone are weak."""

from .on_photos import OnPhotos

__all__ = ['OnPhotos']
