// A guided tour of the page. It moves the focus to the heading of each step for keyboard users.

const steps = Array.from(element("tour").querySelectorAll("[data-at]"));
let station = 0; // the step that is shown

function showTour(to) {
  if (!steps[to]) return;
  station = to;
  const { at, colouring } = steps[to].dataset;
  if (colouring) setColouring(colouring);
  steps.forEach((step, k) => (step.hidden = k !== to));
  element("tour-back").disabled = to === 0;
  element("tour-next").disabled = to === steps.length - 1;
  outline(at);
  if (to === 0) box.scrollTop = 0; // to the prompt
  steps[to].firstElementChild.focus({ preventScroll: true });
}

/** Outline a part of the page, and no other; bring it into sight. Without one, hide the tour. */
function outline(selector) {
  element("tour").hidden = !selector;
  document.documentElement.classList.toggle("touring", Boolean(selector)); // faster than :has(#tour)
  document.querySelector(".toured")?.classList.remove("toured");
  const part = selector && document.querySelector(selector);
  part?.classList.add("toured");
  part?.scrollIntoView({ block: "nearest" });
}

function endTour() {
  outline(null);
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
