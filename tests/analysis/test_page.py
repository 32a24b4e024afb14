"""The page in a real browser: it computes the same numbers as Python, and its interface works.

Chromium opens a page in a frame of a phone's width. A script at the end of the page acts as a
program and as a user, and sends the results as JSON. It waits for events on the page, never for
a fixed time.
"""

import base64
import json
import re
import shutil
import socketserver
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from types import SimpleNamespace

import numpy as np
import pytest
from children import LIMIT, start
from conftest import randomised

import npchar
from npchar.analysis.page import PageModel, page
from npchar.cli import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--no-proxy-server",
    # A browser rarely draws a frame outside the window, so the window holds all frames.
    *("--window-size=2000,1000", "--disable-background-timer-throttling"),
    *("--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"),
)
# Folders in which programs write. TMPDIR is set too, to a relative path, because the path of a
# socket must be short.
PLACES = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
PHONE = 360  # pixels

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = LETTERS + " \n.,;:!?'\"()-_0123456789=[]<&*/"
# Characters that are special in HTML, JavaScript and UTF-16, and more than a byte can count.
ODD = "ab \n\t<>&'\"`\\/$%{}-é\u0301\u00a0\u2028\u200b😀👍\ud800\udbff\udc00"
MANY = "".join(chr(0x4E00 + k) for k in range(260))

PROSE = "the will (to power), and\nthe rest <of it & more: a 'word' or \"two\" (of 12)\n[a]."
TEXTS = {
    **dict.fromkeys(("one", "gru two", "rnn", "conv"), PROSE),
    "two": 'a<b&b>a\n\'"\\`😀👍 é\u0301\u2028\ud800\udc00{}$/\t一丁 ab "a b" \nba ',
}
TEMPERATURE = 0.8
DRAWS = np.random.default_rng(3).random(200).tolist()
PROMPT = "</script><!-- {{ weights }} \u2028"  # must be harmless

