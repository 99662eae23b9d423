"""What can be wrong with what training is given; each says what was found and what is needed."""

from __future__ import annotations

from photosearch.errors import PhotosearchError


class DistillationError(PhotosearchError, ValueError):
    """Input that must not be trained on."""


class BadCells(DistillationError):
    """A combination of cells that is undefined, empty or collapses."""


class MismatchedShapes(DistillationError):
    """Embeddings that do not belong together."""


class NotFinite(DistillationError):
    """NaN or infinity where numbers are needed."""


class NoPositives(DistillationError):
    """A contrastive row without anything to find."""


class TeacherMissing(DistillationError):
    """The teacher, its weights or its library cannot be had."""


class CacheDamaged(DistillationError):
    """Cached teacher embeddings are missing, damaged or of something else."""
