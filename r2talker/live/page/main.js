// Ties the page together: connection, player, controls.

import { address, Connection, post, SOUND } from "./protocol.js";
import { byId, Controls } from "./controls.js";
import { Player } from "./player.js";
import { showTraining } from "./training.js";

const AGAIN_MS = 2000;
let connection = null, listening = false, recording = false;

const player = new Player(byId("picture"), (part) => {
  if (part === "picture") codec = "jpeg"; else sound = "pcm";
  connection.say("codec", { name: codec, sound });
});
const controls = new Controls((look) => connection.say("look", look), notice);
const asked = new URLSearchParams(location.search);
let codec = Player.decodes && !asked.has("jpeg") ? "h264" : "jpeg", sound = await chooseSound();

// An eighth of the bytes, for 7 ms and a little work; nothing is gained on the machine itself. `?sound=` decides otherwise.
async function chooseSound() {
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const wanted = asked.get("sound") || (near ? "pcm" : "opus");
  return wanted === "opus" && await Player.decodesOpus() ? "opus" : "pcm";
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

function setState(state) {
  byId("state").textContent = state;
  byId("state").dataset.state = state;
}

function connect(avatar = "") {
  connection = new Connection(avatar ? { codec, sound, avatar } : { codec, sound }, {
    welcome(message) {
      document.body.classList.toggle("training", !message.talks);
      notice("");
      player.reset();
      if (!message.talks) { setState("training"); controls.changed(); return; }
      controls.welcome(message);
      if (listening) connection.say("microphone", { open: true });
    },
    report(message) {
      setState(message.state);
      byId("delay").textContent = message.delay_p50 ? `${Math.round(message.delay_p50)} ms (95 %: ${Math.round(message.delay_p95)} ms)` : "–";
      byId("fps").textContent = message.fps.toFixed(1);
      byId("side").textContent = `${message.size} px`;
      byId("dropped").textContent = message.dropped;
      byId("queues").textContent = `${message.queues.say_seconds.toFixed(1)} s`;
      recording = message.recording;
      byId("record").setAttribute("aria-pressed", recording);
      byId("record").textContent = recording ? "Stop recording" : "Record";
    },
    interrupted({ number }) { player.interrupted(number); },
    recorded({ url, seconds }) {
      byId("recorded").href = address(url);
      byId("recorded").textContent = `Save the recording (${seconds.toFixed(1)} s)`;
      byId("recorded").hidden = false;
    },
    refused({ message }) { notice(message); },
    training(message) { setState(message.paused ? "paused" : "training"); showTraining(message); },
    binary(message) { if (message.kind === SOUND) player.sound(message); else player.picture(message); },
    async closed(reason) {
      setState("closed");
      // A refused WebSocket does not say why; a request does.
      const answer = await fetch(address("/v1/state")).catch(() => null);
      notice(answer && answer.status === 403 ? (await answer.json()).detail : `${reason}; trying again`);
      setTimeout(connect, AGAIN_MS);
    },
  });
}

async function begin() {
  const running = await player.start().catch((error) => { notice(error.message); return false; });
  byId("begin").hidden = running;
}

async function toggleMicrophone() {
  try {
    if (listening) {
      player.closeMicrophone();
      connection.say("microphone", { open: false });
    } else {
      await begin();
      connection.say("microphone", { open: true });
      await player.openMicrophone((samples) => connection.hear(samples));
    }
    listening = !listening;
    byId("microphone").setAttribute("aria-pressed", listening);
  } catch (error) { notice(`the microphone cannot be used: ${error.message}`); }
}

async function say(body, type) {
  await begin();
  await post("/v1/say", { session: controls.session }, body, type).catch((error) => notice(error.message));
}

// Not before the welcome: a training run would refuse it.
setInterval(() => { if (connection.open && controls.session && !document.body.classList.contains("training")) connection.say("played", player.report()); }, 250);
byId("begin").addEventListener("click", begin);
byId("microphone").addEventListener("click", toggleMicrophone);
byId("interrupt").addEventListener("click", () => { player.interrupted(Infinity); connection.say("interrupt"); });
byId("record").addEventListener("click", () => connection.say("record", { on: !recording }));
byId("blink").addEventListener("click", () => connection.say("blink"));
byId("avatar").addEventListener("change", () => connection.say("switch", { avatar: byId("avatar").value }));
byId("say").addEventListener("submit", (event) => { event.preventDefault(); if (byId("text").value.trim()) say(byId("text").value, "text/plain"); });
byId("sound").addEventListener("change", () => { if (byId("sound").files[0]) say(byId("sound").files[0]); byId("sound").value = ""; });
byId("reset").addEventListener("click", () => { if (confirm("Forget what this phase has learned?")) connection.say("train", { action: "reset" }); });
for (const action of ["pause", "resume", "save"]) byId(action).addEventListener("click", () => connection.say("train", { action }));
byId("picture").addEventListener("dragover", (event) => event.preventDefault());
byId("picture").addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) say(event.dataTransfer.files[0]); });

for (const link of document.querySelectorAll("a[href='/metrics']")) link.href = address("/metrics");
connect();
begin();

// For tests: what the page hears and sees.
window.studio = { player, controls, get connection() { return connection; } };
