// What the page and the server say to each other. SCHEMA is compared with r2talker/live/messages.py by a test.

export const SCHEMA = {
  "fromPage": {
    "look": {"kind": "\"image\" | \"depth\" | \"normal\" | \"alpha\"", "size": "integer", "background": "\"clip\" | \"colour\" | \"picture\"", "colour": "string", "pose": "integer", "replay": "boolean", "face": "\"spoken\" | \"clip\"", "yaw": "number", "pitch": "number", "pan_x": "number", "pan_y": "number", "zoom": "number", "fov": "number", "eye": "number", "code": "integer", "max_steps": "integer", "dt_gamma": "number", "aabb": "number[]", "max_spp": "integer", "landmarks": "boolean"},
    "codec": {"name": "\"h264\" | \"jpeg\"", "sound": "\"pcm\" | \"opus\""},
    "microphone": {"open": "boolean"},
    "interrupt": {},
    "blink": {},
    "record": {"on": "boolean"},
    "switch": {"avatar": "string"},
    "played": {"position": "number", "buffered": "number", "wanted": "number", "delays": "number[]", "shown": "integer", "missed": "integer"},
    "train": {"action": "\"pause\" | \"resume\" | \"save\" | \"reset\""}
  },
  "toPage": {
    "welcome": {"session": "string", "avatar": "string", "avatars": "string[]", "size": "integer", "sizes": "integer[]", "poses": "integer", "codes": "integer", "fov": "number", "eye": "number", "max_steps": "integer", "aabb": "number[]", "look_ahead": "number", "clip_faces": "boolean", "talks": "boolean", "speaks_text": "boolean"},
    "report": {"state": "\"idle\" | \"listening\" | \"speaking\"", "fps": "number", "size": "integer", "dropped": "integer", "delay_p50": "number", "delay_p95": "number", "queues": "{number}", "recording": "boolean"},
    "interrupted": {"number": "integer"},
    "recorded": {"url": "string", "seconds": "number"},
    "training": {"phase": "string", "step": "integer", "steps": "integer", "paused": "boolean", "scalars": "{number}", "curve": "number[][]"},
    "refused": {"message": "string"}
  }
};

export const SOUND = 1, PICTURE = 2, KEY = 1, JPEG = 2, OPUS = 4;
const HEADER_BYTES = 16;

export function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) { sessionStorage.setItem("token", given); history.replaceState(null, "", location.pathname + location.search); }
  return sessionStorage.getItem("token") || "";
}

// An address of this server with the token, for links and requests.
export function address(path, query = {}) {
  const parts = new URLSearchParams(query);
  if (token()) parts.set("token", token());
  const text = parts.toString();
  return text ? `${path}?${text}` : path;
}

export async function post(path, query, body, type) {
  const headers = type ? { "content-type": type } : {};
  const answer = await fetch(address(path, query), { method: "POST", body, headers });
  const content = await answer.json().catch(() => ({ detail: answer.statusText }));
  if (!answer.ok) throw new Error(content.detail || answer.statusText);
  return content;
}

// Calls on[type](message) for words, on.binary({kind, flags, width, height, number, heard, payload}), on.closed(reason).
export class Connection {
  constructor(query, on) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}${address("/v1/stream", query)}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        const { type, ...message } = JSON.parse(data);
        if (!(type in SCHEMA.toPage)) console.warn("unknown message", type);
        else if (on[type]) on[type](message);
      } else on.binary(parse(data));
    };
    this.socket.onclose = (event) => on.closed(event.reason || "the connection was closed");
  }

  get open() { return this.socket.readyState === WebSocket.OPEN; }

  say(type, fields = {}) {
    const known = SCHEMA.fromPage[type];
    if (!known) throw new Error(`there is no message ${type}`);
    for (const name of Object.keys(fields)) if (!(name in known)) throw new Error(`${type} has no field ${name}`);
    if (this.open) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  hear(samples) { if (this.open) this.socket.send(samples); }

  close() { this.socket.onclose = null; this.socket.close(); }
}

function parse(data) {
  const view = new DataView(data);
  return {
    kind: view.getUint8(0), flags: view.getUint8(1), width: view.getUint16(2, true), height: view.getUint16(4, true),
    number: view.getUint32(8, true), heard: view.getInt32(12, true), payload: data.slice(HEADER_BYTES),
  };
}
