// The network: the equations of layers/lstm.py, gru.py, rnn.py, conv.py and dense.py, forward and
// backward, and of generation/sampling.py, for one sequence and one character at a time. V is the
// number of characters, H the number of units of a layer, D the number of its inputs. Weights are
// float32, or float16 in the page if that is exact; all arithmetic is in float64.

/** The layers of a model, from its description and its weights, one array after the other. */
function networkOf({ characters, layer, hidden_size: H, num_layers }, flat) {
  const kind = KINDS[layer];
  const V = characters.length;
  let start = 0;
  const next = (length) => {
    if (!(start + length <= flat.length)) throw new Error("an array has an unexpected size");
    return flat.subarray(start, (start += length));
  };

  const layers = [];
  for (let depth = 0; depth < num_layers; depth++) {
    const D = depth === 0 ? V : H;
    layers.push({ kind, depth, D, H, ...kind.weights({ D, H, next, lowest: depth === 0 }) });
  }
  const W = transposed(next(H * V), 1, H, V);
  const dense = { W, b: next(V) };
  return { kind, layers, dense, used: start, weights: flat.length };
}

/** The weights of a page's model, which are stored in base64. */
function weightsOf({ bits }, base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return bits === 16 ? fromHalf(new Uint16Array(bytes.buffer)) : new Float32Array(bytes.buffer);
}

/** The numbers whose float16 bits these are: 1 of sign, 5 of exponent, 10 of fraction. */
function fromHalf(words) {
  const numbers = new Float32Array(words.length);
  words.forEach((word, k) => {
    const exponent = (word >> 10) & 31;
    const fraction = (word & 1023) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    numbers[k] = word >> 15 ? -size : size;
  });
  return numbers;
}

/** (slabs, rows, columns) as (slabs, columns, rows), so that a product reads it in order. */
function transposed(W, slabs, rows, columns) {
  const WT = new Float32Array(W.length);
  for (let s = 0; s < slabs; s++) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        WT[(s * columns + c) * rows + r] = W[(s * rows + r) * columns + c];
      }
    }
  }
  return WT;
}

/** The arrays of a recurrent layer. An id picks rows of Wx, which are contiguous as they are. */
function recurrentWeights(gates, { D, H, next, lowest }) {
  const Wx = next(gates * D * H); // (gates, D, H)
  const Wh = next(gates * H * H); // (gates, H, H)
  const b = next(gates * H); // (gates, H)
  return {
    Wx: lowest ? Wx : transposed(Wx, gates, D, H),
    Wh: transposed(Wh, gates, H, H),
    b,
  };
}

/** The arrays of a convolution: of the input now, Wx, and of that `reach` steps before, Wp. */
function convWeights({ D, H, next, lowest }) {
  const W = Array.from({ length: 4 }, () => next(D * H)); // [value now, before, gate now, before]
  const together = (a, b) => {
    const both = new Float32Array(2 * D * H); // (2, D, H)
    both.set(a);
    both.set(b, D * H);
    return lowest ? both : transposed(both, 2, D, H);
  };
  return { Wx: together(W[0], W[2]), Wp: together(W[1], W[3]), b: next(2 * H) };
}

/** How many steps back a convolution looks. */
function reachOf({ depth }) {
  return 2 ** (depth % 10);
}

// Products. All W are transposed: (columns, rows).

/** z += x W for a vector x. */
function addProduct(z, x, W) {
  let at = 0;
  for (let n = 0; n < z.length; n++) {
    let sum = 0;
    for (let k = 0; k < x.length; k++) sum += x[k] * W[at++];
    z[n] += sum;
  }
}

/** dx += dz Wᵀ: the way back of a product. */
function addBack(dx, dz, W) {
  let at = 0;
  for (let n = 0; n < dz.length; n++) {
    for (let k = 0; k < dx.length; k++) dx[k] += dz[n] * W[at++];
  }
}

/** z += x W for all gates; an id stands for a one-hot vector, which picks a row for each. */
function addInput(z, x, { D, H }, W) {
  if (typeof x !== "number") {
    addProduct(z, x, W);
    return;
  }
  for (let gate = 0; gate * H < z.length; gate++) {
    const row = (gate * D + x) * H;
    for (let n = 0; n < H; n++) z[gate * H + n] += W[row + n];
  }
}

