"""MetaFace: meta-learning for face recognition, from scratch."""

__version__ = "0.1.0"
