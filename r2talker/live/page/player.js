// Sound is the clock: every picture is drawn when the sound of its frame is heard, or not at all.

import { JPEG, KEY, OPUS } from "./protocol.js";

const RATE = 16000, FRAME = 640, KEPT = 40, KNOWN = 50;
const OPUS_LAG = 104, OPUS_CONFIG = { codec: "opus", sampleRate: 48000, numberOfChannels: 1 };
// Pictures come so long before their sound that one of ten would be late without; seconds.
const MARGIN = 0.008;

export class Player {
  // onFault(part, message): "picture" or "sound" cannot be decoded.
  constructor(canvas, onFault) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.onFault = onFault;
    this.audio = null;
    this.played = null;
    this.captured = [];
    this.sent = 0;
    this.reset();
    this.draw = this.draw.bind(this);
    requestAnimationFrame(this.draw);
  }

  static get decodes() { return "VideoDecoder" in window; }

  static async decodesOpus() {
    return "AudioDecoder" in window && AudioDecoder.isConfigSupported(OPUS_CONFIG).then(({ supported }) => supported, () => false);
  }

  // Everything of the timeline so far is forgotten.
  reset() {
    for (const shown of this.pictures || []) shown.image.close();
    this.pictures = [];
    this.heard = new Map();
    this.delays = [];
    this.needs = [];
    this.silentBefore = 0;
    this.shown = 0;
    this.missed = 0;
    this.lastNumber = -1;
    this.sent = 0;
    this.captured = [];
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    if (this.soundDecoder && this.soundDecoder.state !== "closed") this.soundDecoder.close();
    this.soundDecoder = null;
    this.played = null;
    if (this.speaker) this.speaker.port.postMessage({ reset: true });
  }

  // Needs a gesture of the user, or a browser that does not ask for one.
  async start() {
    if (!this.audio) {
      this.audio = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      await this.audio.audioWorklet.addModule("/page/worklet.js");
      this.speaker = new AudioWorkletNode(this.audio, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
      this.speaker.port.onmessage = ({ data }) => { this.played = data; };
      this.meter = new AnalyserNode(this.audio, { fftSize: 256 });
      this.speaker.connect(this.meter).connect(this.audio.destination);
    }
    await this.audio.resume();
    return this.audio.state === "running";
  }

  async openMicrophone(onSamples) {
    await this.start();
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
    });
    this.source = this.audio.createMediaStreamSource(this.stream);
    this.microphone = new AudioWorkletNode(this.audio, "microphone", { numberOfOutputs: 0 });
    this.microphone.port.onmessage = ({ data }) => {
      this.sent += data.byteLength / 2;
      this.captured.push({ end: this.sent, at: performance.now() });
      if (this.captured.length > 500) this.captured.shift();
      onSamples(data);
    };
    this.source.connect(this.microphone);
  }

  closeMicrophone() {
    if (this.source) this.source.disconnect();
    if (this.microphone) this.microphone.port.onmessage = null;
    if (this.stream) for (const track of this.stream.getTracks()) track.stop();
    this.source = this.microphone = this.stream = null;
  }

  sound({ number, flags, payload }) {
    if (!this.speaker || this.audio.state !== "running") return;
    this.compressed = Boolean(flags & OPUS);
    if (this.compressed) this.decodeSound(number, payload);
    else this.speak(number, Float32Array.from(new Int16Array(payload), (value) => value / 32768), 0);
  }

  // lag: samples by which the sound comes after that of its frame.
  speak(number, samples, lag) { if (number >= this.silentBefore) this.speaker.port.postMessage({ number, samples, lag }, [samples.buffer]); }

  decodeSound(number, payload) {
    if (!this.soundDecoder || this.soundDecoder.state === "closed") {
      this.soundDecoder = this.newSoundDecoder((decoded, samples) => this.speak(decoded, samples, OPUS_LAG));
    }
    this.soundDecoder.decode(new EncodedAudioChunk({ type: "key", timestamp: number * 40000, duration: 40000, data: payload }));
  }

  newSoundDecoder(onSamples) {
    const decoder = new AudioDecoder({
      output: (data) => {
        const all = new Float32Array(data.numberOfFrames);
        data.copyTo(all, { planeIndex: 0, format: "f32-planar" });
        // What was encoded has nothing above 8 kHz, so that every third sample tells all.
        const step = Math.round(data.sampleRate / RATE);
        onSamples(Math.round(data.timestamp / 40000), Float32Array.from({ length: FRAME }, (_, at) => all[at * step] || 0));
        data.close();
      },
      error: (error) => { this.soundDecoder = null; this.onFault("sound", error.message); },
    });
    decoder.configure(OPUS_CONFIG);
    return decoder;
  }

  interrupted(number) {
    this.silentBefore = number;
    if (this.speaker) this.speaker.port.postMessage({ before: number });
    for (const picture of this.pictures) if (picture.number < number) picture.image.close();
    this.pictures = this.pictures.filter((picture) => picture.number >= number);
  }

  async picture(message) {
    this.heard.set(message.number, message.heard);
    if (message.flags & JPEG) {
      const image = await createImageBitmap(new Blob([message.payload], { type: "image/jpeg" })).catch(() => null);
      if (image) this.keep(message.number, image);
      return;
    }
    const bytes = new Uint8Array(message.payload);
    if (message.flags & KEY) this.configure(bytes);
    if (!this.decoder || this.decoder.state !== "configured") return;
    this.decoder.decode(new EncodedVideoChunk({
      type: message.flags & KEY ? "key" : "delta", timestamp: message.number * 40000, data: bytes,
    }));
  }

  configure(bytes) {
    const codec = codecOf(bytes);
    if (this.decoder && this.decoder.state === "configured" && this.codec === codec) return;
    this.codec = codec;
    if (!this.decoder || this.decoder.state === "closed") {
      this.decoder = new VideoDecoder({
        output: (frame) => this.keep(Math.round(frame.timestamp / 40000), frame),
        error: (error) => { this.decoder = null; this.onFault("picture", error.message); },
      });
    }
    this.decoder.configure({ codec, optimizeForLatency: true });
  }

  keep(number, image) {
    const audible = this.audible();
    if (audible !== null) {
      // With so much sound held the picture would come just in time.
      this.needs.push(this.played.level - (number * FRAME - audible) / RATE);
      if (this.needs.length > KNOWN) this.needs.shift();
    }
    this.pictures.push({ number, image });
    this.pictures.sort((one, other) => one.number - other.number);
    while (this.pictures.length > KEPT) { this.pictures.shift().image.close(); this.missed++; }
  }

  // Sample of the timeline that is heard now; null without sound.
  audible() {
    if (!this.played || this.played.position < 0 || !this.audio || this.audio.state !== "running") return null;
    if (this.played.filling) return null;
    const since = this.audio.currentTime - this.played.time;
    return this.played.position + (since - (this.audio.outputLatency || 0)) * RATE;
  }

  draw() {
    requestAnimationFrame(this.draw);
    const audible = this.audible();
    // Half a refresh early is nearer than half a refresh late.
    const until = audible === null ? Infinity : (audible + 0.008 * RATE) / FRAME;
    let chosen = null;
    while (this.pictures.length && this.pictures[0].number <= until) {
      if (chosen) { chosen.image.close(); this.missed++; }
      chosen = this.pictures.shift();
    }
    if (!chosen) return;
    const { image, number } = chosen;
    const width = image.displayWidth || image.width, height = image.displayHeight || image.height;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.context.drawImage(image, 0, 0, width, height);
    image.close();
    this.shown++;
    this.lastNumber = number;
    this.measure(number);
  }

  measure(number) {
    const heard = this.heard.get(number);
    for (const known of this.heard.keys()) if (known <= number) this.heard.delete(known);
    if (heard === undefined || heard < 0) return;
    const middle = heard + FRAME / 2;
    const chunk = this.captured.find(({ end }) => end >= middle);
    if (chunk) this.delays.push(performance.now() - (chunk.at - (chunk.end - middle) / RATE * 1000));
  }

  // What the server wants to know, since the last time; adapts how much sound is held so that pictures come in time.
  report() {
    const audible = this.audible();
    if (audible !== null && this.needs.length >= 10) {
      const need = [...this.needs].sort((one, other) => other - one)[Math.floor(this.needs.length / 10)];
      const change = Math.max(-0.01, Math.min(0.03, need + MARGIN - this.played.wanted));
      if (Math.abs(change) > 0.002) this.speaker.port.postMessage({ wanted: this.played.wanted + change });
    }
    const told = {
      position: audible === null ? -1 : Math.max(audible, 0), buffered: this.played ? this.played.level : 0,
      wanted: this.played ? this.played.wanted : 0, delays: this.delays.slice(-25), shown: this.shown, missed: this.missed,
    };
    this.delays = [];
    this.shown = this.missed = 0;
    return told;
  }
}

function codecOf(bytes) {
  for (let at = 0; at + 7 < bytes.length; at++) {
    if (bytes[at] === 0 && bytes[at + 1] === 0 && bytes[at + 2] === 1 && (bytes[at + 3] & 31) === 7) {
      return "avc1." + [...bytes.slice(at + 4, at + 7)].map((value) => value.toString(16).padStart(2, "0")).join("");
    }
  }
  throw new Error("a key picture without parameters");
}
