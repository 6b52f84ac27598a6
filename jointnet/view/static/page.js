"use strict";
// Three panels of one prediction, on cine's own grid, drawn by NiiVue: cine, LGE before and LGE after registration.
// Every volume is laid out as `layout` says (x right, y up, slices along z), so a slice of the file is a slice on screen.

const PANELS = [
  { image: "cine.nii.gz", labels: "cine_segmentation.nii.gz" },
  { image: "lge_unregistered.nii.gz", labels: "lge_segmentation_unregistered.nii.gz" },
  { image: "lge_registered.nii.gz", labels: "lge_segmentation_registered.nii.gz" },
];
const COLOURS = new Map([[500, [255, 107, 107]], [200, [255, 212, 59]], [600, [77, 195, 255]]]);
const MARGIN_MM = 18;
const NIFTI = { intent: 68, datatype: 70, bits: 72, dims: 40, qform: 252, sform: 254, rows: 280, offset: 108, rgba: 2304 };
const element = (id) => document.getElementById(id);
const state = { results: [], result: null, slice: 0, labels: [], headers: [], loading: 0 };
let viewers = [];

async function fetched(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

/** Gives a volume of the shown prediction, uncompressed, laid out for the screen; null where there is none. */
async function volume(name) {
  if (!state.result.files.includes(name)) return null;
  const answer = await fetched(`results/${state.results.indexOf(state.result)}/${name}`);
  const buffer = await new Response(answer.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  const view = new DataView(buffer);
  view.setInt16(NIFTI.qform, 0, true);
  view.setInt16(NIFTI.sform, 1, true);
  state.result.layout.slice(0, 3).flat().forEach((value, n) => view.setFloat32(NIFTI.rows + 4 * n, value, true));
  return buffer;
}

/** Gives the shape and the labels of a volume of 16 bit integers. */
function labelled(buffer) {
  const view = new DataView(buffer);
  const shape = [1, 2, 3].map((axis) => view.getInt16(NIFTI.dims + 2 * axis, true));
  return { shape, values: new Int16Array(buffer, view.getFloat32(NIFTI.offset, true)) };
}

/** Tells of every voxel whether another region begins beside it in its slice. `same` gives a value's region. */
function border({ shape, values }, same) {
  const [width, height] = shape;
  const found = new Uint8Array(values.length);
  for (let n = 0; n < values.length; n++) {
    const own = same(values[n]);
    if (!own) continue;
    const x = n % width, y = Math.floor(n / width) % height;
    const beside = [x > 0 && n - 1, x < width - 1 && n + 1, y > 0 && n - width, y < height - 1 && n + width];
    if (beside.some((m) => m === false || same(values[m]) !== own)) found[n] = 1;
  }
  return found;
}

/** Gives what is drawn over a panel as a coloured volume with the header of `header`. */
function overlay(header, own, cine, filled) {
  const start = new DataView(header).getFloat32(NIFTI.offset, true);
  const [width, height, depth] = (own ?? cine).shape;
  const buffer = new ArrayBuffer(start + 4 * width * height * depth);
  new Uint8Array(buffer).set(new Uint8Array(header, 0, start));
  const view = new DataView(buffer);
  view.setInt16(NIFTI.datatype, NIFTI.rgba, true);
  view.setInt16(NIFTI.bits, 32, true);
  const pixels = new Uint8Array(buffer, start);
  if (own) {
    const edge = filled ? null : border(own, (value) => value);
    own.values.forEach((value, n) => {
      if (value && (filled || edge[n])) pixels.set([...COLOURS.get(value), 255], 4 * n);
    });
  }
  if (cine) {
    for (const inside of [(value) => value === 500, (value) => value === 500 || value === 200, (value) => value === 600]) {
      border(cine, inside).forEach((edge, n) => edge && pixels.set([255, 255, 255, 255], 4 * n));
    }
  }
  return buffer;
}

async function drawOverlays() {
  const filled = document.querySelector("[name=style]:checked").value === "filled";
  const on = element("segmentation").checked;
  for (const [n, viewer] of viewers.entries()) {
    while (viewer.volumes.length > 1) viewer.removeVolume(viewer.volumes[1]);
    const own = on ? state.labels[n] : null;
    const cine = n > 0 && element("cine").checked ? state.labels[0] : null;
    if (!own && !cine) continue;
    const buffer = overlay(state.headers[0], own, cine, filled);
    const drawn = await niivue.NVImage.loadFromUrl({ url: buffer, name: "overlay.nii" });
    viewer.addVolume(drawn);
    viewer.setOpacity(1, Number(element("opacity").value));
  }
  showSlice();
}

/** Gives the box in mm of the screen around everything that is labelled; null where nothing is. */
function heartBox() {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  const rows = state.result.layout;
  for (const part of state.labels) {
    if (!part) continue;
    const [width, height] = part.shape;
    part.values.forEach((value, n) => {
      if (!value) return;
      const at = [n % width, Math.floor(n / width) % height];
      for (const axis of [0, 1]) {
        const mm = rows[axis][0] * at[0] + rows[axis][1] * at[1] + rows[axis][3];
        low[axis] = Math.min(low[axis], mm);
        high[axis] = Math.max(high[axis], mm);
      }
    });
  }
  return low[0] > high[0] ? null : { low, high };
}

function zoom() {
  const box = element("closer").checked ? heartBox() : null;
  const [width, height] = state.result.field_mm;
  let pan = [0, 0, 0, 1];
  if (box) {
    const side = Math.max(box.high[0] - box.low[0], box.high[1] - box.low[1]) + 2 * MARGIN_MM;
    const factor = Math.max(1, Math.max(width, height) / side);
    pan = [0, 1].map((axis) => (-factor * (box.low[axis] + box.high[axis])) / 2).concat([0, factor]);
  }
  for (const viewer of viewers) viewer.setPan2Dxyzmm(pan);
}

function showSlice() {
  const { slices, covered } = state.result;
  element("slice").value = state.slice;
  element("number").value = `${state.slice} of 0-${slices.length - 1}`;
  for (const viewer of viewers) {
    if (!viewer.volumes.length) continue;
    viewer.scene.crosshairPos[2] = (state.slice + 0.5) / slices.length;
    viewer.drawScene();
  }
  const facts = element("facts");
  facts.className = covered.includes(state.slice) ? "" : "off";
  facts.textContent = slices[state.slice];
}

/** Follows a click or the wheel in one panel. */
function moved(at, from) {
  if (state.loading || !state.result) return;
  const slice = Math.min(Math.max(Math.floor(at.frac[2] * state.result.slices.length), 0), state.result.slices.length - 1);
  for (const viewer of viewers) {
    if (viewer !== from) viewer.scene.crosshairPos = [...at.frac];
  }
  state.slice = slice;
  showSlice();
}

async function showResult(result) {
  Object.assign(state, { result, loading: state.loading + 1 });
  const own = state.loading;
  try {
    element("error").hidden = true;
    document.title = `${result.name}: LGE onto cine`;
    const [images, labels] = await Promise.all(
      ["image", "labels"].map((kind) => Promise.all(PANELS.map((panel) => volume(panel[kind]))))
    );
    if (own !== state.loading) return;
    state.headers = images;
    state.labels = labels.map((buffer) => buffer && labelled(buffer));
    for (const [n, viewer] of viewers.entries()) {
      while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
      const image = await niivue.NVImage.loadFromUrl({ url: images[n], name: "image.nii", ignoreZeroVoxels: true });
      viewer.addVolume(image);
    }
    const [before, after] = [viewers[1].volumes[0], viewers[2].volumes[0]];
    Object.assign(before, { cal_min: after.cal_min, cal_max: after.cal_max });
    viewers[1].updateGLVolume();
    element("slice").max = result.slices.length - 1;
    state.slice = result.covered[Math.floor(result.covered.length / 2)] ?? 0;
    for (const viewer of viewers) viewer.scene.crosshairPos = [0.5, 0.5, 0.5];
    const sheet = element("sheet");
    sheet.hidden = !result.files.includes("quality.png");
    sheet.href = `results/${state.results.indexOf(result)}/quality.png`;
    document.querySelector(".top").textContent = result.towards.top;
    document.querySelector(".left").textContent = result.towards.left;
    element("warnings").replaceChildren(
      ...result.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text }))
    );
    zoom();
    await drawOverlays();
  } catch (error) {
    told(error);
  } finally {
    state.loading = 0;
    document.body.dataset.shown = result.name;
  }
}

