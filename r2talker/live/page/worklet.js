// On the audio thread: a speaker that holds a little sound and says what it plays, and a microphone that hands out what it hears.

const FRAME = 640, LEAST = 0.03, MOST = 0.25, QUIET = 0.02;
// How fast the mean of what is held is known, and brought to what is wanted: at most 2 % faster or slower, a third of a semitone.
const SMOOTHING = 0.04, GAIN = 0.6, MOST_CHANGE = 0.02, EXACT = 0.004;
// Half of what arrives at once: held sound swings by so much about its mean.
const SWING = 0.02;

class Speaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.offset = 0;
    this.wanted = 0.06;
    this.filling = true;
    this.position = -1;
    this.level = 0;
    this.count = 0;
    this.underruns = 0;
    this.last = 0;
    this.port.onmessage = ({ data }) => {
      if (data.samples) this.queue.push(data);
      if (data.wanted !== undefined) this.wanted = Math.min(Math.max(data.wanted, LEAST), MOST);
      if (data.before !== undefined) this.drop(data.before);
      if (data.reset) { this.queue = []; this.offset = 0; this.position = -1; this.filling = true; }
    };
  }

  drop(before) {
    if (this.queue.length && this.queue[0].number < before) this.offset = 0;
    this.queue = this.queue.filter((chunk) => chunk.number >= before);
  }

  get buffered() { return (this.queue.length * FRAME - this.offset) / sampleRate; }

  get quiet() { return this.queue.length > 0 && this.queue[0].samples.every((value) => Math.abs(value) < QUIET); }

  // Much sound that piled up is left out where it is quiet, or at last anywhere.
  trim() {
    while (this.queue.length > 1 && this.level > this.wanted + 0.06 && (this.quiet || this.level > this.wanted + 0.25)) {
      this.queue.shift();
      this.offset = 0;
      this.level -= FRAME / sampleRate;
    }
  }

  // More sound is held from now on: it waits where it is quiet.
  get waits() { return this.level < this.wanted - 0.02 && this.quiet; }

  // Samples to go on by for each that is heard, so that no more is held than is wanted.
  get pace() {
    const excess = this.level - this.wanted;
    return Math.abs(excess) < EXACT ? 1 : 1 + Math.max(-MOST_CHANGE, Math.min(MOST_CHANGE, excess * GAIN));
  }

  // Fills `out` from the queue; returns how many samples there were.
  play(out) {
    const pace = this.pace;
    if (pace === 1) this.offset = Math.round(this.offset);
    for (let at = 0; at < out.length; at++) {
      if (this.offset >= FRAME) { this.queue.shift(); this.offset -= FRAME; }
      const chunk = this.queue[0];
      if (!chunk) { this.filling = true; this.offset = 0; this.underruns++; return at; }
      const low = Math.floor(this.offset), next = low + 1 < FRAME ? chunk.samples[low + 1] : this.queue[1]?.samples[0] ?? 0;
      out[at] = chunk.samples[low] + (next - chunk.samples[low]) * (this.offset - low);
      this.offset += pace;
      this.position = chunk.number * FRAME - chunk.lag + this.offset;
    }
    return out.length;
  }

  process(_, outputs) {
    const out = outputs[0][0];
    if (this.filling && this.buffered >= this.wanted + SWING) { this.filling = false; this.level = this.wanted; }
    this.level += SMOOTHING * (this.buffered - this.level);
    if (!this.filling) this.trim();
    let at = this.filling || this.waits ? 0 : this.play(out);
    // Silence begins gently, so that an interruption does not click.
    for (let fade = at === 0 ? this.last : 0; at < out.length && Math.abs(fade) > 1e-4; at++) out[at] = fade *= 0.9;
    this.last = out[out.length - 1];
    if (++this.count % 4 === 0) {
      this.port.postMessage({
        position: this.position, level: this.level, wanted: this.wanted, filling: this.filling, time: currentTime,
        underruns: this.underruns,
      });
    }
    return true;
  }
}

class Microphone extends AudioWorkletProcessor {
  process(inputs) {
    const input = inputs[0][0];
    if (!input) return true;
    // At once, 8 ms: sound that is collected here is sound that waits.
    const samples = Int16Array.from(input, (value) => Math.max(-1, Math.min(1, value)) * 32767);
    this.port.postMessage(samples.buffer, [samples.buffer]);
    return true;
  }
}

registerProcessor("speaker", Speaker);
registerProcessor("microphone", Microphone);