SCRIPT = """
const found = { errors: [] };
addEventListener("error", (event) => found.errors.push(event.message));
const { text, draws, temperature } = INPUT;
const at = (id) => document.getElementById(id);
const letters = () => Array.from(at("text").querySelectorAll("span"));
const shown = () => letters().map((span) => span.textContent);
const change = (id, value) => {
  at(id).value = value;
  at(id).dispatchEvent(new Event("input"));
};
// Goes on right after the change to the page that makes it true; a mistake ends the waiting.
const until = (condition) => new Promise((done, fail) => {
  addEventListener("error", ({ message }) => fail(new Error(message)));
  new MutationObserver((_, observer) => condition() && (observer.disconnect(), done()))
    .observe(document.body, { childList: true, subtree: true, attributes: true });
  if (condition()) done();
});
const pictures = async (n) => {
  for (let k = 0; k < n; k++) await new Promise(requestAnimationFrame);
};
// The longest time, in milliseconds, for which the page could not react during some work.
const longestPause = async (work) => {
  let [last, longest, working] = [performance.now(), 0, true];
  const tick = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (working) setTimeout(tick);
  };
  tick();
  await work();
  working = false;
  return longest;
};
const row = (n) => {
  const [glyph, bar, number] = at("bars").children[n].children;
  return [glyph.ariaLabel, bar.firstChild.style.width, number.textContent];
};
const press = (target, key, more = {}) =>
  target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, ...more }));
const probabilitiesAfter = (string) => {
  npchar.reset();
  npchar.read(string);
  return npchar.probabilities();
};
const spans = () => Array.from(at("text").querySelectorAll(".span"), (span) => span.textContent);

// A character that is clicked, a span that is selected, a unit that is held.
async function goBack() {
  letters()[30].click();
  await until(() => document.querySelectorAll(".salient").length === 30);
  found.back = {
    probabilities: npchar.probabilities(),
    states: npchar.states(),
    titles: Array.from(at("text").querySelectorAll(".salient"), (span) => span.title),
  };
  const [clicked, panel] = [letters()[30], at("moment")].map((e) => e.getBoundingClientRect());
  found.back.inSight = clicked.bottom <= panel.top;
  change("unit-number", 3);
  found.back.equations = Array.from(at("equations").children, (line) => line.textContent);
  found.back.diagram = Object.fromEntries(Array.from(
    at("diagram").querySelectorAll("[data-value]"), (e) => [e.dataset.value, e.textContent]));
  at("from-here").click();
  found.back.left = shown().length;
  found.back.on = npchar.probabilities();

  npchar.pin(0, 3, { c: 1.5, h: -0.5 });
  npchar.pin(0, 5, { c: -1.5, h: 0.75 });
  found.pinned = { now: npchar.probabilities() };
  npchar.read("a");
  found.pinned.then = npchar.probabilities();
  found.pinned.states = npchar.states();
  at("follow").click(); // h of unit 3, which is chosen, follows c now
  found.pinned.follow = npchar.states()[0];
  at("unpin").click();
  found.unpinned = npchar.probabilities();

  npchar.reset();
  npchar.read(text);
  for (const from of [5, 18, 31]) {
    found.early = at("ranking").children.length;
    letters()[from].click();
    for (let k = 0; k < 3; k++) press(at("text"), "ArrowRight", { shiftKey: true });
  }
  await until(() => at("ranking").children.length);
  found.span = { text: spans(), ...npchar.correlations("spans") };
  const read = () => Array.from(at("ranking").children, ({ children }) =>
    [children[0].textContent, children[2].textContent]);
  found.span.ranking = read();
  at("forget").click();
  found.span.none = spans();
  document.querySelector('.units button[aria-pressed="true"]')?.click();
}

async function laboratory() {
  const reads = async (string) => {
    change("prompt", string);
    const sooner = shown().length;
    await until(() => at("progress").hidden && shown().length >= string.length);
    return { sooner, length: shown().length, ready: !at("write").disabled };
  };
  found.long = await reads("the rest ".repeat(700));
  if (INPUT.thorough) found.pause = await longestPause(async () => {
    at("write").click();
    await until(() => shown().length < 6100); // the earliest characters are dropped
    at("write").click();
  });
  await reads("the rest");
  at("start-tour").click();
  found.tour = [1, 2, 3, 4, 5].map(() => {
    const { tagName, textContent } = document.activeElement;
    press(document.activeElement, "ArrowRight");
    return [tagName, textContent];
  });
  press(document.activeElement, "Escape");
  found.tourEnds = [at("tour").hidden, document.activeElement.id];
  at("one").click();
  change("unit-number", 3);
  npchar.pin(0, 3, { c: 1.5, h: -0.5 });
  const state = () => JSON.stringify([shown(), at("prompt").value, npchar.states()]);
  found.linked = [state()];
  at("link").click();
  await pictures(2);
  at("unpin").click();
  await reads("another text");
  dispatchEvent(new Event("hashchange"));
  await until(() => shown().length === 9 && at("unit-number").value === "3");
  found.linked.push(state());
  history.replaceState(null, "", location.hash.replace(/unit=[^&]*/, "unit=9"));
  dispatchEvent(new Event("hashchange"));
  await until(() => at("said").textContent === "The page could not read all of the link.");
  const dataTransfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(INPUT.file), (c) => c.charCodeAt(0));
  dataTransfer.items.add(new File([bytes], "own.NPZ"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
  await until(() => at("model").selectedOptions[0].text === "own.NPZ");
  found.dropped = probabilitiesAfter("the rest");
}

async function examine() {
  // As a program
  found.prompt = at("prompt").value;
  found.characters = npchar.characters;
  found.empty = probabilitiesAfter("");
  found.read = [];
  found.probabilities = text.map((character) => {
    found.read.push(npchar.read(character));
    return npchar.probabilities();
  });
  found.softened = [0, 1e-300, 0.3, 1.7, Infinity].map((T) => npchar.probabilities(T));
  found.states = npchar.states();
  found.saliency = [1, 30, text.length - 1].map((n) => npchar.saliency(n));
  found.drawn = npchar.write(draws.length, temperature, draws);
  found.late = npchar.saliency(text.length + draws.length - 1);
  found.correlations = ["line", "word", "quotes"].map((name) => npchar.correlations(name));
  found.bits = npchar.surprises();
  await goBack();
  npchar.reset();
  npchar.read(text);
  found.greedy = npchar.write(60, 0);

  // As a person
  found.width = innerWidth;
  found.fits = document.documentElement.scrollWidth <= innerWidth;
  at("clear").click();
  change("prompt", "");
  at("write").click();
  found.nothing = { text: shown(), status: at("status").textContent };
  change("prompt", "b");
  change("prompt", "bA€\\u{1F600}\\u{1F680}");
  found.understood = { text: shown(), note: at("note").textContent };
  change("prompt", "ba");
  found.known = { text: shown(), note: at("note").textContent };
  at("one").click();
  found.one = shown();
  at("clear").click();
  found.cleared = shown();
  change("speed", 7);
  press(document.body, "Enter", { ctrlKey: true });
  found.writing = at("write").textContent;
  await until(() => shown().length > 100);
  press(at("temperature"), "Enter", { ctrlKey: true });
  found.written = shown();
  found.stopped = at("write").textContent;
  await pictures(5);
  found.later = shown();
  change("temperature", 1);
  found.predicted = { p: npchar.probabilities(1), rows: [0, 1, 2, 3, 4, 5].map(row) };
  change("temperature", 0);
  found.certain = row(0);

  const layers = Array.from(document.querySelectorAll(".units"), ({ children }) => children);
  const grid = layers.at(-1);
  grid[2].click();
  found.coloured = {
    backgrounds: letters().map((span) => span.style.backgroundColor),
    square: grid[2].style.backgroundColor,
    state: npchar.states().at(-1),
  };
  change("temperature", 1);
  found.first = { before: npchar.probabilities() };
  at("pin").click();
  found.first.after = npchar.probabilities();
  found.first.percent = parseFloat(at("change").textContent);
  found.first.follows = at("follow").checked;
  at("unpin").click();
  found.grids = layers.map((buttons) => buttons.length);
  found.models = Array.from(at("model").options, (option) => option.textContent);
  if (found.models.length > 1) {
    at("model").selectedIndex = 1;
    at("model").dispatchEvent(new Event("change"));
    found.second = probabilitiesAfter("the rest");
  }
  await laboratory();
  found.loaded = performance.getEntriesByType("resource").map(({ name }) => name);
}

examine()
  .catch((error) => found.errors.push(error.stack))
  .then(() => parent.postMessage(JSON.stringify(found), "*"));
"""

