// On the audio thread: a speaker that holds a little sound and says what it plays, and a microphone that hands out 20 ms.

const FRAME = 640, LEAST = 0.02, MOST = 0.25, QUIET = 0.02;

class Speaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.offset = 0;
    this.wanted = 0.06;
    this.filling = true;
    this.position = -1;
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

  // Sound that piled up is left out where it is quiet, or at last anywhere.
  trim() {
    while (this.queue.length > 1 && this.buffered > this.wanted + 0.06) {
      const quiet = this.queue[0].samples.every((value) => Math.abs(value) < QUIET);
      if (!quiet && this.buffered < this.wanted + 0.25) return;
      this.queue.shift();
      this.offset = 0;
    }
  }

  // More sound is held from now on: it waits where it is quiet.
  waits() {
    return this.buffered < this.wanted - 0.03 && this.queue.length > 0 && this.queue[0].samples.every((value) => Math.abs(value) < QUIET);
  }

  process(_, outputs) {
    const out = outputs[0][0];
    if (this.filling && this.buffered >= this.wanted) this.filling = false;
    if (!this.filling) this.trim();
    let at = 0;
    while (!this.filling && at < out.length && (at > 0 || !this.waits())) {
      const chunk = this.queue[0];
      if (!chunk) { this.filling = true; this.underruns++; break; }
      const count = Math.min(out.length - at, FRAME - this.offset);
      out.set(chunk.samples.subarray(this.offset, this.offset + count), at);
      at += count;
      this.offset += count;
      this.position = chunk.number * FRAME + this.offset;
      if (this.offset >= FRAME) { this.queue.shift(); this.offset = 0; }
    }
    // Silence begins gently, so that an interruption does not click.
    for (let fade = at === 0 ? this.last : 0; at < out.length && Math.abs(fade) > 1e-4; at++) out[at] = fade *= 0.9;
    this.last = out[out.length - 1];
    if (++this.count % 4 === 0) {
      this.port.postMessage({
        position: this.position, buffered: this.buffered, wanted: this.wanted, filling: this.filling, time: currentTime,
        underruns: this.underruns,
      });
    }
    return true;
  }
}

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(320);
    this.filled = 0;
  }

  process(inputs) {
    const input = inputs[0][0];
    if (!input) return true;
    for (const value of input) {
      this.samples[this.filled++] = Math.max(-1, Math.min(1, value)) * 32767;
      if (this.filled === this.samples.length) {
        this.port.postMessage(this.samples.buffer, [this.samples.buffer]);
        this.samples = new Int16Array(320);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("speaker", Speaker);
registerProcessor("microphone", Microphone);