function told(error) {
  element("error").textContent = error.message ?? String(error);
  element("error").hidden = false;
}

async function start() {
  state.results = await (await fetched("results.json")).json();
  element("result").replaceChildren(...state.results.map((result, n) => new Option(result.name, n)));
  element("choice").hidden = state.results.length === 1;
  const options = {
    ...{ backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.76, 1, 0.8], crosshairWidth: 0.3, crosshairWidthUnit: "mm" },
    ...{ sliceType: 0, dragAndDropEnabled: false, isOrientationTextVisible: false, loadingText: "", logLevel: "error" },
    ...{ viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", isColorbar: false },
  };
  for (const n of PANELS.keys()) {
    const viewer = new niivue.Niivue(options);
    await viewer.attachToCanvas(element(`panel${n}`));
    viewer.onLocationChange = (at) => moved(at, viewer);
    viewers.push(viewer);
  }
  element("result").addEventListener("change", (event) => showResult(state.results[event.target.value]));
  element("slice").addEventListener("input", (event) => {
    state.slice = Number(event.target.value);
    showSlice();
  });
  for (const control of document.querySelectorAll("#segmentation, #cine, [name=style]")) {
    control.addEventListener("change", () => drawOverlays().catch(told));
  }
  element("opacity").addEventListener("input", (event) => {
    for (const viewer of viewers) if (viewer.volumes.length > 1) viewer.setOpacity(1, Number(event.target.value));
  });
  element("closer").addEventListener("change", zoom);
  document.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step || event.target.tagName === "SELECT" || !state.result) return;
    event.preventDefault();
    state.slice = Math.min(Math.max(state.slice + step, 0), state.result.slices.length - 1);
    showSlice();
  });
  await showResult(state.results[0]);
}

start().catch(told);
