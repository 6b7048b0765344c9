// Receives verdicts by webhook. WEBHOOK_SECRET=whsec_... PORT=8000 node webhook_receiver.mjs
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const received = new Set(); // in your database, with a unique index: it must outlive this process
const MAX_BYTES = 1_000_000;

createServer(async (request, response) => {
  if (!(Number(request.headers["content-length"]) <= MAX_BYTES)) return response.writeHead(413).end();
  const body = Buffer.concat(await request.toArray()).toString();
  let verdict;
  try {
    verdict = webhook.verify(body, request.headers); // also refuses what was signed more than five minutes ago
  } catch {
    return response.writeHead(400).end("not signed with our secret, or not now");
  }
  const id = request.headers["webhook-id"];
  const isNew = !received.has(id); // what was answered too late, or is replayed by a stranger, comes again
  received.add(id);
  if (isNew) console.log(`${verdict.source} ${verdict.event_id} ${verdict.decision}`);
  response.writeHead(200).end(isNew ? "received" : "received before");
}).listen(process.env.PORT, "127.0.0.1");
