"use strict";
// A small network of dense layers that learns: forward, backward, Adam. Rows of numbers in Float32Arrays.

// Numbers from 0 to 1, the same for the same seed (Park and Miller), and normal ones (Box and Muller).
function randomNumbers(seed) {
  let state = seed;
  const even = () => (state = (state * 48271) % 2147483647) / 2147483647;
  return { even, normal: () => Math.sqrt(-2 * Math.log(even())) * Math.cos(2 * Math.PI * even()) };
}

// sizes: numbers in, in each hidden layer, and out. Leaky ReLU (0.2) between the layers; He et al.'s start.
function perceptron(sizes, random) {
  const layers = sizes.slice(1).map((outputs, n) => {
    const inputs = sizes[n], zeros = () => new Float32Array(outputs * inputs + outputs);
    const weights = zeros().map((_, k) => (k < outputs * inputs ? Math.sqrt(2 / inputs) * random.normal() : 0));
    return { inputs, outputs, weights, slope: zeros(), mean: zeros(), square: zeros() }; // biases behind the weights
  });
  let steps = 0;

  // Rows of inputs to rows of outputs; `tape` keeps what went into each layer.
  function forward(rows, count) {
    const tape = [rows];
    layers.forEach(({ inputs, outputs, weights }, n) => {
      const from = tape[n], to = new Float32Array(count * outputs), last = n === layers.length - 1;
      for (let row = 0; row < count; row++)
        for (let o = 0; o < outputs; o++) {
          let sum = weights[outputs * inputs + o];
          for (let i = 0; i < inputs; i++) sum += weights[o * inputs + i] * from[row * inputs + i];
          to[row * outputs + o] = last || sum > 0 ? sum : 0.2 * sum;
        }
      tape.push(to);
    });
    return { output: tape.at(-1), tape, count };
  }

  // The slope of a loss with respect to the outputs, taken back: added to each layer's `slope`; returns that of the inputs.
  function backward({ tape, count }, slopes) {
    for (let n = layers.length - 1; n >= 0; n--) {
      const { inputs, outputs, weights, slope } = layers[n], from = tape[n], before = new Float32Array(count * inputs);
      for (let row = 0; row < count; row++)
        for (let o = 0; o < outputs; o++) {
          const at = row * outputs + o;
          const pull = n === layers.length - 1 || tape[n + 1][at] > 0 ? slopes[at] : 0.2 * slopes[at];
          slope[outputs * inputs + o] += pull;
          for (let i = 0; i < inputs; i++) {
            slope[o * inputs + i] += pull * from[row * inputs + i];
            before[row * inputs + i] += pull * weights[o * inputs + i];
          }
        }
      slopes = before;
    }
    return slopes;
  }

  // Adam (Kingma and Ba 2015), with the betas that GANs like; then the slopes are empty again.
  function step(rate, first = 0.5, second = 0.9) {
    steps++;
    for (const { weights, slope, mean, square } of layers)
      for (let k = 0; k < weights.length; k++) {
        mean[k] += (1 - first) * (slope[k] - mean[k]);
        square[k] += (1 - second) * (slope[k] ** 2 - square[k]);
        weights[k] -= (rate * mean[k]) / (1 - first ** steps) / (Math.sqrt(square[k] / (1 - second ** steps)) + 1e-8);
        slope[k] = 0;
      }
  }

  const forget = () => layers.forEach(({ slope }) => slope.fill(0));
  return { layers, forward, backward, step, forget };
}
