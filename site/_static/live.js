"use strict";
// MR to CT in the page. What is changed on the MR goes to a worker for each network; each answers when it is done.

(() => {
  const SIZE = 128, view = document.querySelector(".live"), find = (selector) => view.querySelector(selector);
  const whole = (text) => new Int16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const slices = LIVE.slices.map(({ mr, ct, body }) => ({
    mr: Float32Array.from(whole(mr), (value) => value / LIVE.fine), ct: whole(ct), body: whole(body),
  }));
  const names = Object.keys(LIVE.networks), pictures = {}; // pictures: MR from 0 to 1, the rest in HU
  const controls = Object.fromEntries([...view.querySelectorAll("input, select")].map((input) => [input.id, input]));
  const lesion = { r: 46, a: 60 }; // voxel, as the networks see the slice
  let shownAs = "bone", shifted = slices[0];

  // ---------------------------------------------------------------- what is done to the MR

  // Normal numbers, the same at every visit (Box and Muller; a generator of Park and Miller).
  const grain = new Float32Array(SIZE * SIZE);
  for (let p = 0, state = 1; p < grain.length; p++) {
    const next = () => (state = (state * 48271) % 2147483647) / 2147483647;
    grain[p] = Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next());
  }

  function moved(values, by, outside) { // along R, the patient's right and left
    const result = new values.constructor(values.length).fill(outside);
    for (let r = 0; r < SIZE; r++)
      if (r - by >= 0 && r - by < SIZE) result.set(values.subarray((r - by) * SIZE, (r - by + 1) * SIZE), r * SIZE);
    return result;
  }

  function changed() {
    const number = (id) => Number(controls[id].value), by = number("shift"), chosen = slices[controls.slice.value];
    shifted = { mr: moved(chosen.mr, by, -1), ct: moved(chosen.ct, by, -1000), body: moved(chosen.body, by, 0) };
    const [noise, shading, power] = [number("noise") / 100, number("shading") / 100, 2 ** number("contrast")];
    const [radius, spot] = [number("size"), number("spot") / 100];
    return shifted.mr.map((value, p) => {
      if (!shifted.body[p]) return -1;
      const r = Math.floor(p / SIZE), a = p % SIZE;
      let grey = ((value + 1) / 2) ** power;
      if (radius) {
        const share = Math.min(1, Math.max(0, radius - Math.hypot(r - lesion.r, a - lesion.a) + 0.5));
        grey += share * (spot - grey);
      }
      grey = grey * (1 + shading * (r / 64 - 1)) + noise * grain[p];
      return 2 * Math.min(1, Math.max(0, grey)) - 1;
    });
  }

  // ---------------------------------------------------------------- the networks

  // Workers from text, since a page that was opened from a folder may not load them from files.
  const source = `${unet}
    let translate;
    onmessage = ({ data }) => {
      if (data.tensors) translate = unet(data.tensors);
      else postMessage({ hu: translate(data.image).map((value) => 1250 * value + 250), asked: data.asked });
    };`;
  const text = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const workers = {}, waits = {}; // waits: the newest MR that a busy worker has not seen
  let asked = 0, since = 0;
  for (const name of names) {
    workers[name] = new Worker(text);
    workers[name].postMessage({ tensors: LIVE.networks[name] });
    workers[name].onmessage = ({ data }) => {
      const hu = data.hu.map((value, p) => (shifted.body[p] ? value : -1000));
      pictures[name] = hu;
      workers[name].busy = false;
      if (waits[name]) ask(name, waits[name]);
      draw(name);
      if (data.asked === asked) view.dataset[`ms${names.indexOf(name)}`] = Math.round(performance.now() - since);
      view.dataset.waiting = names.filter((other) => workers[other].busy).length;
      say();
    };
  }

  function ask(name, message) {
    waits[name] = null;
    if (workers[name].busy) { waits[name] = message; return; }
    workers[name].busy = true;
    workers[name].postMessage(message);
  }

  function update() {
    for (const input of Object.values(controls)) {
      const words = input.selectedOptions?.[0].textContent ?? `${input.value}${input.dataset.unit ?? ""}`;
      input.setAttribute("aria-valuetext", words);
      if (input.nextElementSibling?.tagName === "OUTPUT") input.nextElementSibling.textContent = words;
    }
    pictures.MR = changed();
    pictures.CT = shifted.ct;
    since = performance.now();
    asked++;
    for (const name of names) ask(name, { image: pictures.MR, asked });
    view.dataset.waiting = names.length;
    draw("MR");
    draw("CT");
  }

  // ---------------------------------------------------------------- what is seen

  const WINDOWS = { bone: [-500, 1300], brain: [0, 80] };

  function colour(name, p) { // red, green, blue
    if (name === "MR") return Array(3).fill(127.5 * (pictures.MR[p] + 1));
    if (shownAs === "error" && name !== "CT") { // blue: too low; red: too high; full at 500 HU
      const share = shifted.body[p] ? Math.max(-1, Math.min(1, (pictures[name][p] - shifted.ct[p]) / 500)) : 0;
      return share < 0 ? [255 * (1 + share), 255 * (1 + share), 255] : [255, 255 * (1 - share), 255 * (1 - share)];
    }
    const [low, high] = WINDOWS[shownAs === "error" ? "bone" : shownAs];
    return Array(3).fill((255 * (pictures[name][p] - low)) / (high - low));
  }

  // As radiologists look at it: front at the top, the patient's right on the left.
  const place = (row, column) => (SIZE - 1 - column) * SIZE + (SIZE - 1 - row);

  function draw(name) {
    const canvas = find(`canvas[data-name="${name}"]`), context = canvas.getContext("2d");
    const image = context.createImageData(SIZE, SIZE);
    for (let row = 0, n = 0; row < SIZE; row++)
      for (let column = 0; column < SIZE; column++, n += 4)
        image.data.set([...colour(name, place(row, column)), 255], n);
    context.putImageData(image, 0, 0);
  }

  function error(name) {
    let sum = 0, count = 0;
    pictures[name].forEach((hu, p) => { if (shifted.body[p]) { sum += Math.abs(hu - shifted.ct[p]); count++; } });
    return Math.round(sum / count);
  }

  function say() {
    const ready = names.filter((name) => pictures[name]);
    const words = `Mean error in this slice: ${ready.map((name) => `${name} ${error(name)} HU`).join(", ")}.`;
    find(".words").textContent = words;
    for (const name of ready) {
      find(`canvas[data-name="${name}"]`).setAttribute("aria-label", `Synthetic CT, ${name}: error ${error(name)} HU`);
    }
  }

  // ---------------------------------------------------------------- hands on it

  function under(event) { // row and column of the picture under the pointer
    const box = event.target.getBoundingClientRect();
    return [event.clientY - box.top, event.clientX - box.left].map((at) =>
      Math.min(SIZE - 1, Math.max(0, Math.floor((SIZE * at) / box.width))));
  }

  function paintAt(row, column) {
    [lesion.r, lesion.a] = [SIZE - 1 - column, SIZE - 1 - row];
    if (controls.size.value === "0") controls.size.value = 5;
    update();
  }

  for (const canvas of view.querySelectorAll("canvas")) {
    Object.assign(canvas, { width: SIZE, height: SIZE });
    canvas.addEventListener("pointermove", (event) => {
      const [row, column] = under(event), p = place(row, column);
      const said = [...names, "CT"].filter((name) => pictures[name]);
      find(".pointer").textContent = `Under the pointer: ${said.map((n) => `${n} ${Math.round(pictures[n][p])} HU`).join(", ")}.`;
      if (canvas.dataset.name === "MR" && event.buttons) paintAt(row, column);
    });
  }
  const mr = find('canvas[data-name="MR"]');
  mr.addEventListener("pointerdown", (event) => paintAt(...under(event)));
  mr.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -2], ArrowRight: [0, 2], ArrowUp: [-2, 0], ArrowDown: [2, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    paintAt(SIZE - 1 - lesion.a + step[0], SIZE - 1 - lesion.r + step[1]);
  });
  for (const input of Object.values(controls)) input.addEventListener("input", update);
  for (const button of view.querySelectorAll("button[data-window]")) {
    button.addEventListener("click", () => {
      shownAs = button.dataset.window;
      for (const other of view.querySelectorAll("button[data-window]"))
        other.setAttribute("aria-pressed", other === button);
      [...names, "CT"].filter((name) => pictures[name]).forEach(draw);
    });
  }
  find("button.reset").addEventListener("click", () => { view.querySelector("form").reset(); update(); });
  update();
})();