/** dx += dz Wᵀ for all gates; with respect to an id as a one-hot vector. */
function addInputBack(dx, dz, { depth, D, H }, W) {
  if (depth > 0) {
    addBack(dx, dz, W);
    return;
  }
  for (let gate = 0; gate * H < dz.length; gate++) {
    for (let x = 0; x < D; x++) {
      const row = (gate * D + x) * H;
      for (let n = 0; n < H; n++) dx[x] += dz[gate * H + n] * W[row + n];
    }
  }
}

function sigmoid(z) {
  return 1 / (1 + Math.exp(-z));
}

// One step of a layer. Forward, x (an id or a vector) and the state before the step give all values
// of the step, including the state after it. Backward, the gradients of the state after the step,
// dh and dc, give those of the state before it, and dz, the gradient of the arguments of σ and tanh,
// from which the gradient of x follows. Arrays have one gate after the other; k is a unit.

/** An LSTM; gates in the order i, f, o, g. */
function stepLSTM(layer, x, before) {
  const { H } = layer;
  const z = Float64Array.from(layer.b); // (4, H): what is inside σ and tanh
  addInput(z, x, layer, layer.Wx);
  addProduct(z, before.h, layer.Wh); // z = x Wx + h₋ Wh + b

  const [i, f, o, g, c, h] = Array.from({ length: 6 }, () => new Float64Array(H));
  for (let k = 0; k < H; k++) {
    i[k] = sigmoid(z[k]); // input gate: how much of g to write
    f[k] = sigmoid(z[H + k]); // forget gate: how much of c₋ to keep
    o[k] = sigmoid(z[2 * H + k]); // output gate: how much of c to show
    g[k] = Math.tanh(z[3 * H + k]); // the candidate to write
    c[k] = f[k] * before.c[k] + i[k] * g[k]; // the cell, the long memory
    h[k] = o[k] * Math.tanh(c[k]); // the hidden state, the output
  }
  return { i, f, o, g, c, h };
}

function backLSTM(layer, { i, f, o, g, c }, before, { h: dh, c: dc }) {
  const { H } = layer;
  const dz = new Float64Array(4 * H);
  const dstate = { h: new Float64Array(H), c: new Float64Array(H) };
  for (let k = 0; k < H; k++) {
    const shown = Math.tanh(c[k]);
    const dck = dc[k] + dh[k] * o[k] * (1 - shown ** 2); // of h = o tanh(c)
    dz[k] = dck * g[k] * i[k] * (1 - i[k]); // of c = f c₋ + i g
    dz[H + k] = dck * before.c[k] * f[k] * (1 - f[k]);
    dz[2 * H + k] = dh[k] * shown * o[k] * (1 - o[k]);
    dz[3 * H + k] = dck * i[k] * (1 - g[k] ** 2);
    dstate.c[k] = dck * f[k];
  }
  addBack(dstate.h, dz, layer.Wh);
  return { dz, dstate };
}

/** A GRU; gates in the order r, z, n. */
function stepGRU(layer, x, before) {
  const { H, bq } = layer;
  const ax = Float64Array.from(layer.b); // (3, H): x Wx + b
  addInput(ax, x, layer, layer.Wx);
  const ah = new Float64Array(3 * H); // (3, H): h₋ Wh, apart, as r acts on a part of it
  addProduct(ah, before.h, layer.Wh);

  const [r, z, q, n, h] = Array.from({ length: 5 }, () => new Float64Array(H));
  for (let k = 0; k < H; k++) {
    r[k] = sigmoid(ax[k] + ah[k]); // reset gate: how much of h₋ the candidate sees
    z[k] = sigmoid(ax[H + k] + ah[H + k]); // update gate: how much of h₋ to keep
    q[k] = ah[2 * H + k] + bq[k]; // what the reset gate acts on
    n[k] = Math.tanh(ax[2 * H + k] + r[k] * q[k]); // the candidate, the new
    h[k] = (1 - z[k]) * n[k] + z[k] * before.h[k]; // the hidden state, the output
  }
  return { r, z, q, n, h };
}

