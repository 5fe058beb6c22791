"""Live views: a picture that is drawn again when a control moves, and stays a picture where no kernel is live."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from torch import Tensor
from traitlets import Bytes, List, Unicode

from mrctlib import plots
from mrctlib.data.volumes import Volume
from mrctlib.runtime import InputError


class Picture(ipywidgets.Image):
    """A picture with words for those who cannot see it: a tooltip, which ipywidgets shows only beside a description."""

    description = Unicode("").tag(sync=True)
    tooltip = Unicode("").tag(sync=True)


class View:
    """Controls above a picture: live in a notebook with a kernel; stored or printed, the picture as first drawn.

    draw: called with the value of each control by name, returns a figure; controls: ipywidgets with a `value`.
    """

    def __init__(self, draw: Callable[..., Figure], alt: str, **controls: ipywidgets.Widget) -> None:
        self.draw, self.alt, self.controls = draw, alt, controls
        as_large_as_it_is = {"align_self": "flex-start", "max_width": "100%"}  # else as wide as the page
        self.image = Picture(format="png", tooltip=alt, layout=as_large_as_it_is)
        self.redraw()
        for control in controls.values():
            control.observe(self.redraw, names="value")
            control.style.description_width = "110px"  # all controls begin at one left edge
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
    width = {"width": "480px"}
    return kind(description=label, min=low, max=high, value=value, step=step, continuous_update=False, layout=width)


class VolumeViewer(anywidget.AnyWidget):
    """Volumes on one grid in three planes, drawn in the browser: moving a slice asks no kernel. Without one, a picture.

    volumes: by name; window: the grey window at first, and the range of its sliders.

    Raises:
        InputError: no volume, or volumes of different shapes.
    """

    _esm = Path(__file__).with_name("viewer.js")
    names, shape, spacing, window = (List().tag(sync=True) for _ in range(4))
    voxels = Bytes().tag(sync=True)

    def __init__(self, volumes: dict[str, Volume], *, window: tuple[float, float] = plots.CT_WINDOW) -> None:
        if len({volume.data.shape for volume in volumes.values()}) != 1:
            raise InputError(f"volumes of {[v.data.shape for v in volumes.values()]} voxels: give some of one shape")
        first = next(iter(volumes.values()))
        # Round to whole numbers: HU are some, and the MR of this course goes up to thousands.
        data = [np.clip(np.round(v.data), -32768, 32767).astype("<i2").tobytes() for v in volumes.values()]
        shape, spacing = [list(map(kind, values)) for kind, values in ((int, first.data.shape), (float, first.spacing))]
        super().__init__(names=list(volumes), shape=shape, spacing=spacing, window=list(window), voxels=b"".join(data))
        self.picture = plots.png(plots.three_planes({name: (v, window) for name, v in volumes.items()}))
        self.alt = f"{', '.join(volumes)}: an axial, a coronal and a sagittal slice through the middle"

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict, dict]:
        live = super()._repr_mimebundle_(**options) or {}
        live = live[0] if isinstance(live, tuple) else live
        picture = base64.b64encode(self.picture).decode()
        return {**live, "image/png": picture, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


class VisualTuringTest(View):
    """One picture at a time: readers say whether it is real, and learn how they did when they have seen all.

    The result shows, for everybody who has answered, the share right with its 95% interval (Wilson 1927), and for two
    readers Cohen's kappa on the pictures that both have rated. Without a kernel: all pictures, numbered, no answers.

    images: (N, 1, H, W) from -1 to 1, in a mixed order; real: (N,), true for the real ones. `answers` holds what each
    reader has said so far, "real" or "generated", in the order of the images.

    Raises:
        InputError: no images, or not one truth for each.
    """

    WORDS = ("generated", "real")

    def __init__(self, images: Tensor, real: Tensor, readers: Sequence[str] = ("A", "B")) -> None:
        if not len(images) or len(images) != len(real):
            raise InputError(f"{len(images)} images and {len(real)} truths: say for each image whether it is real")
        self.images = np.asarray(images)
        self.truth = [self.WORDS[int(is_real)] for is_real in real]
        self.answers: dict[str, list[str]] = {reader: [] for reader in readers}
        self.buttons = {word: ipywidgets.Button(description=word) for word in reversed(self.WORDS)}
        chosen = ipywidgets.ToggleButtons(description="reader", options=list(readers))
        super().__init__(self._draw, f"{len(images)} numbered pictures, some real, some generated.", reader=chosen)
        for word, button in self.buttons.items():
            button.on_click(lambda _, word=word: self.answer(chosen.value, word))
        self.box.children = (chosen, self.image, ipywidgets.HBox(list(self.buttons.values())))

    def answer(self, reader: str, word: str) -> None:
        """Note what a reader says of the picture that is shown to them, and show the next.

        Raises:
            InputError: nobody of that name reads, it is another word, or they have seen all pictures.
        """
        if reader not in self.answers or word not in self.WORDS or self._done(reader):
            raise InputError(
                f"{reader!r} says {word!r}: readers are {', '.join(self.answers)}, words are "
                f"{' and '.join(self.WORDS)}, and each has {len(self.images)} pictures"
            )
        self.answers[reader].append(word)
        self.redraw()

    def scores(self) -> dict[str, tuple[int, int]]:
        """(right, answered) of every reader who has answered at all."""
        return {
            reader: (sum(map(str.__eq__, said, self.truth)), len(said)) for reader, said in self.answers.items() if said
        }

    def kappa(self) -> float | None:
        """Agreement of two readers on the pictures that both have rated; None unless there are two such readers.

        nan if both have said one and the same word throughout: then chance alone would make them agree.
        """
        if len(self.answers) != 2 or not all(self.answers.values()):
            return None
        a, b = zip(*zip(*self.answers.values(), strict=False), strict=True)
        return cohen_kappa_score(a, b) if len({*a, *b}) > 1 else math.nan

    def result(self) -> Figure:
        """The share right of each reader, with its 95% interval, beside guessing."""
        scores = self.scores()
        figure, axes = plots.new_figure(1, 1, width=7.5, height=1.6 + 0.7 * len(scores))
        axis = axes[0, 0]
        for row, (right, total) in enumerate(scores.values()):
            axis.plot(
                [*binomtest(right, total).proportion_ci(method="wilson")],
                (row, row),
                linewidth=5,
                color=plots.COLOURS[row],
            )
            axis.plot(right / total, row, "o", markersize=12, color=plots.COLOURS[row])
        axis.axvline(0.5, color="k", linestyle=":")
        axis.text(0.5, -0.5, " guessing", va="center", fontsize=12)
        axis.set_yticks(range(len(scores)), [f"{reader}: {right} of {n}" for reader, (right, n) in scores.items()])
        axis.set(xlim=(0, 1), ylim=(len(scores) - 0.4, -0.7), xlabel="share right, with 95% interval")
        if (kappa := self.kappa()) is not None:
            axis.set_title(f"agreement of the two: kappa {kappa:.2f}")
        return figure

    def redraw(self, change: Any = None) -> None:
        super().redraw(change)
        for button in self.buttons.values():
            button.disabled = self._done(self.controls["reader"].value)

    def _done(self, reader: str) -> bool:
        return len(self.answers[reader]) == len(self.images)

    def _draw(self, reader: str) -> Figure:
        """The next picture of a reader, or the result."""
        if self._done(reader):
            return self.result()
        at = len(self.answers[reader])
        figure, axes = plots.new_figure(1, 1, width=4.6, height=5)
        plots.picture(axes[0, 0], self.images[at, 0], (-1, 1), f"{at + 1} of {len(self.images)}")
        return figure

    def _sheet(self) -> Figure:
        """All pictures with their numbers."""
        columns = 6
        figure, axes = plots.new_figure(-(-len(self.images) // columns), columns, width=1.4, height=1.75)
        for axis in axes.flat:
            axis.set_axis_off()
        for number, (axis, image) in enumerate(zip(axes.flat, self.images[:, 0], strict=False), 1):
            plots.picture(axis, image, (-1, 1), str(number))
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(include, exclude)
        return data | {"image/png": base64.b64encode(plots.png(self._sheet())).decode()}, metadata


class LivePreview:
    """What a training shows while it runs: one figure that is replaced, whichever front end it is in.

    draw: from the training to a figure. Pass the object as `on_watch`.
    """

    def __init__(self, draw: Callable[[Any], Figure], caption: str) -> None:
        self.draw, self.caption = draw, caption
        self.handle = None

    def __call__(self, training: Any) -> None:
        from IPython.display import Image, display

        picture = Image(plots.png(self.draw(training)))
        metadata = {"image/png": {"alt": self.caption}}
        if self.handle is None:
            self.handle = display(picture, metadata=metadata, display_id=True)
        else:
            self.handle.update(picture, metadata=metadata)
