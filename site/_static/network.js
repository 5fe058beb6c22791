"use strict";
// A U-Net in plain JavaScript: mrctlib.models.translation.UnetGenerator, layer by layer. No library, nothing fetched.
// Maps are {data, channels, size}: a Float32Array of channels x size x size. One function, so that a page can hand its
// text to a worker.

function unet(tensors) {
  // Half precision to single: sign, five bits of exponent, ten of fraction.
  function single(half) {
    const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent === 0) return sign * 2 ** -24 * fraction;
    return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
  }

  const weights = {}; // name: {data, shape}
  for (const { name, shape, halves } of tensors) {
    const bytes = Uint8Array.from(atob(halves), (character) => character.charCodeAt(0));
    weights[name] = { data: Float32Array.from(new Uint16Array(bytes.buffer), single), shape };
  }

  // 3 x 3, padding of 1, stride 1 or 2. Every kernel runs along whole rows, nine products for each output.
  function convolve({ data, channels, size }, { data: kernels, shape }, stride = 1, bias = null) {
    const outputs = shape[0], wide = size + 2, made = size / stride, padded = new Float32Array(channels * wide * wide);
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < size; y++)
        padded.set(data.subarray((c * size + y) * size, (c * size + y + 1) * size), (c * wide + y + 1) * wide + 1);
    const result = new Float32Array(outputs * made * made);
    for (let o = 0; o < outputs; o++) {
      const out = result.subarray(o * made * made, (o + 1) * made * made);
      if (bias) out.fill(bias.data[o]);
      for (let c = 0; c < channels; c++) {
        const [a, b, d, e, f, g, h, i, j] = kernels.subarray(9 * (o * channels + c), 9 * (o * channels + c) + 9);
        for (let y = 0; y < made; y++) {
          let top = (c * wide + y * stride) * wide, middle = top + wide, bottom = middle + wide;
          for (let x = y * made, end = x + made; x < end; x++) {
            out[x] += a * padded[top] + b * padded[top + 1] + d * padded[top + 2] +
              e * padded[middle] + f * padded[middle + 1] + g * padded[middle + 2] +
              h * padded[bottom] + i * padded[bottom + 1] + j * padded[bottom + 2];
            top += stride; middle += stride; bottom += stride;
          }
        }
      }
    }
    return { data: result, channels: outputs, size: made };
  }

  // 2 x 2 with stride 2: every value becomes a square of four. Kernels are (inputs, outputs, 2, 2).
  function double({ data, channels, size }, { data: kernels, shape }, bias) {
    const outputs = shape[1], made = 2 * size, result = new Float32Array(outputs * made * made);
    for (let o = 0; o < outputs; o++) {
      result.fill(bias.data[o], o * made * made, (o + 1) * made * made);
      for (let c = 0; c < channels; c++) {
        const [a, b, d, e] = kernels.subarray(4 * (c * outputs + o), 4 * (c * outputs + o) + 4);
        for (let y = 0; y < size; y++) {
          let from = (c * size + y) * size, to = (o * made + 2 * y) * made;
          for (let x = 0; x < size; x++, from++, to += 2) {
            const value = data[from];
            result[to] += a * value; result[to + 1] += b * value;
            result[to + made] += d * value; result[to + made + 1] += e * value;
          }
        }
      }
    }
    return { data: result, channels: outputs, size: made };
  }

  // Each channel to mean 0 and spread 1, then nothing below 0. In place.
  function normaliseAndCut(maps) {
    const pixels = maps.size ** 2;
    for (let c = 0; c < maps.channels; c++) {
      const channel = maps.data.subarray(c * pixels, (c + 1) * pixels);
      let sum = 0, squares = 0;
      for (const value of channel) sum += value;
      const mean = sum / pixels;
      for (const value of channel) squares += (value - mean) ** 2;
      const scale = 1 / Math.sqrt(squares / pixels + 1e-5);
      for (let p = 0; p < pixels; p++) channel[p] = Math.max(0, (channel[p] - mean) * scale);
    }
    return maps;
  }

  function beside(a, b) {
    const data = new Float32Array(a.data.length + b.data.length);
    data.set(a.data);
    data.set(b.data, a.data.length);
    return { data, channels: a.channels + b.channels, size: a.size };
  }

  const block = (maps, name, stride) => normaliseAndCut(convolve(maps, weights[`${name}.weight`], stride));

  // An image from -1 to 1 (Float32Array, size x size) to another.
  return function translate(image) {
    let maps = block({ data: image, channels: 1, size: Math.sqrt(image.length) }, "first.0");
    const skips = [];
    let level = 0;
    for (; weights[`down.${level}.0.weight`]; level++) {
      skips.push(maps);
      maps = block(block(maps, `down.${level}.0`, 2), `down.${level}.3`);
    }
    while (level--) {
      const up = double(maps, weights[`up.${level}.weight`], weights[`up.${level}.bias`]);
      maps = block(beside(up, skips[level]), `merge.${level}.0`);
    }
    return convolve(maps, weights["last.0.weight"], 1, weights["last.0.bias"]).data.map(Math.tanh);
  };
}