function backGRU(layer, { r, z, q, n }, before, { h: dh }) {
  const { H } = layer;
  const dz = new Float64Array(3 * H); // da of r, z, n, with respect to x Wx + b
  const dah = new Float64Array(3 * H); // da of r and z, and dq, with respect to h₋ Wh
  const dstate = { h: new Float64Array(H) };
  for (let k = 0; k < H; k++) {
    const dn = dh[k] * (1 - z[k]) * (1 - n[k] ** 2); // of h = (1 − z) n + z h₋
    dz[k] = dn * q[k] * r[k] * (1 - r[k]); // of r q
    dz[H + k] = dh[k] * (before.h[k] - n[k]) * z[k] * (1 - z[k]);
    dz[2 * H + k] = dn;
    dah[k] = dz[k];
    dah[H + k] = dz[H + k];
    dah[2 * H + k] = dn * r[k];
    dstate.h[k] = dh[k] * z[k];
  }
  addBack(dstate.h, dah, layer.Wh);
  return { dz, dstate };
}

/** A plain recurrent layer. */
function stepRNN(layer, x, before) {
  const z = Float64Array.from(layer.b);
  addInput(z, x, layer, layer.Wx);
  addProduct(z, before.h, layer.Wh);
  return { z, h: z.map(Math.tanh) }; // h = tanh(x Wx + h₋ Wh + b)
}

function backRNN(layer, { h }, before, { h: dh }) {
  const dz = dh.map((d, k) => d * (1 - h[k] ** 2));
  const dstate = { h: new Float64Array(layer.H) };
  addBack(dstate.h, dz, layer.Wh);
  return { dz, dstate };
}

/** A causal, gated convolution; its state is its last inputs, the latest at the end. */
function stepConv(layer, x, before) {
  const { H, depth } = layer;
  const z = Float64Array.from(layer.b); // (2, H)
  addInput(z, x, layer, layer.Wx);
  if (before.last[0] !== null) addInput(z, before.last[0], layer, layer.Wp);

  const [v, g, h] = Array.from({ length: 3 }, () => new Float64Array(H));
  for (let k = 0; k < H; k++) {
    v[k] = z[k]; // the value
    g[k] = sigmoid(z[H + k]); // the gate: how much of v to show
    h[k] = v[k] * g[k] + (depth > 0 ? x[k] : 0); // the output
  }
  return { v, g, h, last: [...before.last.slice(1), x] };
}

/** Backward through time: from the gradients with respect to h at each step, null for zeros. */
function* backwardRecurrent(layer, tape, above) {
  let dstate = zeroState(layer);
  const dx = [];
  for (let t = tape.length - 1; t >= 0; t--) {
    const { before, values } = tape[t];
    if (above[t]) dstate.h = dstate.h.map((d, k) => d + above[t][k]);
    const back = layer.kind.back(layer, values, before, dstate);
    dx[t] = new Float64Array(layer.D);
    addInputBack(dx[t], back.dz, layer, layer.Wx);
    dstate = back.dstate;
    yield;
  }
  return dx;
}

/** The same of a convolution, whose steps do not go through one another. */
function* backwardConv(layer, tape, above) {
  const { D, H, depth } = layer;
  const dx = tape.map(() => new Float64Array(D));
  for (const [t, { values }] of tape.entries()) {
    const { v, g } = values;
    const dh = above[t];
    if (!dh) continue;
    const dz = new Float64Array(2 * H);
    for (let k = 0; k < H; k++) {
      dz[k] = dh[k] * g[k]; // of h = v g + x
      dz[H + k] = dh[k] * v[k] * g[k] * (1 - g[k]);
      if (depth > 0) dx[t][k] += dh[k];
    }
    addInputBack(dx[t], dz, layer, layer.Wx);
    const past = t - reachOf(layer);
    if (past >= 0) addInputBack(dx[past], dz, layer, layer.Wp);
    yield;
  }
  return dx;
}

// The kinds of layers. `arrays` are the weights in a file, `state` the values of the previous step
// that a step needs, and `memory` the value that the page shows, as its tanh if it is not bounded.
const RECURRENT = {
  arrays: ["Wx", "Wh", "b"],
  state: ["h"],
  memory: "h",
  bounded: true,
  backward: backwardRecurrent,
};
const KINDS = {
  lstm: {
    ...RECURRENT,
    name: "LSTM",
    weights: (sizes) => recurrentWeights(4, sizes),
    state: ["h", "c"],
    memory: "c",
    bounded: false,
    step: stepLSTM,
    back: backLSTM,
  },
  gru: {
    ...RECURRENT,
    name: "GRU",
    arrays: ["Wx", "Wh", "b", "bq"],
    weights: (sizes) => ({ ...recurrentWeights(3, sizes), bq: sizes.next(sizes.H) }),
    step: stepGRU,
    back: backGRU,
  },
  rnn: {
    ...RECURRENT,
    name: "plain RNN",
    weights: (sizes) => recurrentWeights(1, sizes),
    step: stepRNN,
    back: backRNN,
  },
  conv: {
    name: "convolution",
    arrays: ["W", "b"],
    weights: convWeights,
    state: ["h", "last"],
    memory: "h",
    bounded: false,
    step: stepConv,
    backward: backwardConv,
  },
};

