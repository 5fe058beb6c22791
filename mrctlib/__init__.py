"""The library behind a course on deep learning for medical images."""

__version__ = "0.1.0"


def setup() -> None:
    """Settle this process for the course: how torch computes on a CPU, and how figures look. Call it once, first.

    Nothing of this happens on import, so that a program which uses the library keeps its own settings.
    """
    import matplotlib

    from mrctlib import plots, runtime

    runtime.settle_torch()
    matplotlib.rcParams.update(plots.STYLE)
