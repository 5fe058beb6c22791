"""The course as static pages, by Sphinx and MyST-NB. Nothing is loaded from the web: they open from a folder.

The pages are the notebooks of lectures/ and labs/ themselves, which are linked here, with the outputs stored in them.
Nothing is executed.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from myst_nb.core.render import NbElementRenderer
from sphinx.util import logging

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tools"))
import live_view
from notebook_pages import cards, for_lecturers
from site_views import read_views

# The one place that says where the course lives.
COURSE = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Deep learning for medical images"
author = "its authors"
html_title = project
html_show_copyright = False
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# How each view was made, for its page: tools/site_views.py has written it beside what the view shows.
myst_substitutions = {f"{name}_made": view["made"] for name, view in read_views().items()}
# What a link to the course shows where it is posted.
myst_html_meta = {
    "property=og:image": COURSE["urls"]["Repository"].replace("github.com", "raw.githubusercontent.com")
    + "/main/site/_static/views/door.png"
}
# A widget is stored with its picture, and the picture is shown. A notebook's headings may skip a level.
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["course.css"]
html_show_sphinx = False
html_math_renderer = "mathml"
html_show_search_summary = False  # summaries are fetched, which no browser does from a folder
html_context = {"default_mode": "auto"}  # light or dark, as the visitor has it
html_theme_options = {
    "repository_url": COURSE["urls"]["Repository"],
    "repository_branch": "main",
    "use_repository_button": True,
    "use_download_button": True,
    "launch_buttons": {
        "colab_url": "https://colab.research.google.com",
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    },
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # search stands in the sidebar, once
}


def visit_math(writer, node):
    """A formula as MathML, which browsers draw by themselves."""
    try:
        display = "block" if isinstance(node, nodes.math_block) else "inline"
        writer.body.append(convert(node.astext(), display=display))
    except Exception as error:
        why = f"{type(error).__name__} in the formula {node.astext()!r}: write it in the LaTeX that latex2mathml knows"
        logging.getLogger(__name__).warning(why, location=node)
    raise nodes.SkipNode


def render_image(renderer, data, draw=NbElementRenderer.render_image):
    """As MyST-NB draws a picture, with the alt text of its output, which MyST-NB leaves out."""
    drawn = draw(renderer, data)
    if alt := data.output_metadata.get(data.mime_type, {}).get("alt"):
        drawn[0]["alt"] = alt
    return drawn


def write_networks(app, _):
    """The weights of the live view, from the shelf."""
    live_view.write(Path(app.outdir) / "_static" / "networks.js")


def views_of(page, built):
    """Links to the views that speak of a notebook."""
    views = [path for path in sorted((HERE / "views").glob("*.md")) if f"views/{path.stem}" in built]
    speak = [view for view in views if f"</{page}>" in view.read_text(encoding="utf-8")]
    return ", ".join(f"{{doc}}`/views/{view.stem}`" for view in speak)


def fill(app, page, source):
    """Put in what is read from elsewhere: cards on the first page, questions for lecturers, in a notebook its views."""
    if page == "lecturer":
        notebooks = [path for folder in ("lectures", "labs") for path in sorted((HERE / folder).glob("*.ipynb"))]
        source[0] = source[0].replace("<!-- questions -->", for_lecturers(notebooks))
    if page.startswith(("lectures/", "labs/")) and (links := views_of(page, app.env.found_docs)):
        notebook = json.loads(source[0])
        said = {"cell_type": "markdown", "id": "views", "metadata": {}, "source": f"To handle it in the page: {links}."}
        notebook["cells"].insert(2, said)
        source[0] = json.dumps(notebook)
    if page == "index":
        source[0] = re.sub(r"<!-- cards: (\w+) -->", lambda at: cards(HERE / at[1]), source[0])


def setup(app):
    app.connect("build-finished", write_networks)
    app.connect("source-read", fill)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    NbElementRenderer.render_image = render_image
