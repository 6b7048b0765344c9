// Submits an image with nothing but a Redis client: what any language can do. node redis_producer.js REDIS_URL ID URL
const Redis = require("ioredis");

const [redisUrl, id, url] = process.argv.slice(2);
const event = { id, source: "redis", policy: "marketplace", image: { url } };
const call = JSON.stringify([[event], {}, {}]);
const message = { headers: { task: "moderation.check", id }, "content-type": "application/json", body: call };
const redis = new Redis(redisUrl);
redis.lpush("moderation", JSON.stringify(message)).then(() => redis.quit());
