// Cameras: dragging, zooming, keys of the keyboard, and paths of cameras.

const DRAG_DEGREES = 90; // for the way from one side of a picture to the other
const KEY_DEGREES = 3;
const MOST_PITCH = 60;
const ZOOMS = [0.5, 6];
const WHEEL = 0.0015;
const RECORD_FPS = 25;
const MOST_KEYS = 3000;
const WAY = 240; // cameras along a path of few keys

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function turn(yaw, pitch) {
  leavePath();
  const around = ((view.camera.yaw + yaw + 540) % 360) - 180;
  view.camera = { ...view.camera, yaw: around, pitch: clamp(view.camera.pitch + pitch, -MOST_PITCH, MOST_PITCH) };
  changed();
}

function zoom(factor) {
  leavePath();
  view.camera = { ...view.camera, zoom: clamp(view.camera.zoom * factor, ...ZOOMS) };
  changed();
}

function front() {
  leavePath();
  view.camera = { yaw: 0, pitch: 0, zoom: 1 };
  changed();
}

// A drag moves what is under the pointer with it, so the camera goes the other way.
function turnable(canvas) {
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, now);
    if (other) {
      const far = ([x, y]) => Math.hypot(x - other[1][0], y - other[1][1]);
      if (far(before) > 0) zoom(far(now) / far(before));
      return;
    }
    const degrees = DRAG_DEGREES / canvas.clientWidth;
    turn(-(now[0] - before[0]) * degrees, -(now[1] - before[1]) * degrees);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * WHEEL));
  }, { passive: false });
  canvas.addEventListener("dblclick", front);
  canvas.addEventListener("keydown", pressed);
}

const KEYS = {
  ArrowLeft: () => turn(-KEY_DEGREES, 0),
  ArrowRight: () => turn(KEY_DEGREES, 0),
  ArrowUp: () => turn(0, -KEY_DEGREES),
  ArrowDown: () => turn(0, KEY_DEGREES),
  "+": () => zoom(1.1),
  "=": () => zoom(1.1),
  "-": () => zoom(1 / 1.1),
  Home: front,
  " ": () => play(!playing),
};

function pressed(event) {
  if (!KEYS[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  KEYS[event.key]();
}

function cameraShown(about) {
  const { yaw, pitch, zoom: near } = about.angles;
  const degrees = (angle) => `${(Math.round(angle) || 0).toString().replace("-", "−")}°`; // never −0
  element("camera-shown").textContent = `Yaw ${degrees(yaw)}, pitch ${degrees(pitch)}, zoom ${near.toFixed(2)}`;
  if (view.followed) view.camera = { yaw, pitch: clamp(pitch, -MOST_PITCH, MOST_PITCH), zoom: clamp(near, ...ZOOMS) };
}

// --- Paths -----------------------------------------------------------------------------------------------------------

let path = []; // keys: angles, or labels of 25 numbers
let recorder = 0;

function setPath(keys) {
  path = keys;
  leavePath();
  const count = path.length;
  element("path-shown").textContent = count === 0 ? "No path" : `${count} ${count === 1 ? "camera" : "cameras"}`;
  for (const id of ["follow", "path-save", "path-clear", "follows"]) element(id).disabled = count === 0;
}

function leavePath() {
  if (!view.followed) return;
  view.followed = null;
  element("follow").setAttribute("aria-pressed", "false");
}

async function follow(isOn) {
  leavePath();
  if (!isOn || path.length === 0) return changed();
  const way = await guarded("path", () => alongPath(Math.max(path.length, path.length > 1 ? WAY : 1)));
  if (!way) return undefined;
  view.followed = way;
  element("follow").setAttribute("aria-pressed", "true");
  return changed();
}

async function alongPath(frames) {
  const response = await ask("/api/path", { labels: path, frames });
  return (await response.json()).labels;
}

function record(isOn) {
  clearInterval(recorder);
  recorder = 0;
  element("record").setAttribute("aria-pressed", String(isOn));
  element("record").textContent = isOn ? "Stop" : "Record";
  if (!isOn) {
    element("frames").value = path.length;
    element("fps").value = RECORD_FPS;
    return;
  }
  setPath([]);
  recorder = setInterval(() => {
    setPath([...path, view.camera]);
    if (path.length >= MOST_KEYS) record(false);
  }, 1000 / RECORD_FPS);
}

async function savePath() {
  const labels = await guarded("path", () => alongPath(path.length));
  if (labels) download(new Blob([JSON.stringify(labels)], { type: "application/json" }), "cameras.json");
}

async function openPath(file) {
  const named = { "X-Name": encodeURIComponent(file.name) };
  const response = await guarded("path", () => ask("/api/cameras", file, named));
  if (response) setPath((await response.json()).labels);
}