STAGE = f"""<!doctype html>
<iframe src="page.html" style="width: {PHONE}px; height: 700px; border: 0"></iframe>
<script>
addEventListener("message", ({{ data }}) => fetch("found", {{ method: "POST", body: data }}));
</script>
"""


class Handler(SimpleHTTPRequestHandler):
    timeout = LIMIT  # no thread waits longer for a silent browser

    def do_POST(self):
        answer = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.answer = answer
        self.server.answered.set()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    """Serves the files of a folder to the browser, and receives the results.

    Unlike http.server's own server, it looks up no host name, and waits for its threads at the end.
    """

    def __init__(self, address, folder):
        super().__init__((address, 0), partial(Handler, directory=folder))
        self.answered = threading.Event()


@contextmanager
def serving(address, folder):
    with Server(address, folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(browser, folder, url):
    """A browser that writes only into a folder and leaves no process running."""
    with open(folder / "log", "wb") as log:
        process = start(
            *(browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", url),
            env=dict.fromkeys(PLACES, str(folder)) | {"TMPDIR": "."},
            **{"cwd": folder, "stdout": log, "stderr": log},
        )
    try:
        yield process
    finally:
        process.end()
        process.wait(LIMIT)


def wait(server, process):
    """Whether the answer came before the browser ended and within the time limit."""
    limit = time.monotonic() + LIMIT
    while not server.answered.wait(0.1):
        if process.poll() is not None or time.monotonic() > limit:
            return server.answered.is_set()
    return True


def models():
    one = npchar.Model(npchar.Vocabulary(PLAIN), hidden_size=128)
    randomised(one.network, seed=1, scale=0.2)
    one.parameters["dense.W"] *= 5  # some characters become much more probable
    vocabulary = npchar.Vocabulary(ODD + MANY)
    two = npchar.Model(vocabulary, hidden_size=17, num_layers=2, dtype="float64")
    randomised(two.network, seed=2, scale=0.5)
    # Rounded to float32 as on the page, so that both networks have the same weights.
    two.parameters.flat[:] = two.parameters.flat.astype("float32")
    models = {"one": one, "two": two}
    kinds = ("gru two", "gru", 2), ("rnn", "rnn", 2), ("conv", "conv", 4)
    for name, layer, layers in kinds:
        models[name] = npchar.Model(
            npchar.Vocabulary(PLAIN), layer=layer, hidden_size=20, num_layers=layers
        )
        randomised(models[name].network, seed=3, scale=0.2)
        models[name].parameters["dense.W"] *= 5
    half = models["gru two"].parameters.flat  # the page stores them in 16 bits
    half[:40] *= 1e-5  # some of them are subnormal
    half[:] = half.astype("float16")
    return models


MODELS = models()


def page_of(name):
    """The page of a model; one of the pages has a second model."""
    names = [name, "gru two"] if name == "two" else [name]
    return page([
        PageModel(n, MODELS[n].network, MODELS[n].vocabulary, PROMPT if n == "two" else None)
        for n in names
    ])  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] if n != "two" else []) for n in MODELS],
)
def case(request, loopback, tmp_path_factory):
    """A model, the text that its page read, and the results of the script."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"there is no browser to open the page in: {', '.join(BROWSERS)}")
    folder, home = (tmp_path_factory.mktemp(name) for name in ("page", "browser"))
    MODELS["conv"].save(folder / "own.npz", dtype="float64")
    file = base64.b64encode((folder / "own.npz").read_bytes()).decode()
    given = {"text": list(TEXTS[request.param]), "file": file}
    # Writing after a long text takes a minute on a busy machine, so only slow cases do it.
    given |= {"draws": DRAWS, "temperature": TEMPERATURE, "thorough": request.param != "two"}
    script = SCRIPT.replace("INPUT", json.dumps(given).replace("<", r"\u003c"))
    driven = page_of(request.param).replace(
        "</body>", f'<script type="module">{script}</script>\n</body>'
    )
    (folder / "page.html").write_text(driven, encoding="utf-8")
    (folder / "stage.html").write_text(STAGE, encoding="utf-8")
    with serving(loopback, folder) as server:
        host, port = server.server_address
        with browsing(browser, home, f"http://{host}:{port}/stage.html") as process:
            answered = wait(server, process)
            ended = process.poll()
    log = (home / "log").read_text(encoding="utf-8", errors="replace")
    assert answered, f"no answer; the browser's exit status: {ended}; it said:\n{log[-2000:]}"
    return MODELS[request.param], TEXTS[request.param], json.loads(server.answer)


def softmax(logits):
    z = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return z / z.sum(axis=-1, keepdims=True)


def units(text):
    """A text as browsers represent it, in which two adjacent lone surrogates form a pair."""
    return text.encode("utf-16-le", "surrogatepass")


def test_the_characters_arrive(case):
    model, text, found = case
    assert found["errors"] == []
    assert found["characters"] == list(model.vocabulary)
    assert found["read"] == list(text)


def test_the_probabilities_are_pythons(case):
    model, text, found = case
    ids = model.vocabulary.encode(text)[:, None]
    ours = np.array(found["probabilities"])
    exact, _ = model.network.astype("float64").logits(ids)
    np.testing.assert_allclose(ours, softmax(exact[:, 0]), rtol=0, atol=1e-12)
    usual, _ = model.network.astype("float32").logits(ids)
    np.testing.assert_allclose(ours, softmax(usual[:, 0]), rtol=0, atol=1e-5)
    assert ours.max(axis=1).mean() > 3 / len(model.vocabulary)  # some probabilities are large
    surprise = -np.log2(ours[np.arange(len(text) - 1), ids[1:, 0]])
    assert found["bits"][1 : len(text)] == pytest.approx(surprise, abs=1e-9)
    assert len(found["states"]) == model.network.config.num_layers
    seen = npchar.Activations.of(model.network.astype("float64"), text, ids[:, 0])
    for layer, theirs in enumerate(found["states"]):
        assert set(theirs) == set("hc") & set(seen.values)  # h, and c in an LSTM
        for name, values in theirs.items():
            np.testing.assert_allclose(values, seen.values[name][-1, layer], rtol=0, atol=1e-12)


def test_long_texts_the_tour_links_and_files(case):
    _, _, found = case
    assert found["long"]["sooner"] < found["long"]["length"] == 6300  # it is read in slices
    assert found["long"]["ready"]
    assert {id for id, _ in found["tour"]} == {"H2"}  # reached by keys
    assert len({title for _, title in found["tour"]}) == 5
    assert found["tourEnds"] == [True, "start-tour"]
    before, after = found["linked"]
    assert before == after
    network = MODELS["conv"].network.astype("float64")
    p, _ = softmaxed(network, MODELS["conv"].vocabulary.encode("the rest"))
    np.testing.assert_allclose(found["dropped"], p, rtol=0, atol=1e-12)


def test_temperature_is_the_librarys(case):
    _, _, found = case
    p = found["probabilities"][-1]
    for temperature, softened in zip([0, 1e-300, 0.3, 1.7, np.inf], found["softened"]):
        expected = npchar.reweight_distribution(p, temperature)
        np.testing.assert_allclose(softened, expected, rtol=0, atol=1e-12)


def softmaxed(network, ids, states=None, held=()):
    """The distribution after the ids, with units of layer 0 held at (unit, c, h)."""
    states = network.zero_states(1) if states is None else states
    for x in ids:
        x = np.array([x])
        for k, layer in enumerate(network.layers):
            x, states[k] = layer.step(x, states[k])
            for unit, c, h in held if k == 0 else ():
                x[0, unit] = h
                if hasattr(states[k], "h"):
                    states[k].h[0, unit] = h
                if hasattr(states[k], "c"):
                    states[k].c[0, unit] = c
    return softmax(network.dense.forward(x)[0]), states


def test_saliency_is_pythons(case):
    model, text, found = case
    exact = npchar.Model(model.vocabulary, hidden_size=1)
    exact.network = model.network.astype("float64")
    for n, theirs in zip((1, 30, len(text) - 1), found["saliency"]):
        expected = exact.saliency(text[: n + 1])
        np.testing.assert_allclose(theirs, expected, rtol=1e-9, atol=1e-13)
    whole = text + found["drawn"]
    if len(whole) == len(text) + len(DRAWS):  # no lone surrogates that a browser joins
        expected = exact.saliency(whole)[-100:]
        assert expected.max() > 1e-3
        np.testing.assert_allclose(found["late"], expected, rtol=1e-9, atol=1e-13)


def features(text):
    """The page's features line, word and quotes, computed independently."""
    line = [len(text[: k + 1].rpartition("\n")[2]) for k in range(len(text))]
    word = []
    for character in text:
        word.append((word[-1] if word else 0) + 1 if character.isalpha() else 0)
    quotes = [text[: k + 1].count('"') % 2 for k in range(len(text))]
    return np.array([line, word, quotes], float)


