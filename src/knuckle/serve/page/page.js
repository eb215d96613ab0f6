// The page: frames of the camera or photos go to /predict one at a time; answers are drawn, listed and kept.
import { drawGuide, drawHands } from "/drawing.js";

const CAMERA_SIDE = 640; // longer side of the frames that are sent, pixels
const SHOWN_SIDE = 1600; // longer side of a photo on the canvas
const MOST_PHOTOS = 200;

const at = (id) => document.getElementById(id);
const canvas = at("picture");
const context = canvas.getContext("2d");
const state = { about: null, stream: null, kept: [], chosen: null, keepNext: false, frames: 0 };

/** Ask for the hands on a photo; throws an Error with a sentence. */
async function predict(blob, wishes = {}) {
  let answer;
  try {
    const address = `/predict?${new URLSearchParams(wishes)}`;
    answer = await fetch(address, { method: "POST", body: blob, headers: { "Content-Type": "application/octet-stream" } });
  } catch {
    throw new Error("knuckle serve does not answer; is it still running?");
  }
  const content = await answer.json().catch(() => ({ error: "the answer cannot be read." }));
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function complain(sentence) {
  at("problem").textContent = sentence;
  at("problem").hidden = !sentence;
}

function show(image, width, height, found, guide) {
  canvas.width = Math.round(width);
  canvas.height = Math.round(height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (guide) {
    drawGuide(context, guide);
    context.save();
    context.translate((canvas.width - guide) / 2, (canvas.height - guide) / 2);
  }
  drawHands(context, found.hands, state.about, (guide || canvas.width) / found.size_wh[0]);
  if (guide) context.restore();
  at("hint").hidden = true;
  tell(found.hands);
}

const mean = (values) => {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
};

function tell(hands) {
  at("hands").replaceChildren(...(hands.length ? hands.map(card) : [element("p", "faint", "No hand found.")]));
  const stated = hands.some((hand) => hand.covariance);
  at("legend").hidden = !hands.length;
  at("legend").textContent = stated
    ? "Ellipses: one standard deviation of each point, as the model states it."
    : "This model states no uncertainty; knuckle calibrate gives it one.";
}

function card(hand) {
  const box = element("div", "hand");
  const name = hand.gesture === "unsure" ? "no clear gesture" : hand.gesture.replaceAll("_", " ");
  box.append(element("strong", "", name));
  const sure = element("div", "row");
  const known = hand.side && hand.side_probability !== null && hand.side_probability !== undefined;
  const share = known ? ` ${Math.round(100 * hand.side_probability)} %` : "";
  sure.append(element("span", "", hand.side ? `${hand.side} hand${share}` : "hand"));
  sure.append(element("span", "", `gesture ${Math.round(100 * hand.gesture_confidence)} %`));
  box.append(sure);
  const confidence = hand.confidence && mean(hand.confidence);
  if (confidence !== null && confidence !== undefined) {
    box.append(bar(confidence, `${Math.round(100 * confidence)} % of the points within 5 % of the box, expected`));
  }
  if (hand.score !== null && hand.score !== undefined) box.append(bar(hand.score, `hand ${Math.round(100 * hand.score)} %`));
  return box;
}

function bar(value, words) {
  const row = element("div", "");
  const meter = document.createElement("meter");
  meter.value = value;
  meter.setAttribute("aria-label", words);
  row.append(meter, element("p", "faint", words));
  return row;
}

function element(name, style, text = "") {
  const made = document.createElement(name);
  if (style) made.className = style;
  made.textContent = text;
  return made;
}

// Camera

async function startCamera() {
  complain("");
  if (!navigator.mediaDevices) {
    complain("the browser gives a camera only to pages of this computer: open http://localhost, or use photos.");
    return;
  }
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 }, audio: false });
  } catch (error) {
    complain(error.name === "NotAllowedError" ? "the camera was not allowed." : "there is no camera that can be used.");
    return;
  }
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  video.srcObject = state.stream;
  await video.play();
  setCamera(true);
  await follow(video, state.stream);
}

function stopCamera() {
  state.stream?.getTracks().forEach((track) => track.stop());
  state.stream = null;
  setCamera(false);
}

function setCamera(runs) {
  at("camera").textContent = runs ? "Stop camera" : "Start camera";
  at("keep").hidden = !runs;
  at("speed").hidden = !runs;
}

