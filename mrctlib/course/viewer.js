// Three planes of a volume, drawn in the page: to move a slice asks no kernel. Volumes are (R, A, S), 16-bit integers.

// One plane as {pixels, rows, columns}: the patient's right (in a sagittal plane the front) on the left, top at the top.
export function planeOf(volume, [R, A, S], name, at) {
  const value = {
    axial: (row, column) => volume[((R - 1 - column) * A + (A - 1 - row)) * S + at],
    coronal: (row, column) => volume[((R - 1 - column) * A + at) * S + (S - 1 - row)],
    sagittal: (row, column) => volume[(at * A + (A - 1 - column)) * S + (S - 1 - row)],
  }[name];
  const [rows, columns] = { axial: [A, R], coronal: [S, R], sagittal: [S, A] }[name];
  const pixels = new Int16Array(rows * columns);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) pixels[row * columns + column] = value(row, column);
  return { pixels, rows, columns };
}

// Values to greys from 0 to 255: black at level - width / 2, white at level + width / 2.
export function greys(pixels, level, width) {
  return Uint8ClampedArray.from(pixels, (value) => (255 * (value - level + width / 2)) / width);
}

// Which voxel (r, a, s) a (row, column) of a plane shows, where the other planes stand at `point`.
export function voxelAt([R, A, S], name, [r, a, s], row, column) {
  if (name === "axial") return [R - 1 - column, A - 1 - row, s];
  if (name === "coronal") return [R - 1 - column, a, S - 1 - row];
  return [r, A - 1 - column, S - 1 - row];
}

const PLANES = ["axial", "coronal", "sagittal"];

function render({ model, el }) {
  const shape = model.get("shape"), spacing = model.get("spacing"), names = model.get("names");
  const [low, high] = model.get("window"), size = shape[0] * shape[1] * shape[2];
  const bytes = model.get("voxels"), all = new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const make = (tag, parent, values = {}) => parent.appendChild(Object.assign(document.createElement(tag), values));

  const inputs = {};
  const controls = make("div", el, { className: "mrct-controls" });
  function control(name, values, tag = "input") {
    const label = make("label", controls, { textContent: `${name} ` });
    label.style.cssText = "display: inline-flex; gap: 6px; margin-right: 14px; align-items: center";
    inputs[name] = make(tag, label, values);
    inputs[name].addEventListener("input", draw);
    inputs[name].dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys away from it
  }
  control("image", {}, "select");
  names.forEach((name, index) => make("option", inputs.image, { value: index, textContent: name }));
  inputs.image.parentElement.hidden = names.length === 1; // nothing to choose
  ["sagittal", "coronal", "axial"].forEach((name, axis) =>
    control(name, { type: "range", min: 0, max: shape[axis] - 1, value: shape[axis] >> 1 }));
  control("level", { type: "range", min: low, max: high, step: 5, value: (low + high) / 2 });
  control("width", { type: "range", min: 20, max: 2 * (high - low), step: 10, value: high - low });

  const row = make("div", el), said = make("output", el, { textContent: "\u00a0" });
  row.style.cssText = "display: flex; gap: 8px; align-items: flex-end; flex-wrap: wrap; margin: 6px 0";
  const canvases = PLANES.map((name) => {
    const canvas = make("canvas", row);
    canvas.setAttribute("role", "img");
    canvas.addEventListener("pointermove", (event) => look(event, name, event.buttons > 0));
    canvas.addEventListener("pointerdown", (event) => look(event, name, true));
    return canvas;
  });

  const point = () => ["sagittal", "coronal", "axial"].map((name) => Number(inputs[name].value));
  const volume = () => all.subarray(size * inputs.image.value, size * (Number(inputs.image.value) + 1));

  function look(event, name, moves) { // the value under the pointer; held down, the other planes follow
    const box = event.target.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * event.target.width);
    const line = Math.floor(((event.clientY - box.top) / box.height) * event.target.height);
    const [r, a, s] = voxelAt(shape, name, point(), line, column);
    said.textContent = `${volume()[(r * shape[1] + a) * shape[2] + s]} at voxel ${r}, ${a}, ${s}`;
    if (moves) {
      [inputs.sagittal.value, inputs.coronal.value, inputs.axial.value] = [r, a, s];
      draw();
    }
  }

  function draw() {
    const [r, a, s] = point(), level = Number(inputs.level.value), width = Number(inputs.width.value);
    const at = { axial: s, coronal: a, sagittal: r };
    const pixel = { axial: [1, 0], coronal: [2, 0], sagittal: [2, 1] }; // the axes that go down and across
    PLANES.forEach((name, index) => {
      const { pixels, rows, columns } = planeOf(volume(), shape, name, at[name]);
      const canvas = canvases[index], [down, across] = pixel[name].map((axis) => spacing[axis]);
      Object.assign(canvas, { width: columns, height: rows });
      canvas.style.cssText = `width: ${1.3 * columns * across}px; height: ${1.3 * rows * down}px; image-rendering: pixelated`;
      canvas.setAttribute("aria-label", `${names[inputs.image.value]}, ${name} slice ${at[name]}`);
      const image = canvas.getContext("2d").createImageData(columns, rows);
      greys(pixels, level, width).forEach((grey, n) => image.data.set([grey, grey, grey, 255], 4 * n));
      canvas.getContext("2d").putImageData(image, 0, 0);
    });
  }
  draw();
}

export default { render };