def correlations(seen, feature):
    """The correlation of every unit, in the order of layers and units."""
    T, layers, H = seen.h.shape
    found = np.empty(layers * H)
    for layer, unit, r in seen.find(feature, layers * H):
        found[layer * H + unit] = r
    return found


def part(seen, places):
    values = {name: array[places] for name, array in seen.values.items()}
    return npchar.Activations("".join(np.array(list(seen.text))[places]), values)


def chance_level(seen, feature, places):
    T = len(seen.text)
    moves = [int((k + 1) * T / 101 + 0.5) for k in range(100)]
    best = [part(seen, (places + m) % T).find(feature, 1)[0].correlation for m in moves]
    return sorted(map(abs, best))[94]  # 5 values are larger


def test_correlations_are_pythons(case):
    model, text, found = case
    whole = text + model.vocabulary.decode(model.vocabulary.encode(found["drawn"], "skip"))
    if len(whole) < len(text) + len(DRAWS):
        return  # a browser joins lone surrogates
    network = model.network.astype("float64")
    seen = npchar.Activations.of(network, whole, model.vocabulary.encode(whole))
    for feature, theirs in zip(features(whole), found["correlations"]):
        np.testing.assert_allclose(theirs["r"], correlations(seen, feature), rtol=0, atol=1e-9)
        level = chance_level(seen, feature, np.arange(len(whole)))
        assert theirs["chance"] == pytest.approx(level, abs=1e-9)
        assert 0.1 < theirs["chance"] < 1


