"""What a reader sees: figures that can be read from the back of a room, with a caption and words for those who cannot.

CT and MR are grey; a difference is blue (too low) to red (too high), which colour-blind eyes can tell apart. Volumes
are (R, A, S); pictures show the patient's right on the left and the front at the top, as radiologists do.
"""

from __future__ import annotations

import inspect
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image, ImageChops
from torch import Tensor

from mrctlib.data.volumes import HU_RANGE, Volume

# Okabe and Ito's colours, in an order that also differs in lightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "font.size": 14,
    "axes.titlesize": 16,
    "axes.labelsize": 14,
    "legend.fontsize": 12,
    "lines.linewidth": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "figure.dpi": 110,
}

CT_WINDOW = HU_RANGE  # all that a network is trained on
BONE_WINDOW = (-500.0, 1300.0)  # level 400, width 1800
BRAIN_WINDOW = (0.0, 80.0)  # level 40, width 80: grey and white matter apart, fluid dark
PLANES = ("axial", "coronal", "sagittal")


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 3.2, height: float = 3.2, **options) -> tuple:
    """A figure in the style of the course and its (rows, columns) array of axes; width and height of each in inches.

    Made without pyplot, so nothing stays in memory behind a notebook's back.
    """
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)  # titles of images would touch the edge
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def png(figure: Figure) -> bytes:
    """The figure as a PNG with every grey or colour it has; a third of the size where all of it is grey."""
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=STYLE["figure.dpi"])
    image = Image.open(raw).convert("RGB")
    grey = image.convert("L")
    coloured = ImageChops.difference(image, grey.convert("RGB")).getbbox()
    (image if coloured else grey).save(small, format="png")
    return small.getvalue()


def show(figure: Figure, caption: str, alt: str | None = None) -> None:
    """Display a figure with its caption below it; `alt` says in words what is to be seen (default: the caption)."""
    show_png(png(figure), caption, alt)


def show_png(picture: bytes, caption: str, alt: str | None = None) -> None:
    """Display a picture that was drawn before, a PNG file's bytes, as `show` does with a figure."""
    from IPython import get_ipython
    from IPython.display import Image as Picture
    from IPython.display import Markdown, display

    alt = alt or caption
    if hasattr(get_ipython(), "kernel"):
        display(Picture(picture), metadata={"image/png": {"alt": alt}})
        display(Markdown(f"*{caption}*"))
    else:
        print(f"[figure: {alt}]")


def show_table(rows: Sequence[Mapping[str, object]], caption: str) -> None:
    """Display rows as a table, one column for each key of the first row, with its caption below it."""
    from IPython.display import display

    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    plain = "\n".join("  ".join(f"{cell:<18}" for cell in line).rstrip() for line in lines[:1] + lines[2:])
    display({"text/markdown": f"{table}\n\n*{caption}*", "text/plain": plain}, raw=True)


def show_source(thing: Callable) -> None:
    """Display the library's own source of a function or class, so that what runs is what is read."""
    from IPython.display import display

    source = textwrap.dedent(inspect.getsource(thing)).rstrip()
    text = f"# {thing.__module__}.{thing.__qualname__}\n{source}"
    display({"text/markdown": f"```python\n{text}\n```", "text/plain": text}, raw=True)


# ---------------------------------------------------------------------------------------------------- images


def plane(volume: Volume | np.ndarray, name: str, at: int) -> np.ndarray:
    """One slice of a volume, (rows, columns), turned as radiologists look at it."""
    data = volume.data if isinstance(volume, Volume) else volume
    return upright(np.take(data, at, axis={"axial": 2, "coronal": 1, "sagittal": 0}[name]))


def upright(image: np.ndarray | Tensor) -> np.ndarray:
    """A slice (R, A), (R, S) or (A, S), perhaps with axes of length 1, to (rows, columns) as radiologists look at it.

    Its second axis goes up; the patient's right is on the left of the picture, in a sagittal plane the front.
    """
    return np.asarray(image).squeeze().T[::-1, ::-1]


