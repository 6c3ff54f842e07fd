// Files: pictures and videos to save, latents to open.

const LARGEST_FILE = 2 ** 28;
const TYPES = { ".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif" };
const POLL = 400; // ms between two looks at a video

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// The name of a file that shows a scene: it is made when the file is asked for, as the view may have changed once it comes.
function fileName(shown, panel, suffix) {
  const padded = (seed) => String(seed).padStart(4, "0");
  const heads = [shown.first, shown.second].filter(Boolean);
  const head = heads.map(({ latents, seed }) => (latents ? "latents" : `seed${padded(seed)}`)).join("+");
  const motion = shown.motion === null ? "" : `-motion${padded(shown.motion)}`;
  const model = panels.length > 1 ? `-model${panel + 1}` : "";
  return `${head}${motion}${model}${suffix}`;
}

async function saveSnapshot() {
  play(false);
  for (const panel of panels) {
    const name = fileName(scene(), panel.number, ".png");
    const found = await guarded("snapshot", () => picture(panel.number, false, newName())); // which no newer picture replaces
    if (found) download(found.blob, name);
  }
}

async function openLatents(file) {
  if (file.size > LARGEST_FILE) {
    say("latents", `${file.name} is too large: up to ${LARGEST_FILE / 2 ** 20} MiB are possible.`, true);
    return;
  }
  say("latents", `Opening ${file.name} …`);
  const named = { "X-Name": encodeURIComponent(file.name) };
  const response = await guarded("latents", () => ask("/api/latents", file, named));
  if (!response) return;
  view.latents = await response.json();
  if (view.latents.frames > 1) {
    element("frames").value = view.latents.frames;
    element("fps").value = Math.round(view.latents.fps);
  }
  latentsShown();
  setPath(view.latents.labels); // they are seen as they were found
  await follow(true);
}

// Sizes of videos: as the model makes them, and larger for players that show each pixel as one.
const SCALES = [1, 2, 4, 8];
const MOST_VIDEO_SIDE = 1024;
const USUAL_VIDEO_SIDE = 256;

function sizesShown(resolution) {
  const scales = SCALES.filter((scale) => scale === 1 || resolution * scale <= MOST_VIDEO_SIDE);
  const usual = scales.find((scale) => resolution * scale >= USUAL_VIDEO_SIDE) ?? scales.at(-1);
  const isUsual = (scale) => scale === usual;
  const options = scales.map((scale) => new Option(resolution * scale, scale, isUsual(scale), isUsual(scale)));
  element("size").replaceChildren(...options);
}

// --- Videos ----------------------------------------------------------------------------------------------------------

const LOST_VIDEO = "Another page stopped this video and began one of its own: save it again.";

let isExporting = false;

function videoWish() {
  const isFollowing = element("follows").checked && path.length > 0;
  return {
    panel: Number(element("export-panel").value || 0),
    scene: scene(),
    labels: isFollowing ? path : [camera()],
    layers: view.layers,
    frames: Number(element("frames").value),
    fps: Number(element("fps").value),
    suffix: element("suffix").value,
    plays: element("plays").checked,
    blends: element("blends").checked,
    scale: Number(element("size").value || 1),
  };
}

function exportShown(made, total, isMade = isExporting) {
  element("export-progress").hidden = element("export-stop").hidden = !isMade;
  element("export").disabled = element("suffix").hidden = isMade;
  element("export-progress").max = total;
  element("export-progress").value = made;
}

// One video is made at a time: it may be another page's, or this one's from before it was loaded again.
function exportNoticed(video) {
  if (isExporting) return;
  const isMade = video !== null && video.state === "running";
  exportShown(isMade ? video.made : 0, isMade ? video.total : 1, isMade);
  say("other video", isMade ? `Another page makes a video: ${video.made} of ${video.total} frames.` : "");
}

async function saveVideo() {
  const wish = videoWish();
  if (wish.blends && wish.scene.second === null) wish.scene.second = { seed: view.second };
  const name = fileName(wish.scene, wish.panel, wish.suffix);
  play(false);
  isExporting = true;
  say("other video", "");
  exportShown(0, wish.frames);
  await guarded("video", async () => {
    const { number } = await (await ask("/api/export", wish)).json();
    for (;;) {
      const { export: video } = await (await ask("/api/state")).json();
      if (!video) return; // somebody stopped it
      if (video.number !== number) throw new Problem(LOST_VIDEO);
      exportShown(video.made, video.total);
      say("video", `Making a video: ${video.made} of ${video.total} frames.`);
      if (video.state === "failed") throw new Problem(video.problem);
      if (video.state === "done") break;
      await new Promise((wake) => setTimeout(wake, POLL));
    }
    const file = await ask("/api/export/file");
    if (file.headers.get("X-Export") !== String(number)) throw new Problem(LOST_VIDEO);
    download(new Blob([await file.blob()], { type: TYPES[wish.suffix] }), name);
  });
  isExporting = false;
  exportShown(0, 1);
}

function wireSaving() {
  element("snapshot").addEventListener("click", saveSnapshot);
  element("export").addEventListener("click", saveVideo);
  element("export-stop").addEventListener("click", () => guarded("video", () => ask("/api/export/stop", "")));
}