def test_a_span_ranks_the_units(case):
    model, text, found = case
    network = model.network.astype("float64")
    seen = npchar.Activations.of(network, text, model.vocabulary.encode(text))
    span = found["span"]
    inside = np.isin(np.arange(len(text)), [k + n for k in (5, 18, 31) for n in range(4)])
    assert units("".join(span["text"])) == units("".join(np.array(list(text))[inside]))
    assert found["early"] == 0  # too few spans for a ranking
    places = np.arange(min(45, len(text)))  # with ten characters on each side
    feature = inside[places]
    near = part(seen, places)
    best = near.find(feature, 8)
    name = "Cell" if "c" in seen.values else "Unit"
    several = model.network.config.num_layers > 1
    expected = [
        [f"{name} {unit}" + f" of layer {layer}" * several, f"r = {r:+.3f}".replace("-", "−")]
        for layer, unit, r in best
    ]
    assert span["ranking"] == expected
    np.testing.assert_allclose(span["r"], correlations(near, feature), rtol=0, atol=1e-9)
    assert span["chance"] == pytest.approx(chance_level(seen, feature, places), abs=1e-9)
    assert span["none"] == []


def test_a_character_that_is_clicked_comes_back(case):
    model, text, found = case
    network = model.network.astype("float64")
    back, n = found["back"], 30
    ids = model.vocabulary.encode(text)
    p, _ = softmaxed(network, ids[: n + 1])
    np.testing.assert_allclose(back["probabilities"], p, rtol=0, atol=1e-12)
    seen = npchar.Activations.of(network, text, ids)
    assert [float(title.split()[1]) for title in back["titles"]] == pytest.approx(
        found["saliency"][1], abs=6e-5
    )
    assert back["left"] == n + 1
    assert back["inSight"]
    assert back["on"] == back["probabilities"]
    values = {name: array[n, 0, 3] for name, array in seen.values.items()}
    numbers = re.findall(r"[+-]?\d\.\d{3}", re.sub("−", "-", "; ".join(back["equations"])))
    assert float(numbers[-1]) == pytest.approx(values["h"], abs=6e-4)
    if "c" in values:  # the diagram shows an LSTM's cell
        shown = {name: v.replace("−", "-") for name, v in back["diagram"].items()}
        for name, value in values.items():
            assert float(shown[name]) == pytest.approx(value, abs=6e-4)