/** Send a frame, draw its answer, send the next: never more than one under way. */
async function follow(video, stream) {
  const frame = document.createElement("canvas");
  let pace = null;
  let before = performance.now();
  while (state.stream === stream) {
    const scale = Math.min(1, CAMERA_SIDE / Math.max(video.videoWidth, video.videoHeight));
    const [width, height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
    const guide = state.about.boxes === "full" ? Math.min(width, height) : 0;
    [frame.width, frame.height] = [width, height];
    frame.getContext("2d").drawImage(video, 0, 0, width, height);
    const part = guide ? middle(frame, guide) : frame;
    const blob = await new Promise((done) => part.toBlob(done, "image/jpeg", 0.9));
    const isKept = state.keepNext;
    state.keepNext = false;
    try {
      const name = `frame-${String(state.kept.length + 1).padStart(3, "0")}.jpg`;
      const found = isKept ? (await keep(blob, name)).found : await predict(blob, { name: "frame.jpg" });
      if (state.stream !== stream) return;
      show(frame, width, height, found, guide);
      const now = performance.now();
      pace = pace === null ? now - before : 0.9 * pace + 0.1 * (now - before);
      before = now;
      state.frames += 1;
      at("speed").textContent = `${(1000 / pace).toFixed(1)} fps · model ${found.milliseconds.toFixed(0)} ms`;
      at("speed").dataset.frames = state.frames;
      complain("");
    } catch (error) {
      complain(error.message);
      stopCamera();
    }
  }
}

function middle(frame, side) {
  const square = document.createElement("canvas");
  square.width = square.height = side;
  square.getContext("2d").drawImage(frame, (side - frame.width) / 2, (side - frame.height) / 2);
  return square;
}

// Photos

async function takePhotos(files) {
  stopCamera();
  const problems = [];
  for (const file of [...files].slice(0, MOST_PHOTOS)) {
    try {
      if (file.size > state.about.most_bytes) {
        throw new Error(`${file.name} is larger than ${state.about.most_bytes / 1e6} MB; save a smaller copy.`);
      }
      await choose(await keep(file, file.name));
    } catch (error) {
      problems.push(error.message);
    }
  }
  if (files.length > MOST_PHOTOS) problems.push(`only the first ${MOST_PHOTOS} photos were taken.`);
  complain(problems.slice(0, 5).join(" ") + (problems.length > 5 ? ` And ${problems.length - 5} more.` : ""));
}

let queue = Promise.resolve();

/** Ask for the hands on a photo and keep them, one photo at a time: each counts its hands on from those before it. */
function keep(blob, name) {
  const kept = queue.then(async () => add(blob, await predict(blob, { name, files: 1, first: handsKept() })));
  queue = kept.catch(() => {}); // said by the caller; the next photo goes on
  return kept;
}

const handsKept = () => state.kept.reduce((sum, entry) => sum + entry.found.hands.length, 0);

function add(blob, found) {
  const entry = { address: URL.createObjectURL(blob), found };
  state.kept.push(entry);
  const button = element("button", "");
  const image = document.createElement("img");
  image.src = entry.address;
  image.alt = found.name;
  button.type = "button";
  button.title = found.name;
  button.append(image);
  button.addEventListener("click", () => {
    stopCamera();
    choose(entry);
  });
  entry.button = button;
  at("thumbnails").append(button);
  at("kept").hidden = false;
  const photos = state.kept.length === 1 ? "1 photo" : `${state.kept.length} photos`;
  at("count").textContent = `${photos}, ${handsKept()} ${handsKept() === 1 ? "hand" : "hands"}`;
  state.chosen ??= entry;
  return entry;
}

async function choose(entry) {
  state.chosen = entry;
  for (const other of state.kept) other.button.setAttribute("aria-pressed", String(other === entry));
  const image = new Image();
  image.src = entry.address;
  try {
    await image.decode();
  } catch {
    throw new Error(`${entry.found.name} cannot be shown by this browser; its hands are kept.`);
  }
  const [width, height] = entry.found.size_wh;
  const scale = Math.min(1, SHOWN_SIDE / Math.max(width, height));
  show(image, width * scale, height * scale, entry.found, 0);
}

function save(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  saveAt(name, address);
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function saveAt(name, address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

function saveCsv() {
  const filled = state.kept.filter((entry) => entry.found.hands.length);
  if (!filled.length) return complain("there is no hand to write down.");
  return save("hands.csv", filled[0].found.files.csv_header + filled.map((e) => e.found.files.csv_rows).join(""), "text/csv");
}

function saveLabelme() {
  const { name, files } = state.chosen.found;
  save(`${name.replace(/\.[^.]*$/, "")}.json`, JSON.stringify(files.labelme, null, 2), "application/json");
}

/** A frame of the camera lies nowhere else, and Labelme shows it beside its file. */
function savePicture() {
  saveAt(state.chosen.found.name, state.chosen.address);
}

function clear() {
  for (const entry of state.kept) URL.revokeObjectURL(entry.address);
  state.kept = [];
  state.chosen = null;
  at("thumbnails").replaceChildren();
  at("kept").hidden = true;
}

at("camera").addEventListener("click", () => (state.stream ? stopCamera() : startCamera()));
at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", async (event) => {
  await takePhotos(event.target.files);
  event.target.value = "";
});
at("keep").addEventListener("click", () => (state.keepNext = true));
at("csv").addEventListener("click", saveCsv);
at("labelme").addEventListener("click", saveLabelme);
at("save-picture").addEventListener("click", savePicture);
at("clear").addEventListener("click", () => (queue = queue.then(clear)));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("stage").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop") takePhotos(event.dataTransfer.files);
  });
}

state.about = await (await fetch("/about")).json();
at("model").textContent = `model: ${state.about.model}`;
if (state.about.boxes === "full") at("hint").textContent += " This model looks for one hand that fills the picture.";
document.body.dataset.ready = "true";
