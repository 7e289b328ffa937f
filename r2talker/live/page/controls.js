// The controls of the page: they describe what is to be seen as one look, which is sent whole whenever something changes.

import { address, post } from "./protocol.js";

export const byId = (id) => document.getElementById(id);
const BOX = ["bottom", "back", "left", "top", "front", "right"];
const RANGES = ["pose", "fov", "eye", "code", "max_steps", "max_spp", "dt_gamma"];

export class Controls {
  constructor(onLook, onFault) {
    this.onLook = onLook;
    this.onFault = onFault;
    this.orbit = { yaw: 0, pitch: 0, pan_x: 0, pan_y: 0, zoom: 0 };
    this.session = "";
    this.fovTouched = false;
    this.timer = null;
    this.box();
    for (const name of RANGES) byId(name).addEventListener("input", () => this.changed());
    for (const name of ["size", "background", "colour", "landmarks", "head", "eyes", "face"]) byId(name).addEventListener("change", () => this.changed());
    for (const radio of document.getElementsByName("kind")) radio.addEventListener("change", () => this.changed());
    byId("colour").addEventListener("input", () => { byId("background").value = "colour"; this.changed(); });
    byId("fov").addEventListener("input", () => { this.fovTouched = true; });
    byId("pose").addEventListener("input", () => { byId("head").value = "fixed"; this.changed(); });
    byId("eye").addEventListener("input", () => { byId("eyes").checked = true; this.changed(); });
    byId("home").addEventListener("click", () => this.home());
    byId("backdrop").addEventListener("change", () => this.upload());
    byId("cells").addEventListener("change", () => this.links());
    this.mouse(byId("picture"));
  }

