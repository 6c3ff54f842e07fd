// The start, and a look now and then at whether models have changed.

const LOOK = 1000; // ms

async function look() {
  const response = await guarded("server", () => ask("/api/state"));
  if (!response) return;
  const state = await response.json();
  exportNoticed(state.export);
  const isNew = panels.length === 0;
  state.panels.forEach((about, number) => {
    if (number === panels.length) panels.push(new Panel(number));
  });
  state.panels.forEach((about, number) => {
    modelChanged(panels[number], about);
  });
  if (isNew) {
    const names = state.panels.map((about, number) => new Option(`${number + 1}: ${about.name}`, number));
    element("export-panel").append(...names);
    element("export-panel-row").hidden = panels.length < 2;
    arrange();
  }
}

function modelChanged(panel, about) {
  panel.become(about);
  const problem = panels.length === 1 ? about.problem : ""; // of several, each has its own below it
  const waits = about.status === "loading" && !about.problem;
  say(`model ${panel.number}`, problem || (waits ? "Loading the model …" : ""), Boolean(problem));
  if (about.version === panel.version) return;
  panel.version = about.version;
  panel.isFinal = false;
  if (about.version === 0) return;
  if (panel.number === 0) modelShown(about);
  changed();
}

async function start() {
  wireControls();
  wireSaving();
  latentsShown();
  new ResizeObserver(arrange).observe(element("stage"));
  addEventListener("resize", arrange);
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((wake) => setTimeout(wake, panels.some((panel) => panel.version > 0) ? LOOK : LOOK / 5));
  }
}

start();
