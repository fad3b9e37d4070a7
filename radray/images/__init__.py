"""The images table: cleaning every radiograph of an index, the split by patient, and reading it for training."""

from radray.images.labels import class_indices
from radray.images.reading import Radiographs, load_cleaning, load_images
from radray.images.split import assign_folds, assign_splits

__all__ = ["Radiographs", "assign_folds", "assign_splits", "class_indices", "load_cleaning", "load_images"]
