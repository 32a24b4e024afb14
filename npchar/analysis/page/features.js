// Units that follow a feature of the text, as in analysis/activations.py, `find`. A feature is a
// number for each character; T is the number of characters, U the number of units in all layers.

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

/** The places of a span or several, and of as many characters on each side, at least 10. */
function placesAround(inside) {
  const near = new Set();
  for (let a = 0; a < inside.length; a++) {
    if (!inside[a]) continue;
    let b = a; // where this span ends
    while (inside[b + 1]) b++;
    const width = Math.max(10, b + 1 - a);
    for (let t = a - width; t <= b + width; t++) if (t in inside) near.add(t);
    a = b;
  }
  return Array.from(near).sort((a, b) => a - b);
}

/** Pearson's correlation of every unit with a feature: of rows (n, U) with n numbers. */
function correlations(rows, feature) {
  const [n, U] = [rows.length, rows[0].length];
  const means = new Float64Array(U);
  for (const row of rows) for (let u = 0; u < U; u++) means[u] += row[u] / n;
  const mean = feature.reduce((a, b) => a + b, 0) / n;
  const [products, squares] = [new Float64Array(U), new Float64Array(U)];
  let square = 0;
  rows.forEach((row, t) => {
    const f = feature[t] - mean;
    square += f * f;
    for (let u = 0; u < U; u++) {
      const x = row[u] - means[u];
      products[u] += f * x;
      squares[u] += x * x;
    }
  });
  return products.map((sum, u) => (squares[u] > 0 ? sum / Math.sqrt(squares[u] * square) : 0));
}

/** The units by the size of their correlation, the strongest first. */
function ranked(r) {
  return Array.from(r.keys()).sort((a, b) => Math.abs(r[b]) - Math.abs(r[a]) || a - b);
}

const MOVES = 100;

/**
 * The correlation that the best unit exceeds by chance in 5 of 100 cases. In each case the feature
 * is shifted along the text in a circle. `among` are the places that are compared, of all rows.
 */
function* chanceLevel(rows, among, feature) {
  const T = rows.length;
  const best = [];
  for (let k = 1; k <= MOVES; k++) {
    const move = Math.round((k * T) / (MOVES + 1));
    const r = correlations(among.map((t) => rows[(t + move) % T]), feature);
    best.push(r.reduce((most, one) => Math.max(most, Math.abs(one)), 0));
    yield;
  }
  return best.sort((a, b) => a - b)[MOVES - 6];
}
