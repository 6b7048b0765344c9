// Sends one event for each image path, from a program that is not Python.
// node producer.js REDIS_URL QUEUE ID PATH...
const celery = require("celery-node");

const [url, queue, id, ...paths] = process.argv.slice(2);

async function main() {
  const client = celery.createClient(url, url, queue);
  await client.isReady();
  const task = client.createTask("moderation.check");
  paths.forEach((path, n) => {
    task.applyAsync([{ id: `${id}-${n}`, source: "node", image: { path }, metadata: { name: "é", n } }]);
  });
  // Once the messages are on the connection, its QUIT comes after them.
  await new Promise(setImmediate);
  await client.disconnect();
}

main();