def test_pinned_units_are_held(case):
    model, text, found = case
    network = model.network.astype("float64")
    held = [(3, 1.5, -0.5), (5, -1.5, 0.75)]
    ids = model.vocabulary.encode(text)[:31]
    plain, _ = softmaxed(network, ids)
    _, states = softmaxed(network, ids[:-1])
    now, states = softmaxed(network, ids[-1:], states, held)
    np.testing.assert_allclose(found["pinned"]["now"], now, rtol=0, atol=1e-12)
    assert np.abs(now - plain).max() > 1e-3
    a = model.vocabulary.encode("a")
    if "lstm" in model.network.config.layer:  # h = o tanh(c), with the gate of this step
        o = network.plain().layers[0].forward(a[:, None], states[0]).values["o"][0, 0, 3]
        assert found["pinned"]["follow"]["h"][3] == pytest.approx(o * np.tanh(1.5), abs=1e-12)
        assert found["pinned"]["follow"]["c"][3] == 1.5
    free, _ = softmaxed(network, a, list(states))
    then, states = softmaxed(network, a, states, held)
    np.testing.assert_allclose(found["pinned"]["then"], then, rtol=0, atol=1e-12)
    assert [found["pinned"]["states"][0]["h"][k] for k in (3, 5)] == [-0.5, 0.75]
    np.testing.assert_allclose(found["unpinned"], free, rtol=0, atol=1e-12)


