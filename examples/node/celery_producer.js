// Submits an image with celery-node and waits for its verdict. node celery_producer.js REDIS_URL IMAGE_PATH
const { randomUUID } = require("node:crypto");
const celery = require("celery-node");
const Redis = require("ioredis");

async function check(url, path) {
  const id = randomUUID();
  const key = `moderation:verdict:node:${id}`; // source and id of the event; also the channel that announces it
  const [redis, listener, client] = [new Redis(url), new Redis(url), celery.createClient(url, url, "moderation")];
  await listener.subscribe(key); // before the event is sent: so the announcement cannot be missed
  const published = new Promise((resolve) => listener.once("message", resolve));
  await client.isReady();
  client.createTask("moderation.check").applyAsync([{ id, source: "node", image: { path } }]);
  await published; // the task itself returns nothing, and has no result to wait for
  const verdict = JSON.parse(await redis.get(key));
  await Promise.all([redis.quit(), listener.quit(), client.disconnect()]);
  return verdict;
}

check(...process.argv.slice(2)).then((verdict) => console.log(JSON.stringify(verdict)));
