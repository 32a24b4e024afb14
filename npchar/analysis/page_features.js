// Which units follow something in the text: analysis/activations.py, `find`. A feature is a number
// after each character; T is the number of characters, U that of units in all layers.

/** Features that need no hand: of the characters of a text, in order. */
const FEATURES = {
  brackets: (characters) => {
    let inside = false;
    return characters.map((c) => Number((inside = c === "(" || (inside && c !== ")"))));
  },
  quotes: (characters) => {
    let inside = false;
    return characters.map((c) => Number((inside = inside !== (c === '"'))));
  },
  line: (characters) => {
    let position = 0;
    return characters.map((c) => (position = c === "\n" ? 0 : position + 1));
  },
  word: (characters) => {
    let position = 0;
    return characters.map((c) => (position = /\p{L}/u.test(c) ? position + 1 : 0));
  },
};

/** Each unit's values over the text, (T, U), less their mean, and the norm of that. */
function centred(rows) {
  const [T, U] = [rows.length, rows[0].length];
  const means = new Float64Array(U);
  for (const row of rows) for (let u = 0; u < U; u++) means[u] += row[u] / T;
  const norms = new Float64Array(U);
  const values = rows.map((row) => {
    const less = Float64Array.from(row, (value, u) => value - means[u]);
    for (let u = 0; u < U; u++) norms[u] += less[u] ** 2;
    return less;
  });
  return { values, norms: norms.map(Math.sqrt), U };
}

/** Pearson's correlation of every unit with a feature moved along the text: its end comes first. */
function correlations({ values, norms, U }, feature, move = 0) {
  const T = values.length;
  const mean = feature.reduce((a, b) => a + b, 0) / T;
  const norm = Math.sqrt(feature.reduce((sum, f) => sum + (f - mean) ** 2, 0));
  const r = new Float64Array(U);
  for (let t = 0; t < T; t++) {
    const f = feature[t];
    if (f === 0) continue; // the units' means are zero: the feature's may be anything
    const row = values[(t + move) % T];
    for (let u = 0; u < U; u++) r[u] += f * row[u];
  }
  return r.map((product, u) => (norms[u] > 0 ? product / (norms[u] * norm) : 0));
}

/** The units by the size of their correlation, the strongest first. */
function ranked(r) {
  return Array.from(r.keys()).sort((a, b) => Math.abs(r[b]) - Math.abs(r[a]) || a - b);
}

const MOVES = 100;

/**
 * What the best of all units reaches by chance: the feature is moved along the text by 100
 * distances, so that it has nothing to do with it; 5 of them give more than this.
 */
function chanceLevel(units, feature) {
  const T = feature.length;
  const best = Array.from({ length: MOVES }, (_, k) => {
    const r = correlations(units, feature, Math.round(((k + 1) * T) / (MOVES + 1)));
    return r.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
  });
  return best.sort((a, b) => a - b)[MOVES - 6];
}