def picture(
    axis: Axes, image: np.ndarray, window: tuple[float, float], title: str = "", *, aspect: float = 1.0, cmap="gray"
):
    """Draw a (rows, columns) image in a grey window of (lowest, highest) value, without axes."""
    drawn = axis.imshow(image, cmap=cmap, vmin=window[0], vmax=window[1], aspect=aspect, interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
    return drawn


def mark(axis: Axes, pixel_mm: tuple[float, float], shape: tuple[int, int], bar_mm: float = 50.0) -> None:
    """The patient's right, and a bar of `bar_mm`, on a picture of (rows, columns); pixels measure (down, across) mm."""
    (rows, columns), (down, across) = shape, pixel_mm
    # An outline, to be seen on a bright head as well.
    thin, wide = ([withStroke(linewidth=width, foreground="black")] for width in (2, 4.5))
    ink = {"color": "white", "fontsize": 10, "fontweight": "bold", "path_effects": thin}
    axis.text(0.03, 0.97, "R", transform=axis.transAxes, va="top", **ink)  # a corner, where there mostly is air
    left, low = 0.04 * columns, rows - 1 - 0.04 * rows
    axis.plot([left, left + bar_mm / across], [low, low], color="white", linewidth=2.5, path_effects=wide)
    axis.text(left, low - 6 / down, f"{bar_mm:.0f} mm", **ink)


def mr_window(mr: np.ndarray, body: np.ndarray | None = None) -> tuple[float, float]:
    """From 0 to the 99.5th percentile in the body: the grey window of an MR."""
    return 0.0, float(np.percentile(mr if body is None else mr[body], 99.5))


def three_planes(volumes: Mapping[str, tuple[Volume, tuple[float, float]]], at: Sequence[int] | None = None) -> Figure:
    """A row for each named (volume, window), a column for each plane, through voxel `at` = (R, A, S)."""
    figure, axes = new_figure(len(volumes), 3, width=2.3, height=2.3)
    for row, (name, (volume, window)) in zip(axes, volumes.items(), strict=True):
        r, a, s = at or tuple(n // 2 for n in volume.data.shape)
        dr, da, ds = volume.spacing
        for axis, which, index, aspect in zip(row, PLANES, (s, a, r), (da / dr, ds / dr, ds / da), strict=True):
            picture(axis, plane(volume, which, index), window, f"{name}, {which}", aspect=aspect)
    return figure


def translation(
    mr: Volume, sct: Volume, ct: Volume, body: np.ndarray, title: str = "", heights=(0.3, 0.5, 0.7)
) -> Figure:
    """MR, synthetic CT and CT in a bone and in a brain window, and their difference in HU; a row for each height.

    heights: relative, in the body. The difference is drawn on the scale of bone.
    """
    low, high = np.flatnonzero(body.any((0, 1)))[[0, -1]]
    shown = {"MR": (mr, mr_window(mr.data, body))}
    for window, where in ((BONE_WINDOW, "bone"), (BRAIN_WINDOW, "brain")):
        shown |= {f"synthetic CT, {where}": (sct, window), f"CT, {where}": (ct, window)}
    figure, axes = new_figure(len(heights), len(shown) + 1, width=2.2, height=2.4)
    aspect = mr.spacing[1] / mr.spacing[0]
    for row, height in zip(axes, heights, strict=True):
        at = int(low + height * (high - low))
        for axis, (volume, window) in zip(row, shown.values(), strict=False):
            picture(axis, plane(volume, "axial", at), window, aspect=aspect)
        error = np.where(plane(body, "axial", at), plane(sct, "axial", at) - plane(ct, "axial", at), 0)
        drawn = picture(row[-1], error, (-800, 800), aspect=aspect, cmap="RdBu_r")
    mark(axes[0, 0], (mr.spacing[1], mr.spacing[0]), (mr.data.shape[1], mr.data.shape[0]))
    for axis, name in zip(axes[0], (*shown, "synthetic - real"), strict=True):
        axis.set_title(name.replace(", ", "\n"), fontsize=13)
    figure.colorbar(drawn, ax=axes[:, -1], label="difference (HU)", shrink=0.6)
    if title:
        figure.suptitle(title, fontsize=15)
    return figure


def slices_in_rows(rows: Mapping[str, Sequence[np.ndarray]], window=(-1.0, 1.0), width: float = 1.9) -> Figure:
    """Slices (R, A) as the network sees them, a named row for each set; width of each in inches."""
    columns = max(len(images) for images in rows.values())
    figure, axes = new_figure(len(rows), columns, width=width, height=width + 0.1)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, image in zip(row, images, strict=False):
            picture(axis, np.asarray(image).T[::-1, ::-1], window)
        # A name may be longer than its picture is wide: the empty title keeps the height, and the text takes no width.
        row[0].set_title(" ")
        title = row[0].text(0, 1.06, name, transform=row[0].transAxes, fontsize=STYLE["axes.titlesize"])
        title.set_in_layout(False)
    return figure


# ---------------------------------------------------------------------------------------------------- curves and bars


def history(rows: Sequence[Mapping[str, float]]) -> Figure:
    """How a training went: the losses, the pull of the discriminators, and the three signs of drift."""
    figure, axes = new_figure(1, 3, width=4.6, height=4.0)
    steps = [row["step"] for row in rows]
    watched = ("mr_correlation", "bone_ratio", "background_hu")
    names = [n for n in rows[0] if n not in ("step", "seconds", *watched)]
    for name in names:
        axes[0, 0].plot(steps, [row.get(name, np.nan) for row in rows], label=name)
    axes[0, 0].set(yscale="log", xlabel="step", ylabel="loss, without its weight", title="losses")
    axes[0, 0].legend(ncol=3, fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.2))  # not over the curves
    axes[0, 1].plot(steps, [row["mr_correlation"] for row in rows], label="correlation with the MR")
    axes[0, 1].plot(steps, [row["bone_ratio"] for row in rows], label="bone, fake over real", linestyle="--")
    axes[0, 1].axhline(1, color="0.6", linewidth=1)
    axes[0, 1].axhline(0, color="0.6", linewidth=1)
    axes[0, 1].set(xlabel="step", title="drift: copying, bone")
    axes[0, 1].legend(fontsize=11)
    axes[0, 2].plot(steps, [row["background_hu"] for row in rows])
    axes[0, 2].set(xlabel="step", ylabel="mean outside the body (HU)", title="drift: background")
    return figure


def bars(values: Mapping[str, float], label: str, *, highlight: str = "", floor: float | None = None) -> Figure:
    """A horizontal bar for each named value, best at the top, with its number written out."""
    figure, axes = new_figure(1, 1, width=8, height=0.5 * len(values) + 1.2)
    axis = axes[0, 0]
    names = sorted(values, key=values.get, reverse=True)
    drawn = axis.barh(
        names, [values[n] for n in names], color=[COLOURS[1] if n == highlight else COLOURS[0] for n in names]
    )
    axis.bar_label(drawn, fmt=" %.0f")
    if floor is not None:
        axis.axvline(floor, color="k", linestyle=":", label=f"noise floor, {floor:.0f}")
        axis.legend(loc="upper right")
    axis.set_xlabel(label)
    return figure