def test_the_first_pin_changes_the_next_character(case):
    model, _, found = case
    first = found["first"]
    change = np.abs(np.subtract(first["after"], first["before"])).sum() / 2
    assert change > 0.001
    assert first["percent"] == pytest.approx(100 * change, abs=0.06)
    assert first["follows"] == ("lstm" in model.network.config.layer)


@pytest.mark.slow  # a busy machine needs longer
def test_writing_after_a_long_text_does_not_block_the_page(case):
    """The limit is 200 ms. The factor of 4 is for slow machines."""
    _, _, found = case
    assert found.get("pause", 0) < 800  # "two" does not measure it


def test_a_second_model_to_choose(case):
    _, _, found = case
    if len(found["models"]) > 1:
        assert found["models"] == ["two", "gru two"]
        network = MODELS["gru two"].network.astype("float64")
        p, _ = softmaxed(network, MODELS["gru two"].vocabulary.encode("the rest"))
        np.testing.assert_allclose(found["second"], p, rtol=0, atol=1e-12)


def test_an_empty_memory(case):
    model, _, found = case
    bias = np.asarray(model.parameters["dense.b"], np.float64)
    np.testing.assert_allclose(found["empty"], softmax(bias), rtol=0, atol=1e-12)


def test_the_same_chance_writes_the_same_text(case):
    model, text, found = case
    network = model.network.astype("float64")
    logits, states = network.logits(model.vocabulary.encode(text)[:, None])
    ids = []
    for u in DRAWS:
        chance = SimpleNamespace(random=lambda u=u: u)
        ids.append(npchar.sample(softmax(logits[-1, 0]), TEMPERATURE, rng=chance))
        logits, states = network.logits(np.array([[ids[-1]]]), states)
    expected = model.vocabulary.decode(ids)
    assert units(found["drawn"]) == units(expected)
    assert len(set(expected)) > 10


def test_no_temperature_is_the_most_probable(case):
    model, text, found = case
    assert units(found["greedy"]) == units(model.generate(text, 60, temperature=0))


def test_the_prompt(case):
    model, _, found = case
    emoji = "😀" in model.vocabulary
    assert found["prompt"] == (PROMPT if emoji else "the ")
    assert found["nothing"]["text"] == []
    assert found["nothing"]["status"]
    # An upper-case letter is read as lower case; unknown characters are listed.
    assert found["understood"]["text"] == ["b", "a"] + ["😀"] * emoji
    left_out = found["understood"]["note"].rpartition(": ")[2].split()
    assert left_out == ["€", "🚀"] if emoji else ["€", "😀", "🚀"]
    assert found["known"] == {"text": ["b", "a"], "note": ""}


def test_the_buttons(case):
    _, _, found = case
    assert len(found["one"]) == 3
    assert found["one"][:2] == found["cleared"] == ["b", "a"]
    assert (found["writing"], found["stopped"]) == ("Stop", "Write")
    # The text is stopped by the frame that exceeds 100; one frame adds at most 0.2 s at 200 per s.
    assert 100 < len(found["written"]) <= 141
    assert found["later"] == found["written"]


