"""Live views: a picture that is drawn again when a control moves, and stays a picture where no kernel is live."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from mrctlib import plots
from mrctlib.data.volumes import Volume


class View:
    """Controls above a picture: live in a notebook with a kernel; stored or printed, the picture as first drawn.

    draw: called with the value of each control by name, returns a figure; controls: ipywidgets with a `value`.
    """

    def __init__(self, draw: Callable[..., Figure], alt: str, **controls: ipywidgets.Widget) -> None:
        self.draw, self.alt, self.controls = draw, alt, controls
        self.image = ipywidgets.Image(format="png")
        self.redraw()
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.box = ipywidgets.VBox([*controls.values(), self.image])

    def redraw(self, change: Any = None) -> None:
        self.image.value = plots.png(self.draw(**{name: control.value for name, control in self.controls.items()}))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        # A front end takes the richest form it can draw: the live widget, else the PNG, else the words.
        live = self.box._repr_mimebundle_() if hasattr(self.box, "_repr_mimebundle_") else {}
        live = live[0] if isinstance(live, tuple) else live or {}
        picture = base64.b64encode(self.image.value).decode()
        return {**live, "image/png": picture, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def slider(label: str, low: float, high: float, value: float, step: float = 1) -> ipywidgets.Widget:
    """A slider that redraws when it is let go, so that slow pictures do not queue up behind it."""
    kind = (
        ipywidgets.IntSlider if all(float(n).is_integer() for n in (low, high, value, step)) else ipywidgets.FloatSlider
    )
    return kind(
        description=label, min=low, max=high, value=value, step=step, continuous_update=False,
        style={"description_width": "110px"}, layout={"width": "480px"},
    )  # fmt: skip


def volume_viewer(volumes: dict[str, Volume], *, window: tuple[float, float] = plots.CT_WINDOW) -> View:
    """One of several volumes on a grid in three planes, with sliders for the point and the grey window."""
    first = next(iter(volumes.values()))
    low, high = window

    def draw(image: str, right: int, front: int, up: int, level: float, width: float) -> Figure:
        shown = (level - width / 2, level + width / 2)
        return plots.three_planes({image: (volumes[image], shown)}, (right, front, up))

    sizes = first.data.shape
    return View(
        draw,
        f"{', '.join(volumes)}: an axial, a coronal and a sagittal slice through the middle",
        image=ipywidgets.Dropdown(description="image", options=list(volumes), style={"description_width": "110px"}),
        right=slider("sagittal", 0, sizes[0] - 1, sizes[0] // 2),
        front=slider("coronal", 0, sizes[1] - 1, sizes[1] // 2),
        up=slider("axial", 0, sizes[2] - 1, sizes[2] // 2),
        level=slider("level", low, high, (low + high) / 2, 10),
        width=slider("width", 50, 2 * (high - low), high - low, 10),
    )


class LivePreview:
    """What a training shows while it runs: one figure that is replaced, whichever front end it is in.

    draw: from the training to a figure. Pass the object as `on_watch`.
    """

    def __init__(self, draw: Callable[[Any], Figure], caption: str) -> None:
        self.draw, self.caption = draw, caption
        self.handle = None

    def __call__(self, training: Any) -> None:
        from IPython.display import Image as Picture
        from IPython.display import display

        picture = Picture(plots.png(self.draw(training)))
        metadata = {"image/png": {"alt": self.caption}}
        if self.handle is None:
            self.handle = display(picture, metadata=metadata, display_id=True)
        else:
            self.handle.update(picture, metadata=metadata)
