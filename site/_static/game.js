"use strict";
// A GAN in the plane, trained in the page: lecture 5's game, on points that the visitor draws.

(() => {
  const view = document.querySelector(".play"), find = (selector) => view.querySelector(selector);
  const canvas = find("canvas"), context = canvas.getContext("2d"), PIXELS = 480, REACH = 1.6, BATCH = 64, NEAR = 0.15;
  const controls = Object.fromEntries([...view.querySelectorAll("input, select")].map((input) => [input.id, input]));
  const sigmoid = (s) => 1 / (1 + Math.exp(-s));
  // The slopes of each loss: of the discriminator by its score of a real and of a fake point, of the generator by the latter.
  const LOSSES = {
    "non-saturating": { real: (s) => -sigmoid(-s), fake: sigmoid, maker: (s) => -sigmoid(-s) },
    saturating: { real: (s) => -sigmoid(-s), fake: sigmoid, maker: (s) => -sigmoid(s) },
    "least squares": { real: (s) => 2 * (s - 1), fake: (s) => 2 * s, maker: (s) => 2 * (s - 1) },
  };
  const PRESETS = {
    ring: (random) => { const turn = 2 * Math.PI * random.even(); return [Math.cos(turn), Math.sin(turn)]; },
    "eight spots": (random) => { const turn = (Math.PI / 4) * Math.floor(8 * random.even()); return [1.1 * Math.cos(turn), 1.1 * Math.sin(turn)]; },
    "two moons": (random) => {
      const turn = Math.PI * random.even(), up = random.even() < 0.5;
      return up ? [Math.cos(turn) - 0.4, Math.sin(turn) - 0.2] : [0.4 - Math.cos(turn), 0.2 - Math.sin(turn)];
    },
  };
  let random, generator, discriminator, real, noise, steps, playing = null;

  function begin() { // new networks
    random = randomNumbers(1);
    generator = perceptron([2, 32, 32, 2], random);
    discriminator = perceptron([2, 32, 32, 1], random);
    noise = Float32Array.from({ length: 2 * 256 }, () => random.normal());
    steps = 0;
  }

  function preset(name) {
    const numbers = randomNumbers(7);
    real = Array.from({ length: 400 }, () => PRESETS[name](numbers).map((at) => at + 0.04 * numbers.normal()));
  }

  // ---------------------------------------------------------------- the game

  const batchOf = (points) => Float32Array.from({ length: BATCH }).reduce((rows, _, n) => {
    rows.set(points[Math.floor(random.even() * points.length)], 2 * n);
    return rows;
  }, new Float32Array(2 * BATCH));
  const drawNoise = () => Float32Array.from({ length: 2 * BATCH }, () => random.normal());

  function oneStep() {
    const loss = LOSSES[controls.loss.value], rate = (id) => 10 ** Number(controls[id].value);
    for (let n = 0; n < Number(controls.looks.value); n++) {
      const judged = discriminator.forward(batchOf(real), BATCH);
      discriminator.backward(judged, judged.output.map((s) => loss.real(s) / BATCH));
      const fakes = discriminator.forward(generator.forward(drawNoise(), BATCH).output, BATCH);
      discriminator.backward(fakes, fakes.output.map((s) => loss.fake(s) / BATCH));
      discriminator.step(rate("judge"));
    }
    const made = generator.forward(drawNoise(), BATCH), scored = discriminator.forward(made.output, BATCH);
    generator.backward(made, discriminator.backward(scored, scored.output.map((s) => loss.maker(s) / BATCH)));
    discriminator.forget(); // it stands still in the generator's turn
    generator.step(rate("maker"));
    steps++;
  }

  const train = (count) => { if (real.length) for (let n = 0; n < count; n++) oneStep(); };

  // ---------------------------------------------------------------- what is seen

  const at = (x, y) => [((x + REACH) / (2 * REACH)) * PIXELS, ((REACH - y) / (2 * REACH)) * PIXELS];

  function field(cells = 48) { // how real each place looks: blue below one half, orange above
    const side = PIXELS / cells, places = new Float32Array(2 * cells * cells);
    for (let n = 0; n < cells * cells; n++)
      places.set([((n % cells) + 0.5) / cells * 2 * REACH - REACH, REACH - ((Math.floor(n / cells) + 0.5) / cells) * 2 * REACH], 2 * n);
    const middle = controls.loss.value === "least squares" ? 0.5 : 0;
    discriminator.forward(places, cells * cells).output.forEach((s, n) => {
      const share = 2 * sigmoid(s - middle) - 1, tone = Math.round(255 - 110 * Math.abs(share));
      context.fillStyle = share > 0 ? `rgb(255, ${Math.round(255 - 60 * share)}, ${tone})` : `rgb(${tone}, ${Math.round(255 + 40 * share)}, 255)`;
      context.fillRect((n % cells) * side, Math.floor(n / cells) * side, side + 1, side + 1);
    });
  }

  function grid(lines = 9, points = 31) { // a net of noise, as the generator lays it over the plane
    const row = (fixed, moving) => Float32Array.from({ length: 2 * points }, (_, n) =>
      (n % 2 === moving ? -2 + (4 * Math.floor(n / 2)) / (points - 1) : fixed));
    context.strokeStyle = "rgba(0, 0, 0, 0.35)";
    for (let moving = 0; moving < 2; moving++)
      for (let line = 0; line < lines; line++) {
        const made = generator.forward(row(-2 + (4 * line) / (lines - 1), moving), points).output;
        context.beginPath();
        for (let n = 0; n < points; n++) context.lineTo(...at(made[2 * n], made[2 * n + 1]));
        context.stroke();
      }
  }

  function dots(points, colour, size) {
    context.fillStyle = colour;
    for (const [x, y] of points) { const [column, row] = at(x, y); context.fillRect(column - size / 2, row - size / 2, size, size); }
  }

  function draw() {
    const made = generator.forward(noise, 256).output;
    const fakes = Array.from({ length: 256 }, (_, n) => [made[2 * n], made[2 * n + 1]]);
    field();
    grid();
    dots(real, "#000", 4);
    dots(fakes, "#0072b2", 6);
    const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) < NEAR;
    const share = (some, others) => (some.length ? Math.round((100 * some.filter((a) => others.some((b) => near(a, b))).length) / some.length) : 0);
    const words = real.length
      ? `Step ${steps}: ${share(fakes, real)}% of the fakes lie near a real point, ${share(real, fakes)}% of the real points have a fake near.`
      : "No real points: draw some, or choose a shape.";
    find(".words").textContent = words;
    canvas.setAttribute("aria-label", words);
    for (const input of Object.values(controls)) {
      const shown = input.selectedOptions?.[0].textContent ?? (input.dataset.power ? (10 ** input.value).toPrecision(2) : input.value);
      input.setAttribute("aria-valuetext", shown);
      if (input.nextElementSibling?.tagName === "OUTPUT") input.nextElementSibling.textContent = shown;
    }
  }

  // ---------------------------------------------------------------- hands on it

  function frame() {
    train(5);
    draw();
    playing = requestAnimationFrame(frame);
  }

  function play(on) {
    if (playing !== null) cancelAnimationFrame(playing);
    playing = null;
    if (on) playing = requestAnimationFrame(frame);
    find("button.go").setAttribute("aria-pressed", on);
    find("button.go").textContent = on ? "pause" : "play";
  }

  function paint(event) {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 * REACH - REACH, y = REACH - ((event.clientY - box.top) / box.height) * 2 * REACH;
    for (let n = 0; n < 5; n++) real.push([x + 0.04 * random.normal(), y + 0.04 * random.normal()]);
    draw();
  }

  Object.assign(canvas, { width: PIXELS, height: PIXELS });
  canvas.addEventListener("pointerdown", paint);
  canvas.addEventListener("pointermove", (event) => event.buttons && paint(event));
  find("button.go").addEventListener("click", () => play(playing === null));
  find("button.hundred").addEventListener("click", () => { train(100); draw(); });
  find("button.again").addEventListener("click", () => { begin(); draw(); });
  find("button.clear").addEventListener("click", () => { real = []; draw(); });
  controls.shape.addEventListener("input", () => { preset(controls.shape.value); draw(); });
  for (const id of ["loss", "judge", "maker", "looks"]) controls[id].addEventListener("input", draw);
  begin();
  preset("ring");
  draw();
})();