  box() {
    for (const [place, name] of BOX.entries()) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "range", min: -1, max: 1, step: 0.01, id: `box${place}` });
      label.append(name, input);
      byId("box").append(label);
      input.addEventListener("input", () => this.changed());
    }
  }

  // What the avatar has, at the beginning and after a switch.
  welcome(message) {
    this.session = message.session;
    this.avatar = message.avatar;
    this.fovTouched = false;
    Object.assign(this.orbit, { yaw: 0, pitch: 0, pan_x: 0, pan_y: 0, zoom: 0 });
    const choices = message.sizes.map((side) => new Option(`${side}`, side));
    byId("size").replaceChildren(new Option("adaptive", 0), ...choices);
    byId("avatar").replaceChildren(...message.avatars.map((name) => new Option(name, name, false, name === message.avatar)));
    byId("pose").max = message.poses - 1;
    byId("code").max = message.codes - 1;
    for (const [name, value] of Object.entries({ pose: 0, code: 0, fov: message.fov, eye: message.eye, max_steps: message.max_steps, max_spp: 1, dt_gamma: 1 / 256 })) byId(name).value = value;
    message.aabb.forEach((value, place) => { byId(`box${place}`).value = value; });
    byId("head").value = "alive";
    byId("face").value = "spoken";
    byId("face").disabled = !message.clip_faces;
    byId("background").value = "clip";
    byId("eyes").checked = byId("landmarks").checked = false;
    document.querySelector("[name=kind][value=image]").checked = true;
    byId("speak").disabled = byId("text").disabled = !message.speaks_text;
    if (!message.speaks_text) byId("text").placeholder = "No text-to-speech program is installed on the server";
    this.links();
    this.show();
  }

  look() {
    const value = (id) => Number(byId(id).value);
    return {
      kind: document.querySelector("[name=kind]:checked").value,
      size: value("size"), background: byId("background").value, colour: byId("colour").value,
      pose: byId("head").value === "fixed" ? value("pose") : -1, replay: byId("head").value === "replay", face: byId("face").value,
      ...this.orbit,
      fov: this.fovTouched ? value("fov") : 0,
      eye: byId("eyes").checked ? value("eye") : -1,
      code: value("code"), max_steps: value("max_steps"), max_spp: value("max_spp"), dt_gamma: value("dt_gamma"),
      aabb: BOX.map((_, place) => value(`box${place}`)),
      landmarks: byId("landmarks").checked,
    };
  }

  // At most ten looks a second.
  changed() {
    this.show();
    if (this.timer) return;
    this.timer = setTimeout(() => { this.timer = null; this.onLook(this.look()); }, 100);
  }

  show() {
    for (const name of RANGES) document.querySelector(`output[for=${name}]`).value = Number(byId(name).value).toFixed(name === "dt_gamma" ? 4 : name === "eye" ? 3 : name === "fov" ? 1 : 0);
    const { yaw, pitch, pan_x, pan_y, zoom } = this.orbit, tracked = byId("head").value === "fixed" ? `frame ${byId("pose").value}` : "the head";
    byId("readout").textContent = `Camera: ${yaw.toFixed(0)}° about, ${pitch.toFixed(0)}° over ${tracked}, ${(1.1 ** -zoom).toFixed(2)} times as far, moved by ${pan_x.toFixed(2)}, ${pan_y.toFixed(2)}`;
  }

  home() {
    Object.assign(this.orbit, { yaw: 0, pitch: 0, pan_x: 0, pan_y: 0, zoom: 0 });
    this.fovTouched = false;
    byId("head").value = "alive";
    this.changed();
  }

  turn(yaw, pitch) {
    this.orbit.yaw = (this.orbit.yaw + yaw + 540) % 360 - 180;
    this.orbit.pitch = Math.max(-90, Math.min(90, this.orbit.pitch + pitch));
    this.changed();
  }

  zoom(steps) {
    this.orbit.zoom = Math.max(-20, Math.min(20, this.orbit.zoom + steps));
    this.changed();
  }

  pan(x, y) {
    this.orbit.pan_x = Math.max(-2, Math.min(2, this.orbit.pan_x + x));
    this.orbit.pan_y = Math.max(-2, Math.min(2, this.orbit.pan_y + y));
    this.changed();
  }

  mouse(canvas) {
    // Where the mouse, or every finger, holds the picture.
    const held = new Map();
    const place = ({ pointerId, clientX, clientY }) => held.set(pointerId, [clientX, clientY]);
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); place(event); event.preventDefault(); canvas.focus(); });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(end, ({ pointerId }) => held.delete(pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!held.has(event.pointerId) || held.size > 2) return;
      const before = grip(held), now = grip(place(event)), x = now.x - before.x, y = now.y - before.y;
      if (held.size === 2) this.zoom(Math.log(now.apart / before.apart) / Math.log(1.1));
      if (held.size === 2 || event.shiftKey || event.buttons & 4) this.pan(x / canvas.clientWidth, y / canvas.clientHeight);
      else this.turn(x * 0.3, -y * 0.3);
    });
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(-event.deltaY / 100); }, { passive: false });
    canvas.addEventListener("dblclick", () => this.home());
    const keys = {
      ArrowLeft: () => this.turn(-5, 0), ArrowRight: () => this.turn(5, 0), ArrowUp: () => this.turn(0, 5), ArrowDown: () => this.turn(0, -5),
      "+": () => this.zoom(1), "=": () => this.zoom(1), "-": () => this.zoom(-1), Home: () => this.home(),
    };
    canvas.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); keys[event.key](); } });
  }

  async upload() {
    const [file] = byId("backdrop").files;
    if (!file) return;
    try {
      await post("/v1/background", { session: this.session }, file);
      byId("background").value = "picture";
      this.changed();
    } catch (error) { this.onFault(error.message); }
  }

  links() {
    for (const format of ["glb", "ply"]) byId(format).href = address("/v1/mesh", { avatar: this.avatar, format, resolution: byId("cells").value });
  }
}

// The middle of what holds the picture, and how far two fingers are apart, at least a pixel.
function grip(held) {
  const [first, second = first] = [...held.values()];
  const apart = Math.max(Math.hypot(second[0] - first[0], second[1] - first[1]), 1);
  return { x: (first[0] + second[0]) / 2, y: (first[1] + second[1]) / 2, apart };
}
