// The actions on the page: opening models, writing, going back in the text, and selecting. Event
// handlers are registered near the end. The functions for the browser's console are last.

const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]; // characters a second
const FRAME = 12; // milliseconds of writing between two pictures
const SPOKEN = 3000; // milliseconds between two announcements of what is written
const EXAMPLE = [240, 400]; // characters, at least and at most
const EFFECT = 0.1; // of a first pin on the next character, at the end of the example
const LONGEST = 20000; // characters of a prompt

/** The network of a model, which is built when it is first needed. */
function networkAt(place) {
  const model = models[place];
  return (model.network ??= networkOf(model.description, model.weights()));
}

/** Open a model and forget everything of another; `then` follows once its prompt is read. */
function openModel(then = writeExample) {
  stop();
  const place = Math.max(0, element("model").selectedIndex);
  network = networkAt(place);
  ({ description } = models[place]);
  ({ characters } = description);
  const { kind, layers } = network;
  words = WORDS[kind.memory === "h" && !kind.bounded ? "unbounded" : kind.memory];
  [pins, chosen] = [[], null];
  element("pinned").hidden = true;
  for (const id of ["grids", "bars"]) element(id).replaceChildren();
  units = layers.map(makeUnits);
  bars = Array.from({ length: Math.min(BARS, characters.length) }, makeBar);
  const size = `${kind.name}, ${layers.length} × ${layers[0].H} ${words.unit}s`;
  const texts = {
    shown: bars.length,
    known: characters.length,
    about: description.about,
    "units-title": words.title,
    square: words.square,
    size: `${size}, ${network.weights.toLocaleString("en")} weights. Made by npchar ${description.npchar}.`,
  };
  for (const [id, text] of Object.entries(texts)) element(id).textContent = text;
  for (const word of document.querySelectorAll(".unit-word")) word.textContent = words.unit;
  element("unit-number").max = layers[0].H - 1;
  element("unit-number").value = "";
  element("of-layer").hidden = layers.length === 1;
  element("unit-layer").replaceChildren(...layers.map((_, k) => new Option(k, k)));
  const hasCells = kind.memory === "c";
  element("diagram").style.display = hasCells ? "" : "none";
  element("no-diagram").hidden = element("follow").checked = hasCells;
  element("pin-c-setting").hidden = element("following-c").hidden = !hasCells;
  const widest = kind.bounded || hasCells ? 1 : 4;
  Object.assign(element("pin-h"), { min: -widest, max: widest });
  element("samples").hidden = true;
  element("prompt").value = description.prompt;
  element("sentence").value ||= description.prompt.trim();
  reset();
  begin(then);
}

/**
 * Write an example, always the same one, and choose a unit that follows a feature. The example ends
 * where a pin of this unit has an effect.
 */
function writeExample() {
  if (!text.length) return;
  function* writing() {
    for (let k = 0, seed = 1; k < EXAMPLE[1]; k++) {
      if (k === EXAMPLE[0]) chooseClosest(yield* closest());
      if (k >= EXAMPLE[0] && strongestPin(chosen).change > EFFECT) return;
      seed = (seed * 16807) % 2147483647; // Park and Miller's generator
      writeOne(temperature(), seed / 2147483647);
      yield;
    }
  }
  inSlices(writing(), unchanged(), toEnd);
}

/** Begin with the prompt; only what is new is read where it has just grown. */
function begin(then = () => {}) {
  stop();
  element("status").textContent = "";
  const prompt = element("prompt").value;
  const { ids, unknown } = encode(prompt.slice(0, LONGEST));
  const grown = first === 0 && text.every(({ id, written }, n) => !written && id === ids[n]);
  if (!grown) reset();
  const tooLong = `The page reads only the first ${LONGEST.toLocaleString("en")} characters. `;
  element("note").textContent = (prompt.length > LONGEST ? tooLong : "") + leftOut(unknown);
  const finish = () => {
    setBusy(false);
    toEnd();
    then();
  };
  const between = () => setBusy(true, { max: ids.length, value: text.length });
  inSlices(reading(ids.slice(text.length)), unchanged(), finish, between);
}

function setBusy(busy, progress = {}) {
  box.style.contentVisibility = busy ? "hidden" : ""; // one layout at the end instead of many
  Object.assign(element("progress"), { hidden: !busy, ...progress });
  for (const id of ["write", "one"]) element(id).disabled = busy;
}

/** Whether there is something to go on from; the page says so if not. */
function ready() {
  if (text.length) return true;
  element("status").textContent = "Type a prompt first. It needs at least one character of the vocabulary.";
  element("prompt").focus();
  return false;
}