/** The zero state of a layer. */
function zeroState(layer) {
  const state = { h: new Float64Array(layer.H) };
  if (layer.kind.state.includes("c")) state.c = new Float64Array(layer.H);
  if (layer.kind.state.includes("last")) state.last = Array(reachOf(layer)).fill(null);
  return state;
}

/** One logit for each character that may come next: logits = h W + b. */
function logitsOf({ W, b }, h) {
  const logits = Float64Array.from(b);
  addProduct(logits, h, W);
  return logits;
}

/** Put pinned units to the values that they are held at; an h of null follows c. */
function hold({ o, c, h }, layer, pins) {
  for (const pin of pins) {
    if (pin.layer !== layer) continue;
    if (c) c[pin.unit] = pin.c;
    h[pin.unit] = pin.h ?? (o ? o[pin.unit] * Math.tanh(pin.c) : 0); // no gate before a first step
  }
}

/** One step of all layers: each one's values, with the state after it, and the logits. */
function step({ layers, dense }, id, states, pins = []) {
  let x = id;
  const values = layers.map((layer, k) => {
    const after = layer.kind.step(layer, x, states[k]);
    hold(after, k, pins);
    x = after.h;
    return after;
  });
  return { values, logits: logitsOf(dense, x) };
}

/**
 * The saliency of each of `ids`, read from `states` on, for the character after them: the norm of
 * the gradient of log p(target) with respect to the id as a one-hot vector. See Model.saliency.
 */
function* saliency(network, ids, states, target) {
  const { layers, dense } = network;
  const tapes = layers.map(() => []);
  let logits;
  for (const id of ids) {
    const after = step(network, id, states);
    after.values.forEach((values, k) => tapes[k].push({ before: states[k], values }));
    states = after.values;
    ({ logits } = after);
    yield;
  }
  const p = probabilitiesOf(logits, 1);
  const dlogits = p.map((q, id) => (id === target ? 1 : 0) - q); // of log softmax
  let gradients = ids.map(() => null); // with respect to the outputs of a layer, at each step
  gradients[ids.length - 1] = new Float64Array(layers.at(-1).H);
  addBack(gradients[ids.length - 1], dlogits, dense.W);
  for (let k = layers.length - 1; k >= 0; k--) {
    gradients = yield* layers[k].kind.backward(layers[k], tapes[k], gradients);
  }
  return gradients.map((dx) => Math.hypot(...dx));
}

/** softmax(logits / temperature); at 0 all to the first of the most probable. */
function probabilitiesOf(logits, temperature) {
  if (!(temperature >= 0)) throw new RangeError(`temperature is ${temperature}; expected 0 or more`);
  const most = logits.reduce((a, b) => Math.max(a, b)); // subtracted: exp cannot overflow
  if (temperature === 0) {
    const first = logits.indexOf(most);
    return logits.map((_, id) => (id === first ? 1 : 0));
  }
  const weights = logits.map((z) => Math.exp((z - most) / Math.max(temperature, 1e-250)));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

/** The id that u, from 0 to below 1, falls on: by the inverse of the cumulative sum. */
function draw(probabilities, u) {
  let total = 0;
  const cumulative = probabilities.map((p) => (total += p));
  const id = cumulative.findIndex((sum) => sum > u * total);
  if (id < 0) throw new RangeError(`the number drawn is ${u}; expected 0 to below 1`);
  return id;
}

/** How surprising a character was, in bits: −log2 of its probability. */
function surpriseOf(logits, id) {
  return -Math.log2(probabilitiesOf(logits, 1)[id]);
}

/** exp of the entropy: how many equally probable outcomes would be as uncertain. */
function choices(probabilities) {
  return Math.exp(-probabilities.reduce((sum, p) => (p > 0 ? sum + p * Math.log(p) : sum), 0));
}
