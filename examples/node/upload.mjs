// An upload handler that asks before it keeps a file. GATEWAY=https://... API_KEY=... PORT=8000 node upload.mjs
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const { GATEWAY, API_KEY, PORT } = process.env;
const MAX_BYTES = 25_000_000;

async function check(bytes) {
  const event = { id: randomUUID(), source: "node", image: { inline: bytes.toString("base64") } };
  const headers = { "content-type": "application/json", authorization: `Bearer ${API_KEY}` };
  const request = { method: "POST", headers, body: JSON.stringify(event), signal: AbortSignal.timeout(30_000) };
  const response = await fetch(`${GATEWAY}/v1/events?wait=20`, request);
  if (response.status === 200) return (await response.json()).decision; // allow, review, block, error
  throw new Error(`not checked: ${response.status} ${await response.text()}`);
}

createServer(async (request, response) => {
  try {
    if (!(Number(request.headers["content-length"]) <= MAX_BYTES)) return response.writeHead(413).end();
    const decision = await check(Buffer.concat(await request.toArray()));
    response.writeHead(["allow", "review"].includes(decision) ? 201 : 422).end(decision);
  } catch (error) {
    console.error(error.message);
    response.writeHead(503, { "retry-after": "10" }).end("the picture cannot be checked now");
  }
}).listen(PORT, "127.0.0.1");