function start() {
  stop();
  if (!ready()) return;
  toEnd();
  writing = { since: performance.now(), owed: 1, written: 0, spoken: performance.now() };
  element("write").textContent = "Stop";
  element("status").textContent = "Writing.";
  showEnd();
  requestAnimationFrame(frame);
}

/** End what is going on: writing, and work in slices. */
function stop() {
  changes += 1;
  setBusy(false);
  if (!writing) return;
  speak(unspoken.length);
  element("status").textContent = `Stopped after ${writing.written} characters.`;
  element("write").textContent = "Write";
  writing = null;
  showRanking();
}

/** Write what is due since the picture before, but no longer than FRAME. */
function frame() {
  if (!writing) return;
  const now = performance.now();
  writing.owed += (Math.min(now - writing.since, 200) / 1000) * speed();
  writing.since = now;
  const before = writing.written;
  const follow = atEnd();
  while (writing.owed >= 1) {
    unspoken += writeOne(temperature());
    writing.written += 1;
    writing.owed = performance.now() - now < FRAME ? writing.owed - 1 : 0;
  }
  if (writing.written > before) {
    showText(false);
    if (follow) showEnd();
  }
  if (now - writing.spoken > SPOKEN) {
    writing.spoken = now;
    speak(unspoken.search(/\s\S*$/) + 1); // whole words
  }
  requestAnimationFrame(frame);
}

let unspoken = ""; // written, but not yet given to screen readers

/** Give screen readers so many of the characters written: the last ones, if there are too many. */
function speak(length) {
  element("spoken").textContent = unspoken.slice(0, length).slice(-200);
  unspoken = unspoken.slice(length);
}

function oneCharacter() {
  stop();
  if (!ready()) return;
  element("spoken").textContent = nameOf(writeOne(temperature()))[1];
  element("status").textContent = "";
  toEnd();
}

function clear() {
  stop();
  reset();
  begin();
}

/** Show the moment after a character of the text. */
function goTo(n) {
  moment = n;
  showMoment(); // it covers the lower part of the window
  text[n - first].element.scrollIntoView({ block: "nearest" });
  show();
}

/** Show the latest moment. */
function toEnd() {
  moment = null;
  showMoment();
  showSpans();
  showText();
}

/** Drop what follows the moment that is shown, and go on from it. */
function goOnFromHere() {
  stop();
  remove(text.splice(moment + 1 - first));
  spans = spans.filter(([, to]) => to <= moment);
  rerun();
  toEnd();
  box.focus();
}

// Selecting spans in the text.

let kept = []; // the spans that stay when this one grows or shrinks
let anchor = null; // where a span that is selected by keys began
let dragged = null; // where a span that is selected by a pointer began

function select(span) {
  spans = [...kept, span];
  element("feature").value = "spans";
  showSpans();
  showRanking();
}

function entryOf(target) {
  return text.find(({ element }) => element === target);
}

/** A mouse or a finger that moves sideways selects a span; other moves of a finger scroll the page. */
function dragText({ clientX, clientY }) {
  const to = dragged && entryOf(document.elementFromPoint(clientX, clientY));
  if (to && to !== dragged) select([Math.min(dragged.n, to.n), Math.max(dragged.n, to.n)]);
}

/** A click, whose target is no single character at the end of a drag. */
function clickText({ target }) {
  const entry = entryOf(target);
  if (!entry) return;
  anchor = null;
  goTo(entry.n);
}

/** Arrow keys go from character to character; with Shift they select a span. */
function textKeys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !text.length) return;
  const last = first + text.length - 1;
  const from = moment ?? last;
  if (event.key === "Escape") {
    forgetSpans();
    toEnd();
  }
  const ways = {
    ArrowLeft: () => (moment === null ? last : Math.max(first, from - 1)),
    ArrowRight: () => Math.min(last, from + 1),
    ArrowUp: () => lineAway(from, -1),
    ArrowDown: () => lineAway(from, 1),
    Home: () => first,
    End: () => last,
  };
  if (!(event.key in ways)) return;
  event.preventDefault();
  const n = ways[event.key]();
  if (event.shiftKey) {
    if (anchor === null) [kept, anchor] = [spans, from];
    select([Math.min(anchor, n), Math.max(anchor, n)]);
  } else anchor = null;
  goTo(n);
}

/** The character above another, or below it, in the text as it is laid out. */
function lineAway(n, direction) {
  const place = (k) => text[k - first].element;
  const distance = (k) => Math.abs(place(k).offsetLeft - place(n).offsetLeft);
  let k = n;
  while (text[k - first] && place(k).offsetTop === place(n).offsetTop) k += direction;
  if (!text[k - first]) return n;
  let best = k;
  const { offsetTop } = place(k);
  for (; text[k - first] && place(k).offsetTop === offsetTop; k += direction) {
    if (distance(k) < distance(best)) best = k;
  }
  return best;
}

