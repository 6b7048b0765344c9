// A tus server that calls HTTP hooks as tusd 2 does: the same bodies, the same reading of answers.
// node server.mjs -upload-dir FOLDER -hooks-http URL [-hooks-enabled-events A,B] [-port N], as tusd; prints its port.
import { FileStore } from "@tus/file-store";
import { EVENTS, Server } from "@tus/server";
import path from "node:path";
import { parseArgs } from "node:util";

const options = Object.fromEntries(
  ["upload-dir", "hooks-http", "hooks-enabled-events", "port"].map((name) => [name, { type: "string" }]),
);
const args = process.argv.slice(2).map((word) => word.replace(/^-(?=[a-z])/, "--"));
const { values } = parseArgs({ args, options });
const folder = values["upload-dir"], hookUrl = values["hooks-http"];
const enabled = (values["hooks-enabled-events"] ?? "pre-create,post-finish").split(",");
const TRIES = 3, BACK_OFF_MS = 1000, TIMEOUT_MS = 15000, ANSWER_BYTES_MAX = 5 * 1024;

// Go's HTTP client sends what a URL names as user and password like this.
const url = new URL(hookUrl);
const headers = { "Content-Type": "application/json" };
if (url.password) {
  headers.Authorization = "Basic " + Buffer.from(`${url.username}:${url.password}`).toString("base64");
  url.username = url.password = "";
}

async function call(type, upload, request) {
  if (!enabled.includes(type)) return {};
  const file = path.resolve(folder, upload.id);
  const body = JSON.stringify({
    Type: type,
    Event: {
      Upload: {
        ID: type === "pre-create" ? "" : upload.id,
        Size: upload.size ?? 0,
        SizeIsDeferred: upload.size === undefined,
        Offset: upload.offset,
        MetaData: upload.metadata ?? {},
        IsPartial: false,
        IsFinal: false,
        PartialUploads: null,
        Storage: type === "pre-create" ? null : { Type: "filestore", Path: file, InfoPath: `${file}.info` },
      },
      HTTPRequest: {
        Method: request.method,
        URI: new URL(request.url).pathname,
        RemoteAddr: "127.0.0.1:0",
        Header: Object.fromEntries([...request.headers].map(([name, value]) => [name, [value]])),
      },
    },
  });
  for (let attempt = 1; ; attempt += 1) {
    const answer = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await answer.text();
    if (answer.ok && text.length <= ANSWER_BYTES_MAX) return JSON.parse(text);
    if (answer.status < 500 || attempt === TRIES) throw new Error(`${type}: ${answer.status} ${text}`);
    await new Promise((resolve) => setTimeout(resolve, BACK_OFF_MS));
  }
}

async function block(type, upload, request) {
  try {
    return await call(type, upload, request);
  } catch (error) {
    throw { status_code: 500, body: String(error) };
  }
}

const server = new Server({
  path: "/files",
  datastore: new FileStore({ directory: folder }),
  async onUploadCreate(request, upload) {
    const { RejectUpload, HTTPResponse } = await block("pre-create", upload, request);
    if (RejectUpload) throw { status_code: HTTPResponse?.StatusCode ?? 400, body: HTTPResponse?.Body ?? "" };
    return {};
  },
  async onUploadFinish(request, upload) {
    const { HTTPResponse } = await block("pre-finish", upload, request);
    return { status_code: HTTPResponse?.StatusCode, body: HTTPResponse?.Body, headers: HTTPResponse?.Header };
  },
});
server.on(EVENTS.POST_FINISH, (request, response, upload) => {
  call("post-finish", upload, request).catch((error) => console.error(String(error)));
});
const listening = server.listen({ host: "127.0.0.1", port: Number(values.port ?? 8080) }, () => console.log(listening.address().port));
