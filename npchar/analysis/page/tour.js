// A guided tour of the page, which needs no mouse: the focus goes to the heading of each step.

const TOUR = [
  {
    title: "Read the colours",
    at: ".written",
    text: () =>
      "Bold text is the prompt, the rest was written by the network. The colour shows one " +
      `${words.unit} after each character: red above zero, blue below. ` +
      element("example").textContent,
    act: () => setColouring("unit"),
  },
  {
    title: "Find the surprises",
    at: ".written",
    text: () =>
      "Now a strong colour marks a character that the network did not expect. Each character has a " +
      "probability, and a small one means many bits of surprise. Click a character to see its own.",
    act: () => setColouring("surprise"),
  },
  {
    title: "See what may come next",
    at: ".next",
    text: () =>
      "The bars show the most probable next characters. A low temperature makes the network " +
      "cautious, a high one makes it wild. Move both sliders, then write 80 characters at each.",
  },
  {
    title: "Change the memory",
    at: ".inside",
    text: () =>
      `Pin the ${words.unit} at the opposite of its value, or move the slider. The network goes on ` +
      "as if it remembered something else. The bars then show the change in total.",
    act: () => setColouring("unit"),
  },
  {
    title: "Try your own text",
    at: ".controls",
    text: () =>
      "Type or paste a text, or open a file. Press Write, and the network continues it. Colour it by " +
      "surprise to see where it differs from what the network has learned.",
  },
];
let station = 0; // the step that is shown

function showTour(to) {
  station = Math.max(0, Math.min(TOUR.length - 1, to));
  const { title, at, text, act } = TOUR[station];
  act?.();
  markToured(at);
  element("tour").hidden = false;
  element("tour-title").textContent = `Step ${station + 1} of ${TOUR.length}: ${title}`;
  element("tour-text").textContent = text();
  element("tour-back").disabled = station === 0;
  element("tour-next").disabled = station === TOUR.length - 1;
  element("tour-title").focus({ preventScroll: true });
}

/** Outline a part of the page, and no other; bring it into sight. */
function markToured(selector) {
  document.querySelector(".toured")?.classList.remove("toured");
  if (selector === null) return;
  const part = document.querySelector(selector);
  const shown = part.getClientRects().length ? part : part.firstElementChild; // without a box
  shown.classList.add("toured");
  shown.scrollIntoView({ block: "nearest" });
}

function endTour() {
  element("tour").hidden = true;
  markToured(null);
  element("start-tour").focus();
}

on("start-tour", "click", () => showTour(0));
on("tour-next", "click", () => showTour(station + 1));
on("tour-back", "click", () => showTour(station - 1));
on("tour-end", "click", endTour);
on("tour", "keydown", ({ key }) => {
  if (key === "ArrowRight") showTour(station + 1);
  if (key === "ArrowLeft") showTour(station - 1);
  if (key === "Escape") endTour();
});