function forgetSpans() {
  [spans, kept, anchor] = [[], [], null];
  showSpans();
  showRanking();
}

// Event handlers.

let units, bars;
const on = (id, event, action) => element(id).addEventListener(event, action);
element("speed").max = SPEEDS.length - 1;
models.forEach(({ description }) => addOption(description));
on("model", "change", () => openModel());
on("prompt", "input", () => begin());
on("open", "click", () => element("file").click());
on("file", "change", ({ target }) => openFile(target.files[0]));
on("link", "click", copyLink);
on("colouring", "change", ({ target }) => setColouring(target.value));
on("write", "click", () => (writing ? stop() : start()));
on("one", "click", oneCharacter);
on("clear", "click", clear);
on("speed", "input", showSettings);
for (const id of ["temperature", "other"]) {
  on(id, "input", () => {
    showSettings();
    showBars();
  });
}
on("both", "click", sampleBoth);
on("text", "pointerdown", ({ target }) => {
  getSelection().removeAllRanges(); // or else the mouse would move the selected text
  [kept, dragged] = [spans, entryOf(target)];
});
on("text", "pointermove", dragText);
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => (dragged = null));
on("text", "click", clickText);
on("text", "keydown", textKeys);
on("from-here", "click", goOnFromHere);
on("to-end", "click", toEnd);
on("unit-number", "input", search);
on("unit-layer", "change", search);
on("pin", "click", () => pin(chosen, pinOf(chosen) ? null : strongestPin(chosen).pin));
on("pin-here", "click", () => pinAt());
on("unpin", "click", () => setPins([]));
for (const name of ["c", "h"]) {
  on(`pin-${name}`, "input", ({ target }) => pinAt({ [name]: Number(target.value) }));
}
on("follow", "change", () => pinAt());
on("feature", "change", showRanking);
on("forget", "click", forgetSpans);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  element("write").click();
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", name === "dragover");
    if (name === "drop") openFile(event.dataTransfer.files[0]);
  });
}
for (const name of ["toggle", "input"]) on("two", name, compare);
addEventListener("hashchange", openLink);
showSettings();
openLink();

// For programs, and for the console of the browser:
//   npchar.characters               the characters, in the order of their ids
//   npchar.reset()                  clear the text and return to the zero state
//   npchar.read("the ")             read a text; returns the characters read: see `encode`
//   npchar.probabilities(0.5)       the distribution of the next character at a temperature
//   npchar.write(20, 0.5)           write 20 characters and return them
//   npchar.write(2, 0.5, [.1, .9])  the same with given random numbers, one per character
//   npchar.states()                 h of each layer, and c of each LSTM layer
//   npchar.surprises()              the surprise of each character of the text, in bits
//   npchar.saliency(30)             the saliency for character 30 (from 0): see saliencyOf
//   npchar.correlations("line")     the correlation of each unit with a feature; the chance level
//   npchar.pin(0, 7, { c: 1, h: 1 })    pin unit 7 of layer 0; if h is null, h follows c
//   npchar.unpin()                  remove all pins
window.npchar = {
  get characters() {
    return characters;
  },
  reset() {
    stop();
    reset();
    toEnd();
  },
  read(string) {
    stop();
    const { ids } = encode(string);
    atOnce(reading(ids));
    showText();
    return ids.map((id) => characters[id]).join("");
  },
  probabilities(temperature = 1) {
    return Array.from(probabilitiesOf(shown().logits, temperature));
  },
  write(n, temperature = 1, draws = null) {
    stop();
    if (!text.length) throw new Error("expected a text to continue; read one with npchar.read");
    if (draws && draws.length < n) throw new Error(`expected ${n} draws, got ${draws.length}`);
    let written = "";
    for (let k = 0; k < n; k++) written += writeOne(temperature, draws ? draws[k] : Math.random());
    showText();
    return written;
  },
  states() {
    const found = ({ h, c }) => (c ? { h: Array.from(h), c: Array.from(c) } : { h: Array.from(h) });
    return shown().values.map(found);
  },
  surprises: () => text.map(({ bits }) => bits),
  saliency: (n) => Array.from(atOnce(saliencyOf(n))),
  correlations(name) {
    const { r, chance } = atOnce(following(name));
    return { r: Array.from(r), chance };
  },
  pin: (layer, unit, at) => pin({ layer, unit }, at),
  unpin: () => setPins([]),
};
