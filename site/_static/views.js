"use strict";
// The views that need no kernel. A page has one <div class="view" data-view="...">, and data.js says what it shows.
// Whoever cannot see the canvas hears the same words that stand below it.

function say(view, words) {
  view.querySelector("canvas").setAttribute("aria-label", words);
  view.querySelector(".words").textContent = words;
}

// A CT slice, drawn from its HU whenever the window changes.
function windowAndLevel(view, data) {
  const canvas = view.querySelector("canvas");
  const [level, width] = view.querySelectorAll("input");
  const bytes = Uint8Array.from(atob(data.hu), (character) => character.charCodeAt(0));
  const hu = new DataView(bytes.buffer);
  canvas.width = data.width;
  canvas.height = data.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(data.width, data.height);

  function draw() {
    const low = level.value - width.value / 2;
    const high = low + Number(width.value);
    for (let pixel = 0; pixel < data.width * data.height; pixel++) {
      const grey = (255 * (hu.getInt16(2 * pixel, true) - low)) / (high - low); // a canvas cuts it to 0 to 255
      image.data.set([grey, grey, grey, 255], 4 * pixel);
    }
    context.putImageData(image, 0, 0);
    for (const slider of [level, width]) {
      slider.nextElementSibling.textContent = `${slider.value} HU`;
      slider.setAttribute("aria-valuetext", `${slider.value} HU`);
    }
    const chosen = (button) => button.dataset.level === level.value && button.dataset.width === width.value;
    const buttons = [...view.querySelectorAll("button")];
    buttons.forEach((button) => button.setAttribute("aria-pressed", chosen(button)));
    const name = buttons.find(chosen)?.textContent ?? "your own";
    say(view, `Window: ${name}. Black below ${Math.round(low)} HU, white above ${Math.round(high)} HU.`);
  }

  for (const slider of [level, width]) slider.addEventListener("input", draw);
  for (const button of view.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      level.value = button.dataset.level;
      width.value = button.dataset.width;
      draw();
    });
  }
  draw();
}

// One of many frames, all in one picture; each slider goes along its rows or its columns.
function frames(view, data) {
  const canvas = view.querySelector("canvas");
  const picture = view.querySelector(".frames");
  const sliders = view.querySelectorAll("input");
  canvas.width = data.width;
  canvas.height = data.height;

  function draw() {
    const at = { rows: 0, columns: 0 };
    for (const slider of sliders) at[slider.dataset.along] = Number(slider.value);
    const { width, height } = data;
    canvas.getContext("2d").drawImage(picture, at.columns * width, at.rows * height, width, height, 0, 0, width, height);
    const words = data.words[at.rows][at.columns];
    for (const slider of sliders) slider.setAttribute("aria-valuetext", words);
    say(view, words);
  }

  const counts = { rows: data.words.length, columns: data.words[0].length };
  for (const slider of sliders) {
    slider.max = counts[slider.dataset.along] - 1;
    slider.addEventListener("input", draw);
  }
  picture.decode().then(draw);
}

const view = document.querySelector(".view");
(view.dataset.view === "window" ? windowAndLevel : frames)(view, VIEWS[view.dataset.view]);