def test_the_bars(case):
    model, _, found = case
    p, rows = found["predicted"]["p"], found["predicted"]["rows"]
    best = sorted(range(len(p)), key=lambda id: (-p[id], id))[: len(rows)]
    names = {" ": "space", "\n": "line break", "\t": "tab"}
    names |= {c: f"U+{ord(c):04X}" for c in "\u00a0\u2028\u200b\ud800\udbff\udc00"}
    for (name, width, number), id in zip(rows, best):
        character = model.vocabulary.characters[id]
        assert (name, number) == (names.get(character, character), f"{100 * p[id]:.1f} %")
        assert float(width.rstrip("%")) / 100 == pytest.approx(p[id], abs=1e-4)
    assert found["certain"][:2] == [rows[0][0], "100%"]


def test_the_units(case):
    model, _, found = case
    _, H, layers, _, layer, _ = model.network.config
    assert found["grids"] == [H] * layers
    coloured = found["coloured"]
    assert len(coloured["backgrounds"]) == len(found["written"])
    assert len(set(coloured["backgrounds"])) > 50
    assert coloured["backgrounds"][-1] == coloured["square"]
    state = coloured["state"]
    value = state["h"][2] if layer in ("gru", "rnn") else np.tanh(state.get("c", state["h"])[2])
    sign, strength = re.fullmatch(r"rgb\(var\(--(\w+)\) / ([\d.]+)\)", coloured["square"]).groups()
    assert sign == ("negative" if value < 0 else "positive")
    assert float(strength) == pytest.approx(abs(value), abs=6e-4)


def test_a_phones_width(case):
    _, _, found = case
    assert found["width"] == PHONE
    assert found["fits"]
    assert found["loaded"] == []  # nothing from other sites


@pytest.mark.parametrize("name", MODELS)
def test_what_a_page_holds(name):
    """A page stores weights of 16 bits in 16 bits, and loads nothing from other sites."""
    text, model = page_of(name), MODELS[name]
    assert not re.search(r"https?://|\bsrc=|<link|@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    bits = 16 if name == "gru two" else 32
    assert f'"bits": {bits}' in text
    weights = re.search(r'class="weights">(.*?)</script>', text, re.DOTALL)[1]  # the first model
    assert len(base64.b64decode(weights)) == model.parameters.flat.size * bits // 8


def test_a_large_weight_has_no_16_bits():
    model = npchar.Model(npchar.Vocabulary("ab"), hidden_size=2)
    model.parameters.flat[:] = 2**17  # a power of two above the range of 16 bits
    assert '"bits": 32' in page([PageModel("", model.network, model.vocabulary)])


def test_the_stand_in_for_rare_characters_is_never_drawn():
    model = npchar.Model(npchar.Vocabulary.from_text("aaabbbc", min_count=2), hidden_size=2)
    before = model.parameters.flat.copy()
    text = page([PageModel("", model.network, model.vocabulary)])
    weights = re.search(r'class="weights">(.*?)</script>', text, re.DOTALL)[1]
    found = np.frombuffer(base64.b64decode(weights), "<f4")
    assert found[-1] == -30_000  # the bias of the unknown symbol
    np.testing.assert_array_equal(found[:-1], before[:-1])
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_tokens_are_refused(tmp_path):
    model = npchar.Model(npchar.Vocabulary(["do", 1]), hidden_size=2)
    with pytest.raises(ValueError, match="a model of characters .* of tokens"):
        model.to_html(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_model_writes_its_page(model, tmp_path):
    path = tmp_path / "page.html"
    model.to_html(path, prompt="the rat")
    written = path.read_text(encoding="utf-8")
    assert written == page([PageModel("this model", model.network, model.vocabulary, "the rat")])


def test_the_command_writes_both_models_that_come_along(tmp_path):
    path = tmp_path / "page.html"
    assert main(["page", str(path)]) == 0
    assert re.findall(r'"name": "(.*?)"', path.read_text("utf-8")) == ["structure", "nietzsche"]
    assert path.stat().st_size < 1_500_000
