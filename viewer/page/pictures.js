// Pictures: the newest wish counts, few are under way at a time, and a still one follows when nothing moves any more.

const STILL_AFTER = 160; // ms without a change
const MOST_SIDE = 720; // of a picture, CSS pixels
const CAPTION = 30; // height of a caption with its gap, CSS pixels
const GAP = 8;
const NAMES = { rgb: "Colour", depth: "Depth", normals: "Normals", shape: "Shape" };

const panels = [];
const view = {
  seed: 0, second: 1, blend: 0, motion: 0, ownMotion: true, truncation: 1, latents: null,
  share: 0, maxTime: 1, resolution: 0,
  layers: ["rgb"],
  camera: { yaw: 0, pitch: 0, zoom: 1 },
  followed: null, // cameras of the path, one for each moment
};

class Panel {
  constructor(number) {
    this.number = number;
    this.underWay = 0;
    this.asked = 0;
    this.shown = 0;
    this.isDirty = false;
    this.isFinal = false;
    this.isQuick = false; // whether what is under way is a preview
    this.version = -1;
    this.about = null;
    this.figure = document.createElement("figure");
    this.tiles = this.figure.appendChild(document.createElement("div"));
    this.tiles.className = "tiles";
    const caption = this.figure.appendChild(document.createElement("figcaption"));
    this.name = caption.appendChild(document.createElement("span"));
    this.name.className = "name";
    this.quality = caption.appendChild(document.createElement("span"));
    this.quality.className = "quality";
    this.problem = this.figure.appendChild(document.createElement("p"));
    this.problem.className = "problem";
    element("stage").append(this.figure);
  }

  become(about) { // what the server says of the model
    this.name.textContent = this.name.title = about.name;
    this.canvases(this.about ? this.about.layers : view.layers);
    this.problem.textContent = panels.length > 1 ? about.problem : "";
    this.problem.hidden = !this.problem.textContent;
  }

  canvases(layers) {
    while (this.tiles.children.length > layers.length) this.tiles.lastChild.remove();
    while (this.tiles.children.length < layers.length) {
      const canvas = this.tiles.appendChild(document.createElement("canvas"));
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      canvas.width = canvas.height = 1;
      turnable(canvas);
    }
    layers.forEach((layer, place) => {
      const help = "drag or use arrow keys to turn the head, plus and minus to zoom";
      this.tiles.children[place].setAttribute("aria-label", `${NAMES[layer]} of ${this.name.textContent}: ${help}`);
    });
    return [...this.tiles.children];
  }

  async ask(isMoving) {
    const number = ++this.asked;
    this.underWay += 1;
    this.isQuick = isMoving;
    this.isDirty = false;
    this.isFinal = false;
    try {
      const { blob, about } = await picture(this.number, isMoving);
      if (number > this.shown) {
        this.shown = number;
        await this.draw(blob, about);
        this.isFinal = about.final && number === this.asked;
      }
      say(`panel ${this.number}`, "");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status !== NEWER) say(`panel ${this.number}`, problem.message, true);
    } finally {
      this.underWay -= 1;
      this.pump();
    }
  }

  async draw(blob, about) {
    const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    const side = bitmap.height;
    this.canvases(about.layers).forEach((canvas, place) => {
      if (canvas.width !== side) canvas.width = canvas.height = side;
      canvas.getContext("2d").drawImage(bitmap, place * side, 0, side, side, 0, 0, side, side);
    });
    bitmap.close();
    this.about = about;
    this.quality.textContent = about.rays === null
      ? `${side} × ${side}`
      : `Preview of ${about.rays} × ${about.rays} rays`;
    this.quality.title = about.rays === null ? "" : "As the rays see it, without super-resolution, while something moves";
    cameraShown(about);
  }

  pump() {
    // One more than is being drawn hides the way to the server; but a browser keeps six connections to it.
    const most = panels.length > 1 && this.isQuick ? 1 : 2;
    if (this.isDirty && this.version > 0 && this.underWay < most) this.ask(isMoving());
  }
}

async function picture(panel, moving, name = client) {
  const wish = { client: name, panel, scene: scene(), camera: camera(), layers: view.layers, moving };
  const response = await ask("/api/frame", wish);
  return { blob: await response.blob(), about: JSON.parse(response.headers.get("X-Frame")) };
}

function scene() {
  const isBlended = view.blend > 0;
  return {
    first: view.latents ? { latents: view.latents.id } : { seed: view.seed },
    second: isBlended ? { seed: view.second } : null,
    blend: isBlended ? view.blend : 0,
    motion: view.latents && view.ownMotion ? null : view.motion,
    time: view.share * view.maxTime,
    truncation: view.truncation,
  };
}

function camera() {
  if (!view.followed) return view.camera;
  return view.followed[Math.round(view.share * (view.followed.length - 1))];
}

// --- When pictures are asked for -------------------------------------------------------------------------------------

let stillTimer = 0;
let playing = false;

const isMoving = () => stillTimer !== 0 || playing;

function changed() {
  clearTimeout(stillTimer);
  stillTimer = setTimeout(settled, STILL_AFTER);
  for (const panel of panels) {
    panel.isDirty = true;
    panel.pump();
  }
}

function settled() {
  stillTimer = 0;
  if (playing) return;
  for (const panel of panels) {
    if (panel.isFinal && !panel.isDirty) continue;
    panel.isDirty = true;
    panel.pump();
  }
}

// --- Where they are --------------------------------------------------------------------------------------------------

function arrange() {
  const stage = element("stage");
  const isNarrow = matchMedia("(max-width: 760px)").matches;
  const style = getComputedStyle(stage);
  const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = (isNarrow ? 0.56 * innerHeight : stage.clientHeight) - 2 * parseFloat(style.paddingTop);
  const layers = view.layers.length;
  let best = { side: 0, across: 1, beside: 1 };
  for (let beside = 1; beside <= panels.length; beside++) { // models in a row
    for (let across = 1; across <= layers; across++) { // layers in a row
      const rows = Math.ceil(panels.length / beside) * Math.ceil(layers / across);
      const captions = Math.ceil(panels.length / beside) * CAPTION;
      const wide = (width - (beside - 1) * 2 * GAP) / beside;
      const fitting = Math.min((wide - (across - 1) * GAP) / across, (height - captions - (rows - 1) * GAP) / rows);
      if (fitting > best.side) best = { side: fitting, across, beside };
    }
  }
  const side = Math.max(64, Math.min(MOST_SIDE, Math.floor(best.side)));
  stage.style.setProperty("--side", `${side}px`);
  stage.style.gridTemplateColumns = `repeat(${best.beside}, max-content)`;
  for (const panel of panels) {
    panel.tiles.style.gridTemplateColumns = `repeat(${best.across}, ${side}px)`;
    panel.figure.style.maxWidth = `${best.across * side + (best.across - 1) * GAP}px`;
  }
}
