// The controls: each one changes the view, and pictures follow.

const percent = (value) => `${Math.round(100 * value)}%`;

function onInput(id, act) {
  const input = element(id);
  const acted = () => {
    if (input.type === "number" && (input.value === "" || !input.validity.valid)) return;
    act(input.type === "checkbox" ? input.checked : Number(input.value));
  };
  input.addEventListener("input", acted);
}

function shareShown() {
  element("time").value = view.share * view.maxTime;
  element("time-shown").textContent = (view.share * view.maxTime).toFixed(2);
}

function latentsShown() {
  element("latents-name").textContent = view.latents ? view.latents.name : "none";
  element("latents-clear").hidden = !view.latents;
  element("own-motion-row").hidden = !view.latents;
  element("seed").disabled = element("seed-next").disabled = Boolean(view.latents);
  element("motion").disabled = element("motion-next").disabled = Boolean(view.latents) && view.ownMotion;
}

function modelShown(about) { // what the first model can do
  if (view.resolution !== about.resolution) sizesShown(about.resolution);
  view.resolution = about.resolution;
  view.maxTime = about.max_time;
  element("time").max = about.max_time || 1;
  element("time").disabled = about.max_time === 0;
  for (const id of ["second", "second-next", "blend", "blends", "latents-open"]) element(id).disabled = !about.can_blend;
  shareShown();
}

// --- Playing ---------------------------------------------------------------------------------------------------------

let clock = 0; // seconds of playing

function play(isOn) {
  if (isOn === playing) return;
  playing = isOn;
  element("play").textContent = isOn ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", String(isOn));
  if (!isOn) return changed();
  clock = view.share * Number(element("seconds").value);
  let before = performance.now();
  const tick = (now) => {
    if (!playing) return;
    clock += (now - before) / 1000;
    before = now;
    const share = playedShare(clock, Number(element("seconds").value) || 1, element("swing").checked);
    if (share !== view.share) {
      view.share = share;
      shareShown();
      for (const panel of panels) {
        panel.isDirty = true;
        panel.pump();
      }
    }
    requestAnimationFrame(tick);
  };
  return requestAnimationFrame(tick);
}

// The share of the clip that is shown after so many seconds, in steps, of which the server keeps what it computed.
const STEPS_A_SECOND = 24;

function playedShare(seconds, duration, isSwinging) {
  const steps = Math.max(2, Math.round(duration * STEPS_A_SECOND));
  const rounds = seconds / duration;
  const whole = Math.floor(rounds);
  const part = isSwinging && whole % 2 === 1 ? 1 - (rounds - whole) : rounds - whole;
  return Math.round(part * (steps - 1)) / (steps - 1);
}

// --- Wiring ----------------------------------------------------------------------------------------------------------

function wireControls() {
  const sets = (id, name) => onInput(id, (value) => { view[name] = value; changed(); });
  const draws = (id, input) => element(id).addEventListener("click", () => {
    element(input).value = Math.floor(Math.random() * 100000);
    element(input).dispatchEvent(new Event("input"));
  });
  sets("seed", "seed");
  sets("second", "second");
  sets("motion", "motion");
  draws("seed-next", "seed");
  draws("second-next", "second");
  draws("motion-next", "motion");
  onInput("blend", (value) => { view.blend = value; element("blend-shown").textContent = percent(value); changed(); });
  onInput("truncation", (value) => {
    view.truncation = value;
    element("truncation-shown").textContent = value.toFixed(2);
    changed();
  });
  onInput("own-motion", (value) => { view.ownMotion = value; latentsShown(); changed(); });
  onInput("time", (value) => {
    play(false);
    view.share = view.maxTime ? value / view.maxTime : value;
    shareShown();
    changed();
  });
  element("play").addEventListener("click", () => play(!playing));
  element("layers").addEventListener("change", (event) => {
    const chosen = [...element("layers").querySelectorAll("input:checked")].map((input) => input.value);
    if (chosen.length === 0) {
      event.target.checked = true; // one of them is always shown
      return;
    }
    view.layers = chosen;
    arrange();
    changed();
  });
  element("front").addEventListener("click", front);
  element("key").addEventListener("click", () => setPath([...path, view.camera].slice(0, MOST_KEYS)));
  element("record").addEventListener("click", () => record(recorder === 0));
  element("follow").addEventListener("click", () => follow(!view.followed));
  element("path-clear").addEventListener("click", () => setPath([]));
  element("path-save").addEventListener("click", savePath);
  opens("path-open", "path-file", openPath);
  opens("latents-open", "latents-file", openLatents);
  element("latents-clear").addEventListener("click", () => {
    view.latents = null;
    say("latents", "");
    latentsShown();
    changed();
  });
  element("controls").addEventListener("submit", (event) => event.preventDefault());
}

function opens(button, input, open) {
  element(button).addEventListener("click", () => element(input).click());
  element(input).addEventListener("change", async () => {
    const [file] = element(input).files;
    if (file) await open(file);
    element(input).value = ""; // so that the same file can be opened again
  });
}
