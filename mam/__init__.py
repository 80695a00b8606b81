"""mam: multimodal attention merging (Sundar et al., arXiv 2312.14378), measured honestly."""

from importlib.metadata import version

__version__ = version("mam")
